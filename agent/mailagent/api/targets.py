"""What a verb acts on, and what a list shows: one grammar for screens, commands and the wire."""

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

    @property
    def is_empty(self) -> bool:
        """Whether it lets everything through."""
        return self == _EVERYTHING


_EVERYTHING = MessageFilter()
