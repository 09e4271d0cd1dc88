"""What a verb acts on, and what a list shows: one grammar for screens, commands and the wire."""

from datetime import datetime
from enum import StrEnum

import msgspec

from mailagent.api.terms import Term


class TargetKind(StrEnum):
    """Kinds of object that directives are about."""

    HOST = "host"
    POOL = "pool"
    VMTA = "vmta"
    PROVIDER = "provider"
    QUEUE = "queue"
    STREAM = "stream"
    JOB = "job"
    DKIM = "dkim"  # keys of a signing domain and pool: `example.com/marketing`
    CELL = "cell"  # a virtual MTA at a provider: `gmail/mkt-1`
    TRAFFIC = "traffic"  # a stream at a provider: `gmail/news`
    MAIL = "mail"  # waiting recipients, by the words of a filter: `provider:gmail pool:marketing`


class Target(msgspec.Struct, frozen=True, kw_only=True, order=True):
    """One object of one host: `pool:marketing`, `queue:gmail/mkt-1`."""

    kind: TargetKind
    name: str

    def __str__(self) -> str:
        return f"{self.kind}:{self.name}"


class MessageFilter(msgspec.Struct, frozen=True, kw_only=True):
    """Which waiting recipients a list or a verb is about; empty fields do not narrow."""

    pool: str = ""
    vmta: str = ""  # the virtual MTA of the last attempt
    provider: str = ""
    site: str = ""
    stream: str = ""
    job: str = ""
    domain: str = ""
    recipient: str = ""
    sender: str = ""
    message_id: str = ""
    group: str = ""  # key of a deferred group
    deferred_only: bool = False  # only recipients with at least one failed attempt
    terms: tuple[Term, ...] = ()  # what narrows beside the fields above
    held: bool | None = None  # only those that an order on mail has, or has not; None: both
    before: datetime | None = None  # only those that arrived by then and were not tried since

    @property
    def is_empty(self) -> bool:
        """Whether it lets everything through."""
        return self == _EVERYTHING

    def __str__(self) -> str:
        """As selectors: `provider:gmail pool:marketing`; what it freezes is not told."""
        fields = ((name, getattr(self, name)) for name in self.__struct_fields__)
        words = [f"{_SELECTORS.get(name, name)}:{value}" for name, value in fields if value and isinstance(value, str)]
        words += [f"{'!' if term.negated else ''}{term.field}:{term.value}" for term in self.terms]
        return " ".join(words) or "all mail"


_EVERYTHING = MessageFilter()
_SELECTORS = {"message_id": "message"}
