"""What every stand-in for a connection is, until it says otherwise."""

from mailagent.delivery.transaction import Transaction
from mailagent.telemetry.tap import Tap


class Silent:
    """A connection that nobody may use."""

    tap: Tap | None = None
    source = mx = remote = tls = session_id = extensions = ""
    sent = recipients = 0
    dsn = past_dot = False
    working_s = 0.0

    @property
    def busy(self) -> bool:
        return False

    @property
    def at_dot(self) -> bool:
        return False

    def send(self, transaction: Transaction) -> None:
        raise AssertionError

    def end(self) -> None:
        raise AssertionError

    def quit(self) -> None:
        raise AssertionError

    def abort(self, why: str = "cut") -> None:
        raise AssertionError
