"""What rpc asks of a host, whichever engine runs it."""

from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from typing import Any, Protocol

from mailagent.api import requests, views
from mailagent.api.operations import OperationResult
from mailagent.api.trace import TraceLines, TraceStarted


@dataclass(frozen=True, slots=True)
class Principal:
    """Who calls, as the kernel names them, and with which role."""

    user: str
    role: requests.Role


Read = Callable[[Any], Awaitable[object]]
"""Answers one reading method: its request in, its result out, both as the method table has them."""
Act = Callable[[Any, Principal], Awaitable[OperationResult]]
"""Executes one verb: idempotent by its op_id, it honours `dry_run`, `expect` and `override`, and has its directive and
its operation record on disk before it returns."""


class Stream(Protocol):
    """Live lines for one caller; what `reads["trace"]` gives."""

    started: TraceStarted

    def batch(self) -> TraceLines | None:
        """What came since the last call; None: nothing. The last one says why it ended."""

    def close(self) -> None:
        """The caller has gone, or wants no more."""


class Host(Protocol):
    """One host. Errors are those of `mailagent.api.errors`."""

    @property
    def name(self) -> str:
        """The host's name in the fleet."""

    @property
    def spool_id(self) -> str:
        """Identity of the spool: a new one means another queue."""

    @property
    def reads(self) -> Mapping[str, Read]:
        """What this host answers, by the names of the method table."""

    @property
    def verbs(self) -> Mapping[str, Act]:
        """What this host can be told to do, by the names of the method table."""

    @property
    def emulated(self) -> Mapping[str, str]:
        """Verbs that are done by other means than those of our own engine, each with a sentence about the gap."""

    def snapshot(self) -> views.Snapshot:
        """The state now; cheap, made at most once per tick (`seq` grows by one with each new one)."""
