"""One SMTP session, seen from the server: octets in, replies and submissions out. No I/O, no clock.

    state        | input                          | output                        | next
    -------------|--------------------------------|-------------------------------|----------
    command      | line                           | reply                         | command
    command      | DATA with sender and recipient | 354                           | data
    command      | AUTH                           | 334, or `login`               | login, or in flight
    login        | line                           | 334, or `login`               | login, or in flight
    data         | text up to CRLF.CRLF, faulty   | 5yz                           | command
    data         | text up to CRLF.CRLF           | `submission`                  | in flight
    in flight    | anything                       | kept, not looked at           | in flight
    in flight    | `answer(reply)`                | reply                         | command
    any          | QUIT, violation, `shut`        | reply                         | closed

RFC 5321 with PIPELINING (2920), SIZE (1870), 8BITMIME (6152), DSN (3461), SMTPUTF8 (6531), STARTTLS (3207), AUTH (4954)
and ENHANCEDSTATUSCODES (2034).
"""

import logging
import re
from collections.abc import Callable

from mailagent.api.smtp import SmtpReply
from mailagent.config.intake import ListenerAuth
from mailagent.intake import headers
from mailagent.intake.address import address_fault, is_helo_name
from mailagent.intake.data import DataReader, Fault
from mailagent.intake.login import LoginDialogue
from mailagent.intake.parameters import NOTHING, PLAIN, RcptParameters, mail_parameters, rcpt_parameters
from mailagent.intake.rules import BUSY, Rules, reply_line
from mailagent.intake.sasl import MAX_LINE, Login
from mailagent.intake.submission import NO_REQUESTS, Gate, Submission, each_once
from mailagent.intake.users import User

# Octets without CRLF: RFC 5321 section 4.5.3.1.4, plus SIZE=, BODY=, SMTPUTF8, AUTH= (500), RET= and ENVID= (120). RCPT
# with NOTIFY= and ORCPT= needs no more (500).
MAX_COMMAND = 512 - 2 + 26 + 17 + 10 + 500 + 120
MAX_ERRORS = 20  # since the last accepted message, as Postfix
MAX_JUNK = 100  # commands that lead nowhere since the last accepted message; the ones after are errors
RECIPIENT_OVERSHOOT = 1000  # recipients beyond the limit; the ones after are errors

SPACE = 32
log = logging.getLogger(__name__)

_NOT_PRINTABLE = re.compile(rb"[^ -~]")
_CONTROL = re.compile("[\x00-\x1f\x7f-\x9f\u2028\u2029]")
# A quoted local part may hold any of `<>`. Runs of what is not quoted in one step: four times as fast as one by one.
_PATH = rb'<([^<>"]*(?:"(?:[^"\\]|\\.)*"[^<>"]*)*)>(?: +(.*))?'
_MAIL = re.compile(rb"MAIL FROM: *" + _PATH, re.IGNORECASE)
_RCPT = re.compile(rb"RCPT TO: *" + _PATH, re.IGNORECASE)

_WITH_ADDRESS = frozenset({b"MAIL", b"RCPT"})
_NOT_OFFERED = frozenset({b"EXPN", b"TURN", b"ETRN", b"BDAT", b"SEND", b"SOML", b"SAML", b"BURL"})
# A browser or proxy tricked into posting to our port (cross-protocol attack); Postfix forbids these too, but PUT.
_OTHER_PROTOCOLS = frozenset({b"GET ", b"POST", b"PUT ", b"CONN"})


