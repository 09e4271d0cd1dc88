"""How long intake waits for one client (handbook: server time-outs). Pure; the clock is passed in."""

from mailagent.intake.session import ServerSession

TRANSACTION_S = 600.0  # from MAIL to the end of data
MIN_RATE = 500.0  # octets of text per second ...
DATA_GRACE_S = 30.0  # ... after so long a start


class Patience:
    """Judges one session at each sweep. What happened since the last sweep counts as happening now.

    Between commands only completed ones are progress, so a client that sends an octet now and then gains nothing. In
    the text every octet is, but their rate has a floor. While a submission is in flight the turn is ours.
    """

    def __init__(self, timeout_s: float, now: float) -> None:
        self._timeout_s = timeout_s
        self._commands = 0
        self._since = now  # last progress
        self._began = now  # end of the last command: in the text, the time of DATA
        self._octets = 0
        self._transactions = 0
        self._transaction_at = now

    def exhausted(self, session: ServerSession, now: float) -> str:
        """Why the client must go, in the words of the reply; empty while it may stay."""
        if session.in_flight:
            self._since = self._began = self._transaction_at = now
            return ""
        if session.commands != self._commands:
            self._commands = session.commands
            self._since = self._began = now
            self._octets = 0
        octets = session.data_octets
        if octets is not None:
            if octets != self._octets:
                self._octets = octets
                self._since = now
            if now - self._began > DATA_GRACE_S + octets / MIN_RATE:
                return "Data comes too slowly"
        if now - self._since > self._timeout_s:
            return "Timeout"
        if session.transactions != self._transactions:
            self._transactions = session.transactions
            self._transaction_at = now
        if session.in_transaction and now - self._transaction_at > TRANSACTION_S:
            return "Transaction takes too long"
        return ""
