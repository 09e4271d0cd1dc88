"""A tap on one SMTP session: octets in both directions become lines that hold no secret and no text of a message.

The text of a message is counted and never kept. A login is left out from AUTH to the reply that ends it. A line of a
client that begins with no SMTP command is counted too, so that a client that is out of step does not show its message.
"""

import re
from collections.abc import Iterator
from typing import Final, Protocol

from mailagent.api.trace import Side

MAX_LINE: Final = 512
"""Octets of a line that are shown."""
MAX_PARTIAL: Final = 8192
"""Octets of a line without end that are kept."""
MOST_LOCALS: Final = 50
"""Recipients of a transaction whose local parts are looked for in replies."""
_END: Final = b"\r\n.\r\n"
_COMMANDS: Final = frozenset(
    b"EHLO HELO LHLO MAIL RCPT DATA RSET NOOP QUIT VRFY EXPN HELP STARTTLS AUTH BDAT ETRN".split()
)
_PATH = re.compile(r"<[^>]*(?=@)")
# A word begins behind a delimiter, so that each is looked at once however long it is.
_LOCAL = re.compile(r'(?:"[^"]*"|(?<![^\s<>;:,"()\[\]])[^\s<>;:,"()\[\]]+)(?=@|\+40)')
_NAMED = re.compile(r"(?i)^((?:VRFY|EXPN)\s).*")


class Sink(Protocol):
    """Takes lines of one trace."""

    @property
    def is_full(self) -> bool:
        """Whether a line would find no room."""

    def drop(self, lines: int) -> None:
        """Count lines that were not made."""

    def take(self, tap: "Tap", side: Side, text: str) -> None:
        """One line, without secrets, with addresses."""


class Tap:
    """One session. `sinks` changes while it lasts."""

    __slots__ = (
        "_auth_in",
        "_client",
        "_data_in",
        "_locals",
        "_owed",
        "_server",
        "_tail",
        "_text",
        "_text_octets",
        "ours",
        "peer",
        "queue",
        "session",
        "sinks",
    )

    def __init__(self, sinks: tuple[Sink, ...], *, session: str, queue: str, peer: str, ours: bool) -> None:
        """`ours`: this host is the client; then octets of a message never come here."""
        self.sinks = sinks
        self.ours = ours
        self.session = session
        self.queue = queue
        self.peer = peer
        self._locals: list[str] = []
        self.begin()

    def begin(self, *, in_text: bool = False, in_login: bool = False) -> None:
        """A new session; or one that stands where the client is in a message or a login."""
        self._client = _Lines()
        self._server = _Lines()
        self._owed = 1 if in_login else 0  # replies that the client waits for
        self._data_in = 0  # the reply to DATA is that many away; 0: none is awaited
        self._auth_in = 1 if in_login else 0
        self._text = in_text
        self._text_octets = 0
        self._tail = b""

    # what is heard

    def event(self, text: str) -> None:
        """What nobody says: connected, closed."""
        for sink in self.sinks:
            sink.take(self, Side.EVENT, text)

    def text(self, octets: int) -> None:
        """The client sends a message of so many octets, which do not come here."""
        self.event(f"text of {octets:,} octets")

    def client(self, data: bytes) -> None:
        """Octets of the client."""
        if self.ours:
            if not self._is_dropped(data, self._client):
                for line in self._client.of(data):
                    self._command(line)
            return
        if self._text:
            data = self._skip_text(data)
        for line in self._client.of(data):
            if self._text or self._data_in:
                self._text_octets += len(line) + 2
            elif self._auth_in:
                self._say(Side.CLIENT, "[login left out]")
            else:
                self._command(line)

    def server(self, data: bytes) -> None:
        """Octets of the server."""
        if self.ours and self._is_dropped(data, self._server):
            return
        for line in self._server.of(data):
            self._reply(line)

    # what is made of it

    def _is_dropped(self, data: bytes, lines: "_Lines") -> bool:
        """Whether nobody has room: then lines are counted and not made."""
        if not all(sink.is_full for sink in self.sinks):
            return False
        for sink in self.sinks:
            sink.drop(data.count(b"\n"))
        lines.forget()
        return True

    def _command(self, line: bytes) -> None:
        word = line[:9].split(b" ", 1)[0].split(b":", 1)[0].upper()
        self._owed += 1
        if word not in _COMMANDS:
            self._say(Side.CLIENT, f"[{len(line)} octets that are no command]")
            return
        if word == b"AUTH":
            self._auth_in = 0 if self.ours else self._owed
            mechanism = b" ".join(line.split()[:2])
            self._say(Side.CLIENT, f"{_shown(mechanism)} [login left out]")
            return
        if word == b"DATA" and not self.ours:
            self._data_in = self._owed
        shown = _shown(line)
        if word == b"MAIL":
            self._locals = []
        elif word == b"RCPT" and len(self._locals) < MOST_LOCALS and (found := _PATH.search(shown)):
            self._locals.append(found.group()[1:])
        self._say(Side.CLIENT, shown)

    def _reply(self, line: bytes) -> None:
        code, final = line[:3], line[3:4] != b"-"
        if self._auth_in == 1 and code == b"334":
            self._say(Side.SERVER, "334 [login left out]")
            return
        if final and self._owed:
            self._owed -= 1
            self._auth_in = max(0, self._auth_in - 1)
            self._count(code)
        self._say(Side.SERVER, _shown(line))

    def _count(self, code: bytes) -> None:
        """A command has its reply: DATA may begin the text."""
        if not self._data_in:
            return
        self._data_in -= 1
        if not self._data_in:
            if code == b"354":
                self._text, self._tail = True, b"\r\n"
            self._tell_text()

    def _skip_text(self, data: bytes) -> bytes:
        """What follows the end of the text in `data`."""
        joined = self._tail + data
        end = joined.find(_END)
        if end < 0:
            self._text_octets += len(data)
            self._tail = joined[-len(_END) + 1 :]
            return b""
        rest = joined[end + len(_END) :]
        self._text_octets += len(data) - len(rest)
        self._text = False
        self._owed += 1
        self._tell_text()
        return rest

    def _tell_text(self) -> None:
        if self._text_octets:
            self.event(f"text of {self._text_octets:,} octets")
        self._text_octets = 0

    def _say(self, side: Side, text: str) -> None:
        for sink in self.sinks:
            sink.take(self, side, text)

    def hidden(self, text: str) -> str:
        """`text` without local parts of addresses, those of this transaction also where no domain follows."""
        text = _NAMED.sub(r"\1[left out]", _LOCAL.sub("…", _PATH.sub("<…", text)))
        for local in self._locals:
            if len(local) > 2:
                text = re.sub(rf"(?<![\w.-]){re.escape(local)}(?![\w-])", "…", text)
        return text


class _Lines:
    """Lines out of octets in any portions; of one without end only the start is kept."""

    __slots__ = ("_rest",)

    def __init__(self) -> None:
        self._rest = b""

    def forget(self) -> None:
        """The start of a line whose rest will not come."""
        self._rest = b""

    def of(self, data: bytes) -> Iterator[bytes]:
        """Lines that are whole, without their ends."""
        *whole, rest = (self._rest + data).split(b"\n")
        self._rest = rest[:MAX_PARTIAL]
        for line in whole:
            yield line.rstrip(b"\r")


def _shown(line: bytes) -> str:
    text = line[:MAX_LINE].decode("utf-8", "backslashreplace")
    return text if len(line) <= MAX_LINE else f"{text}… [{len(line):,} octets]"
