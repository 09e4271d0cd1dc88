"""Logging in, as octets: PLAIN (RFC 4616), LOGIN, OAUTHBEARER (RFC 7628) and XOAUTH2. Pure.

What is verified is in every case a secret of our own users. A bearer token is `USER.SECRET`, made by the verb that
makes a user; nobody else's tokens are good here.
"""

import base64
import binascii
from collections.abc import Callable
from typing import NamedTuple

MECHANISMS = (b"PLAIN", b"LOGIN", b"OAUTHBEARER", b"XOAUTH2")
MAX_LINE = 12_288  # octets of one line of an exchange, without CRLF (RFC 4954 section 4)
INVALID_TOKEN = base64.b64encode(b'{"status":"invalid_token"}')  # RFC 7628 section 3.2.2


class Login(NamedTuple):
    """Who wants in, and what proves it."""

    user: str
    secret: str
    bearer: bool = False  # a refusal is told in one more step


class BadExchange(ValueError):
    """The client's words make no sense."""


class Exchange:
    """One exchange: `start`, then `answer` for each line of the client, until there is a Login."""

    def __init__(self, mechanism: bytes) -> None:
        """Raises KeyError for a mechanism that is none of MECHANISMS."""
        self._next = _FIRST[mechanism]
        self._user = b""

    def start(self, initial: bytes | None) -> Login | bytes:
        """With the initial response, still in base64, if AUTH had one: the Login, or a challenge in base64.

        Raises:
            BadExchange: it is not base64, or makes no sense.
        """
        if initial is None:
            return base64.b64encode(b"Username:") if self._next is Exchange._login_name else b""
        return self.answer(b"" if initial == b"=" else initial)

    def answer(self, line: bytes) -> Login | bytes:
        """The same for a line of the client.

        Raises:
            BadExchange: see `start`.
        """
        try:
            said = base64.b64decode(line, validate=True)
        except binascii.Error:
            raise BadExchange("not base64") from None
        return self._next(self, said)

    def _plain(self, said: bytes) -> Login | bytes:
        words = said.split(b"\0")
        if len(words) != 3 or not words[1] or not words[2]:
            raise BadExchange("PLAIN is NUL, name, NUL, password")
        authorise, user, secret = map(_text, words)
        if authorise not in ("", user):
            raise BadExchange("nobody acts for somebody else here")
        return Login(user, secret)

    def _login_name(self, said: bytes) -> Login | bytes:
        self._user = said
        self._next = Exchange._login_secret
        return base64.b64encode(b"Password:")

    def _login_secret(self, said: bytes) -> Login | bytes:
        return Login(_text(self._user), _text(said))

    def _oauthbearer(self, said: bytes) -> Login | bytes:
        header, _, rest = said.partition(b"\x01")
        words = header.split(b",")
        if words[0] not in (b"n", b"y") or len(words) < 2:  # GS2: no channel binding
            raise BadExchange("OAUTHBEARER begins with n,a=NAME,")
        claimed = words[1][2:].replace(b"=2C", b",").replace(b"=3D", b"=") if words[1][:2] == b"a=" else b""
        return _bearer(rest, claimed)

    def _xoauth2(self, said: bytes) -> Login | bytes:
        first, _, rest = said.partition(b"\x01")
        if not first.startswith(b"user="):
            raise BadExchange("XOAUTH2 begins with user=NAME")
        return _bearer(rest, first[5:])


_FIRST: dict[bytes, Callable[[Exchange, bytes], Login | bytes]] = {
    b"PLAIN": Exchange._plain,
    b"LOGIN": Exchange._login_name,
    b"OAUTHBEARER": Exchange._oauthbearer,
    b"XOAUTH2": Exchange._xoauth2,
}


def _bearer(pairs: bytes, claimed: bytes) -> Login:
    for pair in pairs.split(b"\x01"):
        key, _, value = pair.partition(b"=")
        kind, _, token = value.partition(b" ")
        if key == b"auth" and kind.lower() == b"bearer":
            user, dot, secret = _text(token.strip()).rpartition(".")
            if not dot or _text(claimed) not in ("", user):
                return Login(_text(claimed), "", bearer=True)  # never good, and told like any bad token
            return Login(user, secret, bearer=True)
    raise BadExchange("there is no auth=Bearer")


def _text(word: bytes) -> str:
    try:
        return word.decode()
    except UnicodeDecodeError:
        raise BadExchange("not UTF-8") from None