class ServerSession:
    """State of one connection. Feed with `receive`, send what `take_output` returns.

    When `take_submission` returns one, the session reads nothing more until `answer`; with a `login`, until
    `authenticated`.
    """

    # More attributes than an object can hold in its body, which most commands would pay for with look-ups.
    __slots__ = (
        "_client", "_dialogue", "_errors", "_esmtp", "_farewell", "_gate", "_helo", "_junk", "_kept", "_may_relay",
        "_offers_tls", "_output", "_overshoot", "_parameters", "_partial", "_reader", "_recipients", "_requests",
        "_rules", "_sender", "_tls", "_too_long", "_trusted", "backlog", "closed", "commands", "in_flight",
        "in_transaction", "login", "submission", "transactions", "wants_tls",
    )  # fmt: skip

    def __init__(
        self,
        rules: Rules,
        gate: Gate,
        *,
        client: str,
        may_relay: bool,
        offers_tls: bool = False,
        auth: ListenerAuth = ListenerAuth.OFF,
    ) -> None:
        self.closed = False  # send the output, then close
        self.commands = 0  # lines and messages completed: progress, as the time-outs see it
        self.transactions = 0  # started
        self.in_transaction = False  # MAIL was accepted and its transaction has not ended
        self.in_flight = False  # a submission waits for `answer`
        self.backlog = 0  # octets kept while a submission is in flight
        self.wants_tls = False  # after the output, TLS begins; then `secured`
        self._rules = rules
        self._gate = gate
        self._client = client
        self._trusted = may_relay
        self._may_relay = may_relay
        self._offers_tls = offers_tls
        self._tls = ""
        self._dialogue = LoginDialogue(auth)
        self.login: Login | None = None  # not taken yet; to be verified
        self._helo = ""
        self._esmtp = False
        self._sender = b""
        self._parameters = PLAIN
        self._recipients: list[bytes] = []
        self._requests: dict[int, RcptParameters] = {}
        self._overshoot = 0
        self._reader: DataReader | None = None
        self.submission: Submission | None = None  # not taken yet
        self._output = b""
        self._partial = b""  # a command line that has not ended
        self._too_long = False  # ... and whose start is already thrown away
        self._kept: list[bytes] = []  # what came while a submission is in flight
        self._farewell: SmtpReply | None = None
        self._errors = 0
        self._junk = 0

    @property
    def data_octets(self) -> int | None:
        """Octets of the text so far while one arrives, else None."""
        return None if self._reader is None else self._reader.octets

    @property
    def in_login(self) -> bool:
        """Whether the next line is part of a login."""
        return self._dialogue.expects_line

    def greet(self) -> None:
        """Open the conversation."""
        self._output += self._rules.greeting

    def receive(self, data: bytes) -> None:
        """Octets from the client, in any portions."""
        if self._partial:
            data = self._partial + data
            self._partial = b""
        position, size = 0, len(data)
        while position < size and not self.closed:
            if self.in_flight:
                self._keep(data[position:])
                return
            if self._reader is not None:
                position = self._reader.feed(data, position)
                if position < 0:
                    return
                self._end_of_data(self._reader)
                continue
            end = data.find(b"\r\n", position)
            if end < 0:
                self._partial = data[position:]
                if len(self._partial) > MAX_LINE + 1:  # the last octet may be the CR of its end
                    self._too_long = True
                    self._partial = self._partial[-1:]
                return
            line = data[position:end]
            position = end + 2
            self.commands += 1
            self._command(line, position < size)

    def take_output(self) -> bytes:
        """Octets for the client since the last call."""
        output, self._output = self._output, b""
        return output

    def take_submission(self) -> Submission | None:
        """A submission that was not taken yet; it stays in flight until `answer`."""
        submission, self.submission = self.submission, None
        return submission

    def answer(self, reply: SmtpReply) -> None:
        """What became of the submission in flight; goes on with what the client sent meanwhile."""
        self.in_flight = False
        if self.closed:
            return
        self.commands += 1
        self._reset()
        if reply.is_success:
            self._errors = self._junk = 0
        self._output += reply_line(reply)
        self._part()
        self._run_kept()

    def _run_kept(self) -> None:
        if self._kept:
            waiting = b"".join(self._kept)
            self._kept.clear()
            self.backlog = 0
            self.receive(waiting)

    def authenticated(self, result: User | SmtpReply, *, bearer: bool) -> None:
        """Who logged in, or why not; goes on with what the client sent meanwhile."""
        self.in_flight = False
        if self.closed:
            return
        self.commands += 1
        self._tell(self._dialogue.verified(result, bearer=bearer))
        self._may_relay = self._trusted or self._dialogue.user is not None
        self._part()
        self._run_kept()

    def secured(self, version: str) -> None:
        """TLS is on. What the client said before is forgotten (RFC 3207 section 4.2)."""
        self._tls = version
        self._offers_tls = self.wants_tls = False
        self._dialogue.forget()
        self._may_relay = self._trusted
        self._helo = ""
        self._esmtp = False
        self._partial = b""
        self._reset()

    def part(self, reply: SmtpReply) -> None:
        """Close with `reply` as soon as no transaction is open: now, or after the answer to this one."""
        self._farewell = reply
        self._part()

    def shut(self, reply: SmtpReply) -> None:
        """Close with `reply` whatever the state."""
        if not self.closed:
            self._output += reply_line(reply)
            self.closed = True

    # -- octets to lines and texts

    def _keep(self, data: bytes) -> None:
        self._kept.append(data)
        self.backlog += len(data)

    def _command(self, line: bytes, more: bool) -> None:
        """One command line; `more` says that the client sent octets after it without waiting for its reply."""
        if self._dialogue.expects_line:
            too_long, self._too_long = self._too_long, False
            self._tell(self._dialogue.go_on(line, too_long=too_long))
            return
        verb = line[:4].upper()
        if self._too_long or (len(line) > MAX_COMMAND and (verb != b"AUTH" or len(line) > MAX_LINE)):
            self._too_long = False
            self._fail(b"500 5.5.2 Line too long\r\n")
            return
        if _NOT_PRINTABLE.search(line) and not (verb in _WITH_ADDRESS and _is_text(line)):
            self._fail(b"501 5.5.2 Only printable ASCII in commands\r\n")
            return
        if more and verb in _LAST_IN_GROUP:
            # RFC 2920 section 3.1: these must be last in a group, so what follows is not meant for us. After STARTTLS
            # it may be somebody else's, put in before the client's own words under TLS (CVE-2011-0411).
            self.shut(SmtpReply(code=554, enhanced="5.5.0", text="Improper command pipelining"))
            return
        command = _COMMANDS.get(verb)
        if command is not None and (len(line) == 4 or line[4] == SPACE):
            command(self, line)
        elif line[:8].upper() == b"STARTTLS" and line[8:9] in (b"", b" "):
            self._starttls(line)
        elif verb in _NOT_OFFERED:
            self._fail(b"502 5.5.1 Command not offered\r\n")
        elif verb in _OTHER_PROTOCOLS:
            self.shut(SmtpReply(code=421, enhanced="4.7.0", text="This is SMTP"))
        else:
            self._fail(b"500 5.5.2 Unknown command\r\n")

    # -- commands

    def _ehlo(self, line: bytes) -> None:
        name = line[5:].strip()
        if not is_helo_name(name):
            self._fail(b"501 5.5.4 Give a domain or an address literal\r\n")
            return
        self._count_junk()
        self._reset()
        self._helo = name.decode("ascii")
        self._esmtp = line[:1] in b"eE"
        auth = self._dialogue.offered(tls=bool(self._tls)) and self._dialogue.user is None
        self._output += self._rules.ehlo[self._offers_tls, auth] if self._esmtp else self._rules.helo
        self._part()

    def _auth(self, line: bytes) -> None:
        if not self._dialogue.offered(tls=bool(self._tls)):
            if self._offers_tls and self._dialogue.after_tls():
                self._fail(b"538 5.7.11 Say STARTTLS first\r\n")
            else:
                self._fail(b"502 5.5.1 Command not offered\r\n")
        elif not self._esmtp:
            self._fail(b"503 5.5.1 Say EHLO first\r\n")
        elif self.in_transaction:
            self._fail(b"503 5.5.1 Not within a transaction\r\n")
        else:
            self._tell(self._dialogue.begin(line))

    def _tell(self, reply: bytes | Login) -> None:
        """What the login dialogue says."""
        if isinstance(reply, Login):
            self.login = reply
            self.in_flight = True
            return
        self._output += reply
        if reply[:1] in b"45":
            self._count_error()

    def _starttls(self, line: bytes) -> None:
        if self._tls:
            self._fail(b"503 5.5.1 TLS is on already\r\n")
        elif not self._offers_tls:
            self._fail(b"502 5.5.1 Command not offered\r\n")
        elif line[8:].strip():
            self._fail(b"501 5.5.4 STARTTLS takes no argument\r\n")
        elif self.in_transaction:
            self._fail(b"503 5.5.1 Not within a transaction\r\n")
        else:
            self._output += b"220 2.0.0 Ready to start TLS\r\n"
            self.wants_tls = True

    def _mail(self, line: bytes) -> None:
        match = _MAIL.fullmatch(line)
        if not self._helo:
            self._fail(b"503 5.5.1 Say EHLO first\r\n")
        elif self.in_transaction:
            self._fail(b"503 5.5.1 Nested MAIL\r\n")
        elif not self._may_relay and self._dialogue.offered(tls=bool(self._tls)):
            self._fail(b"530 5.7.0 Authentication required\r\n")
        elif not self._may_relay and self._offers_tls and self._dialogue.after_tls():
            self._fail(b"530 5.7.0 Say STARTTLS, then log in\r\n")
        elif match is None:
            self._fail(b"501 5.5.4 Syntax: MAIL FROM:<address>\r\n")
        elif isinstance(
            parameters := mail_parameters(match[2], self._rules.max_message_bytes) if match[2] else PLAIN, bytes
        ):
            self._fail(parameters)
        elif not (match[1].isascii() or parameters.utf8):
            self._fail(_NEEDS_SMTPUTF8)
        elif match[1] and (fault := address_fault(match[1])):
            self._fail(b"501 5.1.7 %s\r\n" % fault.encode())
        elif (busy := self._mail_refusal()) is not None:
            self._count_junk()
            self._output += reply_line(busy)
        elif (user := self._dialogue.user) is not None and (refusal := user.refusal(match[1])) is not None:
            self._output += reply_line(refusal)
            (self._count_error if refusal.is_permanent else self._count_junk)()
        else:
            self._sender = match[1]
            self._parameters = parameters
            self.in_transaction = True
            self.transactions += 1
            self._output += b"250 2.1.0 Ok\r\n"

    def _mail_refusal(self) -> SmtpReply | None:
        try:
            return self._gate.mail_refusal()
        except Exception:
            log.exception("mail refused, the gate failed client=%s", self._client)
            return BUSY

    def _stranger_refusal(self, match: re.Match[bytes] | None) -> SmtpReply | None:
        """The answer to RCPT of a client that may not relay; None for an address of ours. The gate looks first."""
        try:
            return self._gate.stranger_refusal(self._client, match[1] if match is not None else b"")
        except Exception:
            log.exception("recipient refused, the gate failed client=%s", self._client)
            return BUSY

    def _rcpt(self, line: bytes) -> None:
        match = _RCPT.fullmatch(line)
        if not self.in_transaction:
            self._fail(b"503 5.5.1 Need MAIL first\r\n")
        elif not self._may_relay and (refusal := self._stranger_refusal(match)) is not None:
            self._fail(reply_line(refusal))
        elif match is None:
            self._fail(b"501 5.5.4 Syntax: RCPT TO:<address>\r\n")
        elif not ((address := match[1]).isascii() or self._parameters.utf8):
            self._fail(_NEEDS_SMTPUTF8)
        elif self._may_relay and (fault := address_fault(address)) and not (address := self._reserved(address)):
            self._fail(b"501 5.1.3 %s\r\n" % fault.encode())
        elif isinstance(
            parameters := rcpt_parameters(match[2], utf8=self._parameters.utf8) if match[2] else NOTHING, bytes
        ):
            self._fail(parameters)
        elif len(self._recipients) >= self._rules.max_recipients:
            self._overshoot += 1
            self._output += b"452 4.5.3 Too many recipients, send the others in another transaction\r\n"
            if self._overshoot > RECIPIENT_OVERSHOOT:
                self._count_error()
        elif (refuses := self._gate.recipient_refusal) is not None and self._refused(refuses(address)):
            pass
        else:
            if parameters is not NOTHING:
                self._requests[len(self._recipients)] = parameters
            self._recipients.append(address)
            self._output += b"250 2.1.5 Ok\r\n"

    def _reserved(self, address: bytes) -> bytes:
        """The mailbox behind a name that needs no domain (RFC 5321 section 4.5.1); empty when it is none."""
        return self._gate.postmaster if address.lower() == b"postmaster" else b""

    def _refused(self, refusal: SmtpReply | None) -> bool:
        """Whether a recipient is not taken; no error of the client, who cannot know."""
        if refusal is None or not self._may_relay:
            return False
        self._output += reply_line(refusal)
        return True

    def _data(self, line: bytes) -> None:
        if line[4:].strip():
            self._fail(b"501 5.5.4 DATA takes no argument\r\n")
        elif not self.in_transaction:
            self._fail(b"503 5.5.1 Need MAIL first\r\n")
        elif not self._recipients:
            self._fail(b"554 5.5.1 No valid recipients\r\n")
        else:
            self._reader = DataReader(self._rules.max_message_bytes, self._rules.lenient)
            self._output += b"354 End data with <CR><LF>.<CR><LF>\r\n"

    def _rset(self, line: bytes) -> None:  # noqa: ARG002  a command like the others
        self._count_junk()
        self._reset()
        self._output += b"250 2.0.0 Ok\r\n"
        self._part()

    def _noop(self, line: bytes) -> None:  # noqa: ARG002
        self._count_junk()
        self._output += b"250 2.0.0 Ok\r\n"

    def _vrfy(self, line: bytes) -> None:  # noqa: ARG002
        self._count_junk()
        self._output += b"252 2.5.0 Cannot verify, but will try to deliver\r\n"

    def _help(self, line: bytes) -> None:  # noqa: ARG002
        self._count_junk()
        self._output += b"214 2.0.0 See RFC 5321\r\n"

    def _quit(self, line: bytes) -> None:  # noqa: ARG002
        self._output += b"221 2.0.0 Bye\r\n"
        self.closed = True

    # -- the text

    def _end_of_data(self, reader: DataReader) -> None:
        self._reader = None
        self.commands += 1
        text = reader.finish()
        if isinstance(text, Fault):
            self._refuse(_FAULT_REPLIES.get(text) or self._too_large())
            return
        try:
            message = headers.scan(text, self._gate.wanted_headers)
        except headers.HeadersTooLarge:
            self._refuse(b"552 5.3.4 Header block too large\r\n")
            return
        if message.hops > self._rules.max_hops:
            self._refuse(b"554 5.4.6 Too many hops, this message loops\r\n")
            return
        self.in_flight = True
        parameters, user = self._parameters, self._dialogue.user
        recipients, requests = tuple(self._recipients), self._requests or NO_REQUESTS
        if len(recipients) > 1:
            recipients, requests = each_once(recipients, requests)
        self.submission = Submission(
            self._sender,
            recipients,
            message.body,
            not reader.stuffed,
            reader.eightbit and not message.body.isascii(),
            message.values,
            message.job,
            message.virtual_mta,
            self._client,
            self._helo,
            message.hops,
            esmtp=self._esmtp,
            utf8=parameters.utf8 and self._is_international(message.body),
            ret=parameters.ret,
            envid=parameters.envid,
            requests=requests,
            tls=self._tls,
            user=user.name if user is not None else "",
            streams=user.streams if user is not None else (),
        )

    def _is_international(self, body: bytes) -> bool:
        """Whether the header block or an address is beyond ASCII: only then the message needs SMTPUTF8 later on."""
        addresses = b"".join((self._sender, *self._recipients))
        return not (addresses.isascii() and headers.block(body).isascii())

    def _refuse(self, reply: bytes) -> None:
        """End the transaction with a refusal of its text."""
        self._reset()
        self._fail(reply)
        self._part()

    def _too_large(self) -> bytes:
        return b"552 5.3.4 Message larger than %d octets\r\n" % self._rules.max_message_bytes

    # -- bookkeeping

    def _reset(self) -> None:
        self.in_transaction = False
        self._recipients = []
        if self._requests:
            self._requests = {}
        self._overshoot = 0

    def _fail(self, reply: bytes) -> None:
        self._output += reply
        self._count_error()

    def _count_junk(self) -> None:
        self._junk += 1
        if self._junk > MAX_JUNK:
            self._count_error()

    def _count_error(self) -> None:
        self._errors += 1
        if self._errors >= MAX_ERRORS:
            self.shut(SmtpReply(code=421, enhanced="4.7.0", text="Too many errors"))

    def _part(self) -> None:
        if self._farewell is not None and not self.in_transaction:
            self.shut(self._farewell)


