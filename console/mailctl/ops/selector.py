"""The one grammar of selections, for screens and commands: `pool:marketing host:mx1`.

    selection = term *(blank term)
    term      = kind ":" name

Several terms narrow. `host:` may be given more than once, and so may the kind that a verb acts on: either name matches.
No `host:` means all hosts. Pure.
"""

import difflib
import shlex
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from enum import StrEnum

from mailagent.api.targets import MessageFilter, TargetKind
from mailctl.ops.errors import SelectorError


class TermKind(StrEnum):
    """What may stand before the colon."""

    HOST = "host"
    POOL = "pool"
    VMTA = "vmta"
    PROVIDER = "provider"
    QUEUE = "queue"
    STREAM = "stream"
    CELL = "cell"
    TRAFFIC = "traffic"
    JOB = "job"
    DKIM = "dkim"
    SITE = "site"
    DOMAIN = "domain"
    RECIPIENT = "recipient"
    SENDER = "sender"
    GROUP = "group"
    MESSAGE = "message"


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
_PAIRS = {
    TermKind.QUEUE: ("site", "vmta", "gmail/mkt-1"),
    TermKind.CELL: ("provider", "vmta", "gmail/mkt-1"),
    TermKind.TRAFFIC: ("provider", "stream", "gmail/news"),
}
"""Kinds whose name is two names: the fields of `MessageFilter` behind them, and an example."""
_NO_FIELD = (TermKind.HOST, TermKind.DKIM, *_PAIRS)
MESSAGE_FIELDS = {kind: str(kind) for kind in TermKind if kind not in _NO_FIELD} | {TermKind.MESSAGE: "message_id"}
"""Field of `MessageFilter` behind each kind that is one."""


@dataclass(frozen=True, slots=True)
class Selection:
    """What was selected: names by kind, in the order given."""

    terms: tuple[tuple[TermKind, str], ...] = ()

    def __str__(self) -> str:
        return " ".join(f"{kind}:{name}" for kind, name in self.terms)

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
        return tuple(shlex.quote(f"{kind}:{name}") for kind, name in self.terms)


def parse(terms: str | Iterable[str]) -> Selection:
    """The selection in `terms`: one text with blanks between (a filter bar), or one term each (a shell).

    Raises:
        SelectorError: a term without a colon, an unknown kind or an empty name; the message lists the kinds.
    """
    words = terms.split() if isinstance(terms, str) else tuple(terms)
    return Selection(tuple(dict.fromkeys(_term(word) for word in words)))


def of(kind: TermKind | TargetKind, names: Iterable[str], hosts: Iterable[str] = ()) -> Selection:
    """The selection of objects that were marked on a screen."""
    terms = [(TermKind(kind), name) for name in names] + [(TermKind.HOST, host) for host in hosts]
    return Selection(tuple(dict.fromkeys(terms)))


def message_filter(selection: Selection, *, deferred_only: bool = False) -> MessageFilter:
    """The filter that `selection` is for lists of messages; its hosts are not part of it.

    Raises:
        SelectorError: two names for one field.
    """
    fields: dict[str, str] = {}
    for kind, name in selection.terms:
        if kind is TermKind.HOST:
            continue
        if kind in _PAIRS:
            first, second, example = _PAIRS[kind]
            before, slash, after = name.rpartition("/")
            if not slash:
                form = f"{kind}:{first.upper()}/{second.upper()}, such as {kind}:{example}"
                raise SelectorError(f"{kind}:{name} is no {kind}; its form is {form}")
            parts: Mapping[str, str] = {first: before, second: after}
        elif kind is TermKind.DKIM:
            raise SelectorError("messages are not listed by their DKIM keys")
        else:
            parts = {MESSAGE_FIELDS[kind]: name}
        for key, value in parts.items():
            if fields.setdefault(key, value) != value:
                raise SelectorError(f"messages are listed for one {key} at a time; {fields[key]} and {value} are given")
    return MessageFilter(**fields, deferred_only=deferred_only)


def near(name: str, known: Iterable[str]) -> str:
    """`; did you mean a or b?`, or `; there is a, b, c`, for the end of a message about an unknown name."""
    known = sorted(set(known))
    if close := difflib.get_close_matches(name, known, n=3):
        return f"; did you mean {' or '.join(close)}?"
    if not known:
        return ""
    shown = ", ".join(known[:8])
    return f"; there is {shown}{' …' if len(known) > 8 else ''}"


def _term(word: str) -> tuple[TermKind, str]:
    kind, colon, name = word.partition(":")
    if not colon or not name:
        raise SelectorError(f"{word!r} is no selector; write KIND:NAME with KIND one of {', '.join(TermKind)}")
    try:
        return TermKind(kind), name
    except ValueError:
        raise SelectorError(f"{word!r}: no kind {kind!r}; there are {', '.join(TermKind)}") from None
