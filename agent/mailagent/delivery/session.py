"""The client's side of an SMTP session, without input and output (RFC 5321, 1870, 2920, 3207, 3461, 6152, 6531).

Bytes go in through `receive`; what happens comes out through the `Driver`. Phases:

    GREETING --2yz--> EHLO --2yz--> IDLE            EHLO --5yz--> HELO --2yz--> IDLE
    EHLO --2yz with STARTTLS, wanted--> STARTTLS --220--> TLS --secured--> EHLO     STARTTLS --refused--> IDLE or OVER
    IDLE --send--> ENVELOPE --354, somebody accepted--> BODY --dot_written--> DOT --answer--> IDLE
                   ENVELOPE --354, nobody accepted--> LONE_DOT --answer--> IDLE
                   ENVELOPE --refused--> IDLE (the next transaction begins with RSET)
    IDLE --quit--> QUIT
    any --421, broken or unsolicited reply--> OVER

A 421 before the message is sent leaves the transaction unsettled: its recipients were not answered.
"""

import re
from collections import deque
from collections.abc import Sequence
from enum import Enum, auto
from typing import Protocol

from mailagent.api.smtp import SmtpReply, Verb
from mailagent.delivery.raw_reply import RawReply
from mailagent.delivery.replies import BrokenReply, ReplyReader
from mailagent.delivery.transaction import Transaction
from mailagent.dns import ascii_domain

CLOSING = 421
MAX_USUAL_BYTES = 4096
MAX_EXTENSIONS = 30
"""Keywords that are remembered of one peer, for accounting."""
MAX_KEYWORD = 20
_UNSAFE = re.compile(rb"[\x00-\x1f\x7f-\xff]")
_CONTROL = re.compile(rb"[\x00-\x1f\x7f]")
_EHLO_NAME = re.compile(r"[\x21-\x7e]{1,255}")


class Driver(Protocol):
    """Carries out what the session decides. A call may lead back into the session (`send`, `quit`)."""

    def write(self, data: bytes) -> None:
        """Send commands."""

    def upgrade(self) -> None:
        """Read nothing more in clear, do the TLS handshake, then call `secured`."""

    def handshaken(self) -> None:
        """The peer is ready for mail."""

    def send_body(self, accepted: Sequence[int]) -> None:
        """Send the message, final dot included, for these recipients (indexes); then call `dot_written`."""

    def settled(self, replies: Sequence[SmtpReply]) -> None:
        """The transaction is over: one reply for each of its recipients, in order."""

    def ended(self, reply: SmtpReply) -> None:
        """The session is over; close the connection."""


class Phase(Enum):
    """Where the session is; see the table above."""

    GREETING = auto()
    EHLO = auto()
    HELO = auto()
    STARTTLS = auto()
    TLS = auto()
    IDLE = auto()
    ENVELOPE = auto()
    BODY = auto()
    DOT = auto()
    LONE_DOT = auto()
    QUIT = auto()
    OVER = auto()


# Looking up a member of an enumeration costs more than a global; these are asked for with each message.
_OVER = Phase.OVER
_ENVELOPE = Phase.ENVELOPE
_BODY = Phase.BODY
_AT_DOT = Phase.DOT
_IDLE = Phase.IDLE
_RCPT = Verb.RCPT
_DOT = Verb.DOT
_MAIL_STEP = (Verb.MAIL, 0)
_DATA_STEP = (Verb.DATA, 0)
_DOT_STEP = (_DOT, 0)
_TAKEN = frozenset({_BODY, _AT_DOT})


class Starttls(Enum):
    """Whether a session begins TLS."""

    NEVER = auto()
    OFFERED = auto()  # when the peer offers it
    MUST = auto()  # or the session ends


