"""What rpc asks of a host, whichever engine runs it."""

from dataclasses import dataclass
from typing import Protocol

from mailagent.api import replies, requests, views
from mailagent.api.operations import OperationRecord, OperationResult


@dataclass(frozen=True, slots=True)
class Principal:
    """Who calls, as the kernel names them, and with which role."""

    user: str
    role: requests.Role


class Host(Protocol):
    """One host. Methods carry the names of the method table; errors are those of `mailagent.api.errors`.

    A verb is idempotent by its op_id, honours `dry_run`, `expect` and `override`, and has its directive and its
    operation record on disk before it returns.
    """

    @property
    def name(self) -> str:
        """The host's name in the fleet."""

    @property
    def spool_id(self) -> str:
        """Identity of the spool: a new one means another queue."""

    def snapshot(self) -> views.Snapshot:
        """The state now; cheap, made at most once per tick (`seq` grows by one with each new one)."""

    async def history(self, request: requests.HistoryRequest) -> views.Series:
        """Per-second counts of one scope."""

    async def queues(self, request: requests.PageRequest) -> replies.QueuePage:
        """Ready queues."""

    async def deferred(self, request: requests.PageRequest) -> replies.DeferredGroups:
        """Waiting recipients with a failed attempt, grouped by normalised reply and provider."""

    async def messages(self, request: requests.PageRequest) -> replies.MessagePage:
        """Waiting recipients, a window."""

    async def message(self, request: requests.MessageRequest) -> views.MessageDetail:
        """One message and why it waits."""

    async def in_doubt(self, request: requests.PageRequest) -> replies.InDoubtPage:
        """Possible duplicates."""

    async def operations(self, request: requests.PageRequest) -> replies.OperationPage:
        """Operations, newest first."""

    async def operation(self, request: requests.OperationRequest) -> OperationRecord | None:
        """What became of one operation; None when this host never executed it."""

    async def drain(self, request: requests.Drain, caller: Principal) -> OperationResult:
        """Drain a virtual MTA, a pool or the host."""

    async def undrain(self, request: requests.Undrain, caller: Principal) -> OperationResult:
        """End a drain."""

    async def suspend(self, request: requests.Suspend, caller: Principal) -> OperationResult:
        """Hold delivery."""

    async def resume(self, request: requests.Resume, caller: Principal) -> OperationResult:
        """End a suspension."""

    async def rotate(self, request: requests.Rotate, caller: Principal) -> OperationResult:
        """Swap a virtual MTA for a standby."""

    async def limit(self, request: requests.Limit, caller: Principal) -> OperationResult:
        """Lower a limit for a time."""

    async def retry(self, request: requests.Retry, caller: Principal) -> OperationResult:
        """Make deferred mail due now, paced."""

    async def cancel(self, request: requests.Cancel, caller: Principal) -> OperationResult:
        """End one directive."""

    async def undo(self, request: requests.Undo, caller: Principal) -> OperationResult:
        """Do the stored inverse of an operation."""

    async def reload(self, request: requests.Reload, caller: Principal) -> OperationResult:
        """Load the configuration file again."""