_COMMANDS: dict[bytes, Callable[[ServerSession, bytes], None]] = {
    b"EHLO": ServerSession._ehlo,
    b"HELO": ServerSession._ehlo,
    b"MAIL": ServerSession._mail,
    b"RCPT": ServerSession._rcpt,
    b"DATA": ServerSession._data,
    b"RSET": ServerSession._rset,
    b"NOOP": ServerSession._noop,
    b"VRFY": ServerSession._vrfy,
    b"HELP": ServerSession._help,
    b"QUIT": ServerSession._quit,
    b"AUTH": ServerSession._auth,
}
_NEEDS_SMTPUTF8 = b"553 5.6.7 An address beyond ASCII needs SMTPUTF8 in MAIL\r\n"
_LAST_IN_GROUP = frozenset({b"EHLO", b"HELO", b"DATA", b"STAR"})
_FAULT_REPLIES = {
    Fault.NUL: b"550 5.5.2 NUL in the message\r\n",
    Fault.LINE_ENDS: b"550 5.5.2 Bare CR or LF in the message\r\n",
    Fault.LONG_LINE: b"550 5.5.2 Line longer than 1000 octets in the message\r\n",
}


def _is_text(line: bytes) -> bool:
    """Whether `line` is UTF-8 without control characters."""
    try:
        return _CONTROL.search(line.decode()) is None
    except ValueError:
        return False
