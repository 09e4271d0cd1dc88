"""The filter line: selector terms narrow by key, free words by what a row shows. Pure.

`pool:marketing host:mx1 rate limit`: terms of one kind are alternatives, kinds and words narrow. The terms are those
of the command line, so that what a screen shows can be said to a shell.
"""

import difflib
from collections.abc import Collection, Mapping
from dataclasses import dataclass

from mailagent.api.targets import MessageFilter
from mailctl.ops import selector
from mailctl.ops.selector import Selection, TermKind

_KINDS = frozenset(TermKind)
EVERYTHING = Selection()

Facets = Mapping[TermKind, Collection[str]]
"""What a row belongs to: kind -> names."""


@dataclass(frozen=True, slots=True)
class Filter:
    """A parsed filter line."""

    selection: Selection = EVERYTHING
    words: tuple[str, ...] = ()  # lower case

    @classmethod
    def parse(cls, text: str) -> "Filter":
        """Every word with a known kind before a colon is a term; all others are searched for."""
        terms, words = [], []
        for part in text.split():
            kind, colon, name = part.partition(":")
            if colon and name and kind in _KINDS:
                terms.append((TermKind(kind), name))
            else:
                words.append(part.lower())
        return cls(Selection(tuple(dict.fromkeys(terms))), tuple(words))

    @property
    def mistaken(self) -> str:
        """What to say about the first word that looks like a term of a kind that there is not; else empty."""
        for word in self.words:
            kind, _, name = word.partition(":")
            if name and kind.isalpha():
                close = difflib.get_close_matches(kind, _KINDS, n=1)
                meant = f"did you mean {close[0]}? There" if close else "there"
                return f"no kind {kind!r}; {meant} are {', '.join(TermKind)}"
        return ""

    def __str__(self) -> str:
        return " ".join((*(f"{kind}:{name}" for kind, name in self.selection.terms), *self.words))

    def __bool__(self) -> bool:
        return bool(self.selection or self.words)

    def admits(self, facets: Facets, text: str) -> bool:
        """Whether a row passes. A kind that the row knows nothing about does not hide it."""
        for kind in {kind for kind, _ in self.selection.terms}:
            known = facets.get(kind)
            if known is not None and not any(name in known for name in self.selection.names(kind)):
                return False
        text = text.lower()
        return all(word in text for word in self.words)

    def having(self, *terms: tuple[TermKind, str]) -> "Filter":
        """The same with `terms` in place of those of their kinds; words go, they were about other rows."""
        kinds = {kind for kind, _ in terms}
        kept = tuple(term for term in self.selection.terms if term[0] not in kinds)
        return Filter(Selection(kept + terms))

    def message_filter(self, *, deferred_only: bool = False) -> MessageFilter:
        """What an agent can narrow by.

        Raises:
            SelectorError: two names for one field.
        """
        return selector.message_filter(self.selection, deferred_only=deferred_only)
