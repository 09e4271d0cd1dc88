"""Admission: whether mail may come in now, from whom, and where it goes then. The gate that intake asks."""

from collections.abc import Callable

from mailagent.accepting import Acceptor
from mailagent.api.smtp import SmtpReply, Verb
from mailagent.control.state import HostState
from mailagent.intake.pressure import Pressure
from mailagent.intake.sasl import Login
from mailagent.intake.submission import Submission
from mailagent.intake.users import User, Users

RELAYING_DENIED = SmtpReply(code=550, enhanced="5.7.1", text="Relaying denied")


class Admission:
    """Answers for the host; `state` and `stopping` are told by the engine."""

    def __init__(
        self, acceptor: Acceptor, users: Users, pressure: Pressure, state: HostState, *, failed: Callable[[], bool]
    ) -> None:
        """`failed` says whether storage failed."""
        self._acceptor = acceptor
        self._pressure = pressure
        self._failed = failed
        self.state = state
        self.stopping = False
        self.recipient_refusal: Callable[[bytes], SmtpReply | None] | None = None
        """Answers RCPT for recipients who must not be mailed; None: nobody has to be asked for."""
        self.authenticate: Callable[[Login, str, Callable[[User | SmtpReply], None]], None] = users.authenticate

    @property
    def wanted_headers(self) -> frozenset[bytes]:
        """Header fields that stream patterns and keys look at."""
        return self._acceptor.wanted_headers

    @property
    def postmaster(self) -> bytes:
        """Where mail for this host's postmaster goes."""
        return self._acceptor.postmaster

    def greeting_refusal(self) -> SmtpReply | None:
        """421 while the host drains, stops, or cannot store."""
        if (closed := self.closed()) is not None:
            return closed
        if self.state.host_drain is not None:
            return _refusal(421, "4.3.2", "this host is being drained")
        return None

    def mail_refusal(self) -> SmtpReply | None:
        """4yz at MAIL while the host drains or is short of disk or memory."""
        if self.state.host_drain is not None and not self._failed():
            return _refusal(450, "4.3.2", "this host is being drained")
        return self.short()

    def closed(self) -> SmtpReply | None:
        """421 while the host stops or cannot store."""
        if self._failed() or self.stopping:
            return _refusal(421, "4.3.2", "shutting down")
        return None

    def short(self) -> SmtpReply | None:
        """4yz while there is no room for mail."""
        if self._failed():
            return _refusal(451, "4.3.0", "storage failed")
        return self._pressure.refusal()

    def why_not_ready(self) -> str:
        """Why mail would not be taken now; empty when it would."""
        refusal = self.greeting_refusal() or self.mail_refusal() or self._pressure.queue_refusal(self._acceptor.waiting)
        return refusal.text if refusal is not None else ""

    def stranger_refusal(self, client: str, recipient: bytes) -> SmtpReply:  # noqa: ARG002  nothing to probe
        """550: no relay."""
        return RELAYING_DENIED

    def submit(self, submission: Submission, done: Callable[[SmtpReply], None]) -> None:
        """Take a message in."""
        self._acceptor.submit(submission, self.state, done)


def _refusal(code: int, enhanced: str, text: str) -> SmtpReply:
    return SmtpReply(code=code, enhanced=enhanced, text=text, verb=Verb.MAIL, local=True)
