"""Filters: what a list shows and what a verb on messages touches. Pure.

`pool:marketing host:mx1 code:4.7.* !greylist`: terms of one kind are alternatives; kinds, ages and words narrow, and so
does each term with `!`. Screens apply it to their rows, agents to their mail.
"""

from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass

import msgspec

from mailagent.api.targets import MessageFilter
from mailagent.api.terms import Field, MailState, Term, is_like
from mailctl.ops.errors import SelectorError
from mailctl.ops.grammar import TermKind, Token, age_s, tokens
from mailctl.ops.selector import Selection

EVERYTHING = Selection()

Facets = Mapping[TermKind, Collection[str]]
"""What a row belongs to: kind -> names."""

_PAIRS = {
    TermKind.QUEUE: ("site", "vmta", "gmail/mkt-1"),
    TermKind.CELL: ("provider", "vmta", "gmail/mkt-1"),
    TermKind.TRAFFIC: ("provider", "stream", "gmail/news"),
}
"""Kinds whose name is two names: the fields of `MessageFilter` behind them, and an example."""
_WIRE_NAMES = {TermKind.MESSAGE: "message_id"} | {
    kind: str(kind) for kind in TermKind if str(kind) in MessageFilter.__struct_fields__
}
"""Kinds of which one exact name is a field of `MessageFilter`."""


@dataclass(frozen=True, slots=True)
class Filter:
    """A parsed filter line."""

    selection: Selection = EVERYTHING
    words: tuple[str, ...] = ()  # lower case
    without: tuple[Token, ...] = ()  # each with its exclamation mark

    @classmethod
    def parse(cls, text: str) -> "Filter":
        """The filter in one line.

        Raises:
            FilterSyntaxError: at a position something else was expected.
        """
        return cls.made(tokens(text))

    @classmethod
    def of(cls, selection: Selection, line: str = "") -> "Filter":
        """What `selection` names, narrowed by a filter line.

        Raises:
            FilterSyntaxError: at a position of the line something else was expected.
        """
        return cls.made((*(Token(kind, name) for kind, name in selection.terms), *tokens(line)))

    @classmethod
    def made(cls, read: Iterable[Token]) -> "Filter":
        """The filter that these terms are."""
        terms: dict[tuple[TermKind, str], None] = {}
        words: dict[str, None] = {}
        without: dict[Token, None] = {}
        for one in read:
            if one.negated:
                without[one if one.kind else one._replace(value=one.value.lower())] = None
            elif one.kind is None:
                words[one.value.lower()] = None
            else:
                terms[one.kind, one.value] = None
        return cls(Selection(tuple(terms)), tuple(words), tuple(without))

    @property
    def tokens(self) -> tuple[Token, ...]:
        """Its terms."""
        named = (Token(kind, name) for kind, name in self.selection.terms)
        return (*named, *(Token(None, word) for word in self.words), *self.without)

    @property
    def named(self) -> "Filter":
        """The same without its words, which a screen looks for in its rows."""
        return Filter.made(one for one in self.tokens if one.kind is not None)

    @property
    def anywhere(self) -> "Filter":
        """The same on every host."""
        return Filter.made(one for one in self.tokens if one.kind is not TermKind.HOST)

    def __str__(self) -> str:
        return " ".join(map(str, self.tokens))

    def __bool__(self) -> bool:
        return bool(self.selection or self.words or self.without)

    def admits(self, facets: Facets, text: str) -> bool:
        """Whether a row passes. A kind that the row knows nothing about does not hide it."""
        for kind in {kind for kind, _ in self.selection.terms}:
            known = facets.get(kind)
            if known is not None and not any(_among(name, known) for name in self.selection.names(kind)):
                return False
        text = text.lower()
        return all(word in text for word in self.words) and not any(
            one.value in text if one.kind is None else _among(one.value, facets.get(one.kind, ()))
            for one in self.without
        )

    def admits_host(self, name: str) -> bool:
        """Whether `host:` terms let a host through."""
        hosts = self.selection.hosts
        return (not hosts or any(is_like(one, name) for one in hosts)) and not any(
            one.kind is TermKind.HOST and is_like(one.value, name) for one in self.without
        )

    def having(self, *terms: tuple[TermKind, str]) -> "Filter":
        """The same with `terms` in place of those of their kinds; words go, they were about other rows."""
        kinds = {kind for kind, _ in terms}
        kept = tuple(term for term in self.selection.terms if term[0] not in kinds)
        return Filter(Selection(kept + terms), without=self.named.without)

    def message_filter(
        self, *, deferred_only: bool = False, states: Collection[str] = tuple(MailState)
    ) -> MessageFilter:
        """What an agent narrows by; its hosts are not part of it. `states` are those that there are.

        Raises:
            SelectorError: two names for one field, a pair that is none, a state that there is not.
        """
        fields: dict[str, str] = {}
        terms: list[Term] = []

        def exactly(field: str, value: str) -> None:
            if fields.setdefault(field, value) != value:
                both = f"{fields[field]} and {value} are given"
                raise SelectorError(f"messages are listed for one {field} at a time; {both}")

        for kind in self.selection.kinds:
            names = self.selection.names(kind)
            if kind in _PAIRS:
                first, second, example = _PAIRS[kind]
                for name in names:
                    before, slash, after = name.rpartition("/")
                    if not slash:
                        form = f"{kind}:{first.upper()}/{second.upper()}, such as {kind}:{example}"
                        raise SelectorError(f"{kind}:{name} is no {kind}; its form is {form}")
                    exactly(first, before)
                    exactly(second, after)
            elif kind in _WIRE_NAMES and len(names) == 1 and not _is_pattern(kind, names[0]):
                exactly(_WIRE_NAMES[kind], names[0])
            else:
                terms += [_term(kind, name, states) for name in names]
        terms += [Term(field=Field.TEXT, value=word) for word in self.words]
        terms += [
            Term(field=Field.TEXT, value=one.value, negated=True)
            if one.kind is None
            else _term(one.kind, one.value, states, negated=True)
            for one in self.without
            if one.kind is not TermKind.HOST
        ]
        narrowed = msgspec.convert(fields, MessageFilter)
        return msgspec.structs.replace(narrowed, deferred_only=deferred_only, terms=tuple(terms))


