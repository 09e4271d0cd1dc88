"""What control needs from the host around it. The engine is the effects, the spool is the ledger."""

from typing import Protocol

from mailagent.api.directives import Directive
from mailagent.api.ids import OpId
from mailagent.api.operations import Impact
from mailagent.api.replies import OperationPage
from mailagent.api.targets import MessageFilter, Target
from mailagent.control.state import HostState
from mailagent.spool.records import LedgerEntry, StoredOperation


class Caller(Protocol):
    """Who asks; `mailagent.host.Principal` is one."""

    @property
    def user(self) -> str:
        """Name of the account."""


class Effects(Protocol):
    """The flow of mail, as far as verbs change it or ask about it."""

    def apply(self, state: HostState) -> None:
        """`state` is the truth from now on; it takes effect before this returns."""

    def unfit(self, vmta: str) -> list[str]:
        """Why `vmta` should not begin to send at this moment, as ends of a sentence about it."""

    def doubts(self, vmta: str) -> list[str]:
        """What is not known of `vmta`, in the same form."""

    async def impact(self, target: Target | None, filter: MessageFilter | None) -> Impact:
        """Size of what a verb on `target`, or on the mail that `filter` matches, touches."""


class Ledger(Protocol):
    """Operations and directives on disk. All raise StorageError."""

    async def record(self, entry: LedgerEntry) -> int:
        """Write an operation with all its effects in one transaction; the recipients that it made due."""

    async def stored_operation(self, op_id: OpId) -> StoredOperation | None:
        """An operation of the last 7 days."""

    async def operations(self, cursor: str, limit: int) -> OperationPage:
        """Operations, newest first."""

    async def directives(self) -> list[Directive]:
        """The live ones."""
