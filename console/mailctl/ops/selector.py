"""What a verb or a list is about: terms of the grammar that name objects. Pure.

Several terms narrow. `host:` may be given more than once, and so may the kind that a verb acts on: either name matches.
No `host:` means all hosts.
"""

import difflib
import shlex
from collections.abc import Iterable
from dataclasses import dataclass

from mailagent.api.targets import TargetKind
from mailctl.ops.errors import SelectorError
from mailctl.ops.grammar import TermKind, Token, token, tokens, written

__all__ = ["OBJECTS", "Selection", "TermKind", "near", "of", "parse"]

OBJECTS = (
    TermKind.QUEUE,
    TermKind.VMTA,
    TermKind.POOL,
    TermKind.PROVIDER,
    TermKind.STREAM,
    TermKind.CELL,
    TermKind.TRAFFIC,
    TermKind.JOB,
    TermKind.DKIM,
)
"""Kinds that directives are about (beside hosts)."""


@dataclass(frozen=True, slots=True)
class Selection:
    """What was selected: names by kind, in the order given."""

    terms: tuple[tuple[TermKind, str], ...] = ()

    def __str__(self) -> str:
        return " ".join(written(kind, name) for kind, name in self.terms)

    def __bool__(self) -> bool:
        return bool(self.terms)

    def names(self, kind: TermKind) -> tuple[str, ...]:
        """Names given for `kind`."""
        return tuple(name for given, name in self.terms if given is kind)

    @property
    def hosts(self) -> tuple[str, ...]:
        """Hosts given; none: all."""
        return self.names(TermKind.HOST)

    @property
    def kinds(self) -> tuple[TermKind, ...]:
        """Kinds given besides `host`, each once."""
        return tuple(dict.fromkeys(kind for kind, _ in self.terms if kind is not TermKind.HOST))

    @property
    def words(self) -> tuple[str, ...]:
        """The terms as arguments for the shell, quoted."""
        return tuple(shlex.quote(written(kind, name)) for kind, name in self.terms)


def parse(terms: str | Iterable[str]) -> Selection:
    """The selection in `terms`: one text with blanks between (a filter bar), or one term each (a shell).

    Raises:
        SelectorError: a word without a kind, an unknown kind, an empty name, or a negated term.
    """
    read = tokens(terms) if isinstance(terms, str) else map(token, terms)
    return Selection(tuple(dict.fromkeys(map(_term, read))))


def of(kind: TermKind | TargetKind, names: Iterable[str], hosts: Iterable[str] = ()) -> Selection:
    """The selection of objects that were marked on a screen."""
    terms = [(TermKind(kind), name) for name in names] + [(TermKind.HOST, host) for host in hosts]
    return Selection(tuple(dict.fromkeys(terms)))


def near(name: str, known: Iterable[str]) -> str:
    """`; did you mean a or b?`, or `; there is a, b, c`, for the end of a message about an unknown name."""
    known = sorted(set(known))
    if close := difflib.get_close_matches(name, known, n=3):
        return f"; did you mean {' or '.join(close)}?"
    if not known:
        return ""
    shown = ", ".join(known[:8])
    return f"; there is {shown}{' …' if len(known) > 8 else ''}"


def _term(read: Token) -> tuple[TermKind, str]:
    if read.kind is None:
        raise SelectorError(f"{read.value!r} is no selector; write KIND:NAME with KIND one of {', '.join(TermKind)}")
    if read.negated:
        raise SelectorError(f"{read} excludes; lists and verbs on messages take that in --filter, others not at all")
    return read.kind, read.value
