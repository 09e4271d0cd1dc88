"""A gate that keeps what it gets and answers when told to."""

from collections.abc import Callable

from mailagent.api.smtp import SmtpReply
from mailagent.config import structs
from mailagent.config.intake import ListenerAuth
from mailagent.intake import Submission
from mailagent.intake.rules import Rules
from mailagent.intake.sasl import Login
from mailagent.intake.session import ServerSession
from mailagent.intake.users import User, Users

QUEUED = SmtpReply(code=250, enhanced="2.0.0", text="Ok: queued")


class KeepingGate:
    """Answers 250 at once, or keeps `done` while `holding`."""

    def __init__(self, wanted: frozenset[bytes] = frozenset()) -> None:
        self.wanted_headers = wanted
        self.postmaster = b"ops@corp.test"
        self.holding = False
        self.answer = QUEUED
        self.greeting: SmtpReply | None = None
        self.recipient_refusal: Callable[[bytes], SmtpReply | None] | None = None
        self.mail: SmtpReply | None = None
        self.ours: frozenset[bytes] = frozenset()
        """Recipients that anyone may write to."""
        self.submissions: list[Submission] = []
        self.logins: list[Login] = []
        self.users = Users(())
        self.waiting: list[Callable[[SmtpReply], None]] = []

    def greeting_refusal(self) -> SmtpReply | None:
        return self.greeting

    def mail_refusal(self) -> SmtpReply | None:
        return self.mail

    def stranger_refusal(self, client: str, recipient: bytes) -> SmtpReply | None:
        return None if recipient in self.ours else SmtpReply(code=550, enhanced="5.7.1", text="Relaying denied")

    def authenticate(self, login: Login, client: str, done: Callable[[User | SmtpReply], None]) -> None:
        self.logins.append(login)
        self.users.authenticate(login, client, done)

    def submit(self, submission: Submission, done: Callable[[SmtpReply], None]) -> None:
        self.submissions.append(submission)
        if self.holding:
            self.waiting.append(done)
        else:
            done(self.answer)


class Talk:
    """A session with a gate, driven by hand."""

    def __init__(
        self,
        gate: KeepingGate | None = None,
        *,
        may_relay: bool = True,
        config: structs.Intake | None = None,
        auth: ListenerAuth = ListenerAuth.OFF,
        offers_tls: bool = False,
    ) -> None:
        self.gate = gate or KeepingGate()
        self.session = ServerSession(
            Rules.of(config or structs.Intake(), "mx1.test"),
            self.gate,
            client="192.0.2.1",
            may_relay=may_relay,
            auth=auth,
            offers_tls=offers_tls,
        )
        self.session.greet()
        self.greeting = self.session.take_output()

    def send(self, data: bytes) -> bytes:
        """All replies to `data`, submissions answered by the gate's answer unless it holds them."""
        self.session.receive(data)
        replies = self.session.take_output()
        while (submission := self.session.take_submission()) is not None:
            self.gate.submit(submission, self.session.answer)
            replies += self.session.take_output()
        return replies

    def open(self, recipients: tuple[bytes, ...] = (b"b@two.test",)) -> bytes:
        """Up to and with the reply to DATA."""
        self.send(b"EHLO client.test\r\n")
        self.send(b"MAIL FROM:<a@one.test>\r\n")
        for recipient in recipients:
            self.send(b"RCPT TO:<%s>\r\n" % recipient)
        return self.send(b"DATA\r\n")
