"""AUTH in one session (RFC 4954): what is offered, the exchange with the client, and who came of it. Pure."""

from collections.abc import Callable
from functools import partial

from mailagent.api.smtp import SmtpReply
from mailagent.config.intake import ListenerAuth
from mailagent.intake.rules import reply_line
from mailagent.intake.sasl import INVALID_TOKEN, MAX_LINE, MECHANISMS, BadExchange, Exchange, Login
from mailagent.intake.users import User


class LoginDialogue:
    """One client's way to a user. Methods give a reply, or the login that is to be verified (`verified` follows)."""

    __slots__ = ("_auth", "_exchange", "_refused", "expects_line", "user")

    def __init__(self, auth: ListenerAuth) -> None:
        self.user: User | None = None
        self.expects_line = False  # the next line is no command
        self._auth = auth
        self._exchange: Exchange | None = None  # the next line is the client's part in it
        self._refused: SmtpReply | None = None  # a bearer token, told after one more line (RFC 7628 section 3.2.3)

    def offered(self, *, tls: bool) -> bool:
        """Whether AUTH is possible now; `tls`: it is on."""
        return self._auth is ListenerAuth.LOCAL or (self._auth is ListenerAuth.TLS and tls)

    def after_tls(self) -> bool:
        """Whether it is possible once TLS is on."""
        return self._auth is not ListenerAuth.OFF

    def forget(self) -> None:
        """Nobody has logged in."""
        self.user = self._exchange = self._refused = None
        self.expects_line = False

    def begin(self, line: bytes) -> bytes | Login:
        """The AUTH command; the caller has seen that it is possible."""
        words = line.split()
        if self.user is not None:
            return b"503 5.5.1 Already authenticated\r\n"
        if len(words) not in (2, 3):
            return b"501 5.5.4 Syntax: AUTH mechanism\r\n"
        mechanism = words[1].upper()
        if mechanism not in MECHANISMS:
            return b"504 5.5.4 Mechanism not offered\r\n"
        exchange = Exchange(mechanism)
        return self._step(exchange, partial(exchange.start, words[2] if len(words) == 3 else None))

    def go_on(self, line: bytes, *, too_long: bool) -> bytes | Login:
        """The line that was expected; `too_long`: its start is lost."""
        self.expects_line = False
        exchange, self._exchange = self._exchange, None
        refused, self._refused = self._refused, None
        if refused is not None:
            return reply_line(refused)
        if too_long or len(line) > MAX_LINE:
            return b"500 5.5.6 Authentication exchange line is too long\r\n"
        if line == b"*" or exchange is None:
            return b"501 5.7.0 Authentication cancelled\r\n"
        return self._step(exchange, partial(exchange.answer, line))

    def verified(self, result: User | SmtpReply, *, bearer: bool) -> bytes:
        """What became of the login; `bearer`: a token was no good."""
        if not isinstance(result, SmtpReply):
            self.user = result
            return b"235 2.7.0 Authentication succeeded\r\n"
        if bearer:
            self._refused = result
            self.expects_line = True
            return b"334 %s\r\n" % INVALID_TOKEN
        return reply_line(result)

    def _step(self, exchange: Exchange, step: Callable[[], Login | bytes]) -> bytes | Login:
        try:
            found = step()
        except BadExchange as exc:
            return b"501 5.5.2 Cannot be understood: %s\r\n" % str(exc).encode("ascii", "replace")
        if isinstance(found, Login):
            return found
        self._exchange = exchange
        self.expects_line = True
        return b"334 %s\r\n" % found