class ClientSession:
    """One session with one peer."""

    __slots__ = (
        "_accepted",
        "_awaited",
        "_driver",
        "_ehlo",
        "_mail_accepted",
        "_needs_rset",
        "_reader",
        "_replies",
        "_starttls",
        "_tls_offered",
        "_unsent",
        "_usual",
        "answered",
        "dsn",
        "eightbit",
        "extensions",
        "max_size",
        "past_dot",
        "phase",
        "pipelining",
        "utf8",
    )

    def __init__(self, ehlo: str, driver: Driver, starttls: Starttls = Starttls.NEVER) -> None:
        """Raises ValueError for a name that cannot stand in a command."""
        self._ehlo = ehlo_name(ehlo)
        self._driver = driver
        self._starttls = starttls
        self._tls_offered = False
        self._reader = ReplyReader()
        self._awaited: deque[tuple[Verb, int]] = deque(((Verb.CONNECT, 0),))  # commands on the wire, RCPT with index
        self._unsent: deque[tuple[Verb, int, bytes]] = deque()  # without PIPELINING: one at a time
        self._replies: list[SmtpReply | None] = []
        self._accepted: list[int] = []
        self._mail_accepted = False
        self._needs_rset = False
        self._usual = (0, b"")  # the answers, octet for octet, that accepted a whole envelope of so many recipients
        self.phase = Phase.GREETING
        self.past_dot = False
        """The final dot is out and not answered: the message may be delivered or not."""
        self.answered = 0
        """Complete replies so far: the measure of the peer's progress."""
        self.pipelining = False
        self.eightbit = False
        self.extensions = ""
        """Keywords of the EHLO answer, with commas between them."""
        self.max_size: int | None = None
        self.dsn = False
        self.utf8 = False

    @property
    def ehlo(self) -> str:
        """Our name."""
        return self._ehlo.decode("ascii")

    @property
    def awaiting(self) -> Verb | None:
        """The step whose answer is awaited (DATA while the message is being sent); None when idle or over."""
        if self._awaited:
            return self._awaited[0][0]
        return Verb.DATA if self.phase is _BODY else None

    def failure(self, text: str) -> SmtpReply:
        """A reply of our own that tells why the session broke where it stands."""
        return SmtpReply(code=0, enhanced="4.4.2", text=text, verb=self.awaiting or Verb.CONNECT, local=True)

    # -- what its owner does -------------------------------------------------------------------------------------

    def refusal(self, transaction: Transaction) -> SmtpReply | None:
        """Why this message cannot go to this peer, if so; nothing has been sent then.

        No conversion: it would break signatures (RFC 6152 leaves only this). A body that is not canonical could end
        its transaction early and smuggle another one.
        """
        body = transaction.body
        if transaction.eightbit and not self.eightbit:
            return _local(554, "5.6.3", "8-bit message, and the peer does not offer 8BITMIME")
        if self.max_size and len(transaction.added) + len(body) > self.max_size:
            return _local(552, "5.3.4", f"message of more than {self.max_size} bytes, the peer's limit")
        if not (transaction.plain or body.count(b"\n") == body.count(b"\r") == body.count(b"\r\n")):
            return _local(554, "5.6.0", "bare CR or LF in the stored message")
        if transaction.utf8:
            return self._utf8_refusal(transaction)
        if _UNSAFE.search(b"".join((transaction.sender, *transaction.recipients))):
            return _local(553, "5.1.3", "control or 8-bit characters in an address")
        return None

    def _utf8_refusal(self, transaction: Transaction) -> SmtpReply | None:
        """The same for a message with an address or header block beyond ASCII (RFC 6531 sections 3.2 and 3.5)."""
        addresses = (transaction.sender, *transaction.recipients)
        if any(map(_CONTROL.search, addresses)):
            return _local(553, "5.1.3", "control characters in an address")
        if self.utf8:
            return None
        wire = [_without_smtputf8(address) for address in addresses]
        if wire[0] is None or not any(wire[1:]):
            return NO_SMTPUTF8
        start = transaction.body
        end = start.find(b"\r\n\r\n")
        if not (start.startswith(b"\r\n") or start[: end if end >= 0 else None].isascii()):
            return _local(554, "5.6.9", "header beyond ASCII, and the peer does not offer SMTPUTF8")
        return None

    def send(self, transaction: Transaction) -> None:
        """Begin a transaction. The session is idle, and `refusal` had no objection."""
        count = len(transaction.recipients)
        self._replies = [None] * count
        self._accepted = []
        self._mail_accepted = False
        parameters = b" BODY=8BITMIME" if transaction.eightbit else b""
        if self.max_size is not None:
            parameters += b" SIZE=%d" % (len(transaction.added) + len(transaction.body))
        if self.dsn:
            parameters += transaction.mail_options
        if transaction.utf8:
            sender, recipients, more = self._utf8_envelope(transaction)
            parameters += more
        else:
            sender = transaction.sender
            recipients = list(enumerate(transaction.recipients))
        lines = [b"MAIL FROM:<%b>%b\r\n" % (sender, parameters)]
        steps = [_MAIL_STEP]
        options = transaction.rcpt_options if self.dsn else ()
        for n, address in recipients:
            lines.append(b"RCPT TO:<%b>%b\r\n" % (address, options[n]) if options else b"RCPT TO:<%b>\r\n" % address)
            steps.append((_RCPT, n))
        lines.append(b"DATA\r\n")
        steps.append(_DATA_STEP)
        if self._needs_rset:
            lines.insert(0, b"RSET\r\n")
            steps.insert(0, (Verb.RSET, 0))
            self._needs_rset = False
        self.phase = _ENVELOPE
        if self.pipelining:
            self._write(b"".join(lines), *steps)
        else:
            self._unsent.extend((verb, n, line) for (verb, n), line in zip(steps, lines, strict=True))
            self._write_next()

    def _utf8_envelope(self, transaction: Transaction) -> tuple[bytes, list[tuple[int, bytes]], bytes]:
        """(sender, numbered recipients, parameter); recipients that this peer cannot have are answered at once."""
        if self.utf8:
            return transaction.sender, list(enumerate(transaction.recipients)), b" SMTPUTF8"
        recipients: list[tuple[int, bytes]] = []
        for n, address in enumerate(transaction.recipients):
            wire = _without_smtputf8(address)
            if wire is None:
                self._replies[n] = NO_SMTPUTF8
            else:
                recipients.append((n, wire))
        return _without_smtputf8(transaction.sender) or b"", recipients, b""

    def dot_written(self) -> None:
        """The message and its final dot are out."""
        self.phase = _AT_DOT
        self.past_dot = True
        self._awaited.append(_DOT_STEP)

    def quit(self) -> None:
        """Take leave. The session is idle."""
        self.phase = Phase.QUIT
        self._write(b"QUIT\r\n", (Verb.QUIT, 0))

    def secured(self) -> None:
        """TLS stands: what the peer said before it is forgotten, and asked again (RFC 3207 section 4.2)."""
        self._starttls = Starttls.NEVER
        self._awaited.clear()
        self.pipelining = self.eightbit = self.utf8 = self.dsn = False
        self.max_size = None
        self.phase = Phase.EHLO
        self._write(b"EHLO %b\r\n" % self._ehlo, (Verb.EHLO, 0))

    def receive(self, data: bytes) -> None:
        """Take what the peer sent."""
        if self.phase is _OVER:
            return
        count = len(self._replies)
        whole = self.phase is _ENVELOPE and len(self._awaited) == count + 2 and self._reader.is_empty()
        if whole and self._usual == (count, data):  # most peers answer every envelope alike: nothing to read in it
            self.answered += count + 2
            self._awaited.clear()
            self._mail_accepted = True
            self._accepted = list(range(count))
            self._send_body()
            return
        self._reader.feed(data)
        self._read()
        if whole and self.phase in _TAKEN and len(self._accepted) == count and len(data) <= MAX_USUAL_BYTES:
            self._usual = (count, data)

    # -- inside --------------------------------------------------------------------------------------------------

    def _read(self) -> None:
        try:
            while self.phase is not _OVER and (reply := self._reader.next()) is not None:
                self.answered += 1
                self._answer(reply)
        except BrokenReply as exc:
            self._end(self.failure(f"the peer sent {exc}"))

    def _write(self, data: bytes, *awaited: tuple[Verb, int]) -> None:
        if not self._reader.is_empty():  # its answer would pair with these commands
            self._end(self.failure("the peer sent a reply that nobody asked for"))
            return
        self._awaited.extend(awaited)
        self._driver.write(data)

    def _write_next(self) -> None:
        verb, n, line = self._unsent.popleft()
        self._write(line, (verb, n))

    def _end(self, reply: SmtpReply) -> None:
        self.phase = Phase.OVER
        self._driver.ended(reply)

    def _answer(self, reply: RawReply) -> None:
        if not self._awaited:
            self._unsolicited(reply)
            return
        if reply.code == CLOSING and not self.past_dot:
            verb = self._awaited[0][0]
            self._end(reply.parsed(verb))
            return
        verb, n = self._awaited.popleft()
        if verb is _DOT:
            self._dot(reply)
            return
        match verb:
            case Verb.MAIL | Verb.RCPT | Verb.DATA | Verb.RSET:
                self._envelope(verb, n, reply)
            case Verb.QUIT:
                self._end(reply.parsed(verb))
            case Verb.STARTTLS:
                self._answered_starttls(reply)
            case _:
                self._greeting(verb, reply)

    def _greeting(self, verb: Verb, reply: RawReply) -> None:
        good = reply.code // 100 == 2
        if self.phase is Phase.GREETING and good:
            self.phase = Phase.EHLO
            self._write(b"EHLO %b\r\n" % self._ehlo, (Verb.EHLO, 0))
        elif self.phase is Phase.EHLO and reply.code // 100 == 5:
            self.phase = Phase.HELO
            self._write(b"HELO %b\r\n" % self._ehlo, (Verb.EHLO, 0))
        elif good:
            if self.phase is Phase.EHLO:
                self._learn(reply.lines[1:])
            if self._starttls is not Starttls.NEVER:
                self._begin_tls()
            else:
                self._stand()
        else:
            self._end(reply.parsed(verb))

    def _stand(self) -> None:
        self.phase = Phase.IDLE
        self._driver.handshaken()

    def _begin_tls(self) -> None:
        if self._tls_offered:
            self.phase = Phase.STARTTLS
            self._write(b"STARTTLS\r\n", (Verb.STARTTLS, 0))
        elif self._starttls is Starttls.MUST:
            self._end(_no_tls("the peer does not offer STARTTLS, and TLS is required"))
        else:
            self._stand()

    def _answered_starttls(self, reply: RawReply) -> None:
        if reply.code == 220:
            if self._reader.is_empty():
                self.phase = Phase.TLS
                self._driver.upgrade()
            else:  # in clear, and meant to be read as if it came by TLS (CVE-2011-0411)
                self._end(_no_tls("the peer sent more than its answer to STARTTLS"))
        elif self._starttls is Starttls.MUST:
            self._end(_no_tls(f"the peer refused STARTTLS, and TLS is required: {reply.parsed(Verb.STARTTLS).line()}"))
        else:
            self._stand()

    def _learn(self, lines: list[bytes]) -> None:
        keywords = [line.strip().upper().partition(b" ")[0][:MAX_KEYWORD] for line in lines[:MAX_EXTENSIONS]]
        self.extensions = b",".join(keywords).decode("ascii", "replace")
        for line in lines:
            keyword, _, rest = line.strip().upper().partition(b" ")
            if keyword == b"PIPELINING":
                self.pipelining = True
            elif keyword == b"8BITMIME":
                self.eightbit = True
            elif keyword == b"DSN":
                self.dsn = True
            elif keyword == b"SMTPUTF8":
                self.utf8 = True
            elif keyword == b"SIZE":
                value = rest.strip()
                self.max_size = int(value) if value.isdigit() and len(value) <= 20 else 0
            elif keyword == b"STARTTLS":
                self._tls_offered = True

    def _envelope(self, verb: Verb, n: int, reply: RawReply) -> None:
        kind = reply.code // 100
        if verb is Verb.DATA:
            self._data(kind, reply)
            return
        if kind == 3 or (verb is Verb.RSET and kind != 2):
            self._end(self.failure(f"the peer answered {verb.value} with {reply.parsed(verb).line()}"))
            return
        if verb is Verb.MAIL:
            self._mail_accepted = kind == 2
            if not self._mail_accepted:
                self._replies = [reply.parsed(verb)] * len(self._replies)
        elif verb is Verb.RCPT and self._mail_accepted:
            if kind == 2:
                self._accepted.append(n)
            else:
                self._replies[n] = reply.parsed(verb)
        if self._unsent:  # one step at a time
            nobody = verb is Verb.RCPT and self._unsent[0][0] is Verb.DATA and not self._accepted
            if nobody or (verb is Verb.MAIL and not self._mail_accepted):
                self._unsent.clear()
                self._settle()
            else:
                self._write_next()

    def _data(self, kind: int, reply: RawReply) -> None:
        if kind == 2:
            self._end(self.failure(f"the peer answered DATA with {reply.parsed(Verb.DATA).line()}"))
        elif kind != 3:
            answer = reply.parsed(Verb.DATA)
            for n in self._accepted:
                self._replies[n] = answer
            self._settle()
        elif not self._accepted:
            # pipelined DATA was taken although nobody is to get the message: end it as empty (RFC 2920 section 3.1)
            self.phase = Phase.LONE_DOT
            self._write(b".\r\n", (Verb.DOT, 0))
        elif not self._reader.is_empty():
            self._end(self.failure("the peer answered the message before it was sent"))
        else:
            self._send_body()

    def _send_body(self) -> None:
        self.phase = _BODY
        self._driver.send_body(self._accepted)

    def _dot(self, reply: RawReply) -> None:
        answer = reply.parsed(_DOT)
        if reply.code // 100 == 3:
            self._end(self.failure(f"the peer answered the message with {answer.line()}"))
            return
        if self.phase is _AT_DOT:
            self.past_dot = False
            for n in self._accepted:
                self._replies[n] = answer
        self._settle(clean=True, last=answer if reply.code == CLOSING else None)

    def _settle(self, *, clean: bool = False, last: SmtpReply | None = None) -> None:
        """Hand out the replies. `clean`: the peer's transaction ended by itself; `last`: so did the session."""
        self._needs_rset = not clean and self._mail_accepted
        self.phase = _IDLE if last is None else _OVER
        self._driver.settled(self._replies)  # type: ignore[arg-type]  # each has one now
        if last is not None:
            self._driver.ended(last)

    def _unsolicited(self, reply: RawReply) -> None:
        if self.phase is Phase.BODY and reply.code >= 400:
            # it refuses the message while we are still sending; the rest of it cannot be called back
            answer = reply.parsed(Verb.DOT)
            for n in self._accepted:
                self._replies[n] = answer
            self._settle(last=answer)
        elif reply.code == CLOSING:
            self._end(reply.parsed(Verb.CONNECT))
        else:
            self._end(self.failure(f"the peer sent {reply.parsed(Verb.CONNECT).line()} that nobody asked for"))


def ehlo_name(name: str) -> bytes:
    """`name` as it stands in EHLO; ValueError when it cannot."""
    if not _EHLO_NAME.fullmatch(name):
        raise ValueError(f"{name!r} cannot be an EHLO name")
    return name.encode("ascii")


def _no_tls(text: str) -> SmtpReply:
    return SmtpReply(code=0, enhanced="4.7.4", text=text, verb=Verb.STARTTLS, local=True)


def _local(code: int, enhanced: str, text: str) -> SmtpReply:
    return SmtpReply(code=code, enhanced=enhanced, text=text, verb=Verb.MAIL, local=True)


NO_SMTPUTF8 = _local(553, "5.6.7", "address beyond ASCII, and the peer does not offer SMTPUTF8")


def _without_smtputf8(address: bytes) -> bytes | None:
    """`address` for a peer without SMTPUTF8: its domain as A-labels; None when its local part is beyond ASCII."""
    if address.isascii():
        return address
    local, _, domain = address.rpartition(b"@")
    return b"%b@%b" % (local, ascii_domain(domain.decode()).encode()) if local.isascii() else None
