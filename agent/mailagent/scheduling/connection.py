"""What a ready queue asks of its connections; those of `mailagent.delivery` are such."""

from typing import Protocol

from mailagent.delivery.transaction import Transaction
from mailagent.telemetry.tap import Tap


class Connection(Protocol):
    """One connection to a site. It says what happens to it by calls of the queue: see `mailagent.delivery.Owner`."""

    tap: Tap | None

    @property
    def source(self) -> str:
        """Our address, empty when the host chooses it."""

    @property
    def mx(self) -> str:
        """Name of the peer."""

    @property
    def remote(self) -> str:
        """Address and port of the peer."""

    @property
    def tls(self) -> str:
        """Protocol, cipher and level, in words; empty in clear."""

    @property
    def session_id(self) -> str:
        """Tells this connection from all others of this host."""

    @property
    def extensions(self) -> str:
        """What the peer's EHLO offered."""

    @property
    def sent(self) -> int:
        """Transactions settled so far."""

    @property
    def recipients(self) -> int:
        """Recipients of these."""

    @property
    def busy(self) -> bool:
        """A transaction is under way."""

    @property
    def at_dot(self) -> bool:
        """All but the last block of it is out."""

    @property
    def past_dot(self) -> bool:
        """Its final dot is out."""

    @property
    def dsn(self) -> bool:
        """Whether the peer answers for notifications from here on (RFC 3461)."""

    @property
    def working_s(self) -> float:
        """How long the transaction under way has taken by now."""

    def send(self, transaction: Transaction) -> None:
        """Begin a transaction; the connection is idle."""

    def end(self) -> None:
        """Let the final dot go out."""

    def quit(self) -> None:
        """End, after the transaction under way."""

    def abort(self, why: str = ...) -> None:
        """End now."""