def described(wanted: MessageFilter) -> str:
    """A filter on the wire as the terms that mean it; empty when it lets everything through."""
    named = {field: kind for kind, field in _WIRE_NAMES.items()}
    read = [Token(kind, value) for field, kind in named.items() if (value := getattr(wanted, field))]
    for term in wanted.terms:
        kind = None if term.field is Field.TEXT else TermKind(str(term.field))
        value = f"{term.value}s" if kind is TermKind.AGE else term.value
        read.append(Token(kind, value, term.negated))
    return " ".join(map(str, read))


def _term(kind: TermKind, value: str, states: Collection[str], *, negated: bool = False) -> Term:
    if kind is TermKind.DKIM:
        raise SelectorError("messages are not listed by their DKIM keys")
    if kind in _PAIRS:
        first, second, _ = _PAIRS[kind]
        raise SelectorError(f"a {kind} cannot be excluded; exclude its {first} or its {second}")
    if kind is TermKind.STATE and value not in states:
        raise SelectorError(f"no mail has the state {value}; states are {', '.join(sorted(states))}")
    if kind is TermKind.AGE:
        sign, seconds = age_s(value)
        value = f"{sign}{seconds}"
    return Term(field=Field(str(kind)), value=value, negated=negated)


def _is_pattern(kind: TermKind, name: str) -> bool:
    """Whether `name` says more than one exact name: a star, or which recipient of a message."""
    return "*" in name or (kind is TermKind.MESSAGE and "." in name)


def _among(wanted: str, known: Iterable[str]) -> bool:
    return any(is_like(wanted, name) for name in known)
