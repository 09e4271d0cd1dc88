"""Replies from bytes (RFC 5321 section 4.2), from a peer that may be broken or hostile."""

from mailagent.delivery.raw_reply import RawReply

MAX_LINE_BYTES = 4096
MAX_REPLY_BYTES = 32_768
MAX_REPLY_LINES = 100

_CODES = {b"%d" % code: code for code in range(200, 600)}
_MARKS = frozenset({b"", b" ", b"-"})  # between code and text: none, last line, more to come


class BrokenReply(ValueError):
    """Not a reply, or one beyond the limits: the session cannot go on."""


class ReplyReader:
    """Cuts received bytes into replies. Lines may end in LF alone: nothing hangs on it here."""

    __slots__ = ("_buffer", "_lines", "_position", "_size")

    def __init__(self) -> None:
        self._buffer = b""
        self._position = 0
        self._lines: list[bytes] = []
        self._size = 0

    def is_empty(self) -> bool:
        """Whether every byte received belongs to a reply that was handed out."""
        return self._position == len(self._buffer) and not self._lines

    def feed(self, data: bytes) -> None:
        """Take what was received."""
        self._buffer = self._buffer[self._position :] + data if self._position < len(self._buffer) else data
        self._position = 0

    def next(self) -> RawReply | None:
        """The next complete reply, or None.

        Raises:
            BrokenReply: what came is no reply, or too long.
        """
        buffer = self._buffer
        while True:
            start = self._position
            if start == len(buffer):
                return None
            end = buffer.find(b"\n", start)
            if end < 0:
                if len(buffer) - start > MAX_LINE_BYTES:
                    raise BrokenReply(f"a reply line of more than {MAX_LINE_BYTES} bytes")
                return None
            line = buffer[start:end].removesuffix(b"\r")
            self._position = end + 1
            size = len(line)
            if size > MAX_LINE_BYTES:
                raise BrokenReply(f"a reply line of more than {MAX_LINE_BYTES} bytes")
            code, mark = _CODES.get(line[:3]), line[3:4]
            if code is None or mark not in _MARKS:
                raise BrokenReply(f"{line[:80]!r} is no SMTP reply")
            self._lines.append(line[4:])
            if mark != b"-":
                reply = RawReply(code, self._lines)
                self._lines = []
                self._size = 0
                return reply
            self._size += size
            if len(self._lines) >= MAX_REPLY_LINES or self._size > MAX_REPLY_BYTES:
                raise BrokenReply(f"a reply of more than {len(self._lines)} lines or {MAX_REPLY_BYTES} bytes")
