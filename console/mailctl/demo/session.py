"""One SMTP session at a simulated provider (RFC 5321): PIPELINING, SIZE, 8BITMIME, ENHANCEDSTATUSCODES.

A bare `asyncio.Protocol` without a coroutine per line: the receivers must never be the slow part of a measurement.
"""

import asyncio
import re
from collections.abc import Callable
from typing import cast

from mailctl.demo.judge import ProviderLog
from mailctl.demo.providers import MAX_MESSAGE_BYTES, MAX_RECIPIENTS, Provider

MAX_LINE_BYTES = 2048
LINGER_S = 1.0
"""After a 421 we read and drop for so long: closing with unread input would reset the connection under the reply."""
_ADDRESS = re.compile(rb":\s*<([^<>\s]*)>")
_SIZE = re.compile(rb"\sSIZE=(\d+)", re.IGNORECASE)
_MESSAGE_ID = re.compile(rb"^message-id:\s*(\S+)", re.IGNORECASE | re.MULTILINE)
_END_OF_DATA = b"\r\n.\r\n"


class Session(asyncio.Protocol):
    """One connection, from greeting to QUIT."""

    def __init__(self, provider: Provider, host: str, log: ProviderLog, living: "set[Session]") -> None:
        """`living` holds the session as long as it is connected."""
        self._provider = provider
        self._living = living
        self._host = host
        self._log = log
        self._buffer = bytearray()
        self._scanned = 0  # bytes of the buffer known to hold no end of data
        self._replies: list[bytes] = []
        self._held: asyncio.TimerHandle | None = None  # an answer that is being delayed
        self._deaf = False  # after a 421: input is dropped
        self._in_data = False
        self._sent = 0
        self._source = ""
        self._greeted = False
        self._sender: str | None = None
        self._recipients: list[str] = []

    # transport events

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Greet, or refuse a source that has too many connections."""
        self._transport = cast("asyncio.Transport", transport)
        self._source = transport.get_extra_info("peername")[0]
        self._loop = asyncio.get_running_loop()
        self._living.add(self)
        refusal = self._provider.connected(self._source)
        if refusal is not None:
            self._log.write(self._provider.name, self._source, "connect", refusal)
            self._refuse(refusal)
            self._send()
            return
        greeting = f"220 {self._host} ESMTP {self._provider.name}"
        self._later(self._provider.greeting_delay_s, lambda: self._reply(greeting, verb="connect"))
        self._send()

    def data_received(self, data: bytes) -> None:
        """Take in bytes and answer what is complete."""
        if self._deaf:
            return
        self._buffer += data
        if self._held is None:
            self._work()
        elif len(self._buffer) > MAX_LINE_BYTES:
            self._transport.pause_reading()

    def eof_received(self) -> bool:
        """Close; what was not finished is dropped."""
        return False

    def connection_lost(self, exc: Exception | None) -> None:  # noqa: ARG002 -- asyncio's signature
        """Forget the connection."""
        if self._held is not None:
            self._held.cancel()
        self._deaf = True
        self._buffer.clear()
        self._living.discard(self)
        self._provider.disconnected(self._source)

    def abort(self) -> None:
        """Drop the connection."""
        self._transport.abort()

    # protocol

    def _work(self) -> None:
        while not self._deaf and self._held is None and (self._take_data() if self._in_data else self._take_line()):
            pass
        self._send()

    def _take_line(self) -> bool:
        end = self._buffer.find(b"\r\n")
        if end < 0:
            if len(self._buffer) > MAX_LINE_BYTES:
                self._refuse("421 4.5.2 Error: line too long")
            return False
        line = bytes(self._buffer[:end])
        del self._buffer[: end + 2]
        command = self._COMMANDS.get(line[:4].upper())
        if command is None:
            self._reply("502 5.5.2 Error: command not recognized")
        else:
            command(self, line)
        return True

    def _take_data(self) -> bool:
        if self._buffer.startswith(b".\r\n"):
            end, after = 0, 3
        else:
            end = self._buffer.find(_END_OF_DATA, max(0, self._scanned - len(_END_OF_DATA)))
            after = end + len(_END_OF_DATA)
        if end < 0:
            self._scanned = len(self._buffer)
            if self._scanned > MAX_MESSAGE_BYTES:
                self._refuse("421 4.3.4 Error: message too large")
            return False
        header_end = self._buffer.find(b"\r\n\r\n", 0, end)
        found = _MESSAGE_ID.search(self._buffer, 0, end if header_end < 0 else header_end + 2)
        message_id = found.group(1).decode("ascii", "backslashreplace") if found else ""
        del self._buffer[:after]
        self._scanned = 0
        self._in_data = False
        self._later(self._provider.dot_delay_s, lambda: self._judge(message_id))
        return True

    def _judge(self, message_id: str) -> None:
        answer = self._provider.message(self._source)
        for recipient in self._recipients:
            self._log.write(self._provider.name, self._source, ".", answer, recipient, message_id)
        self._sent += 1
        self._forget()
        self._reply(answer)

    def _hello(self, line: bytes) -> None:
        self._greeted = True
        self._forget()
        if line[:4].upper() == b"HELO":
            self._reply(f"250 {self._host}")
            return
        for keyword in (self._host, f"SIZE {MAX_MESSAGE_BYTES}", "8BITMIME", "ENHANCEDSTATUSCODES"):
            self._replies.append(f"250-{keyword}\r\n".encode())
        self._replies.append(b"250 PIPELINING\r\n")

    def _mail(self, line: bytes) -> None:
        address = _ADDRESS.search(line)
        size = _SIZE.search(line)
        if not self._greeted:
            self._reply("503 5.5.1 Error: send EHLO first")
        elif self._sender is not None:
            self._reply("503 5.5.1 Error: nested MAIL command")
        elif address is None:
            self._reply("501 5.5.4 Syntax: MAIL FROM:<address>")
        elif size is not None and int(size.group(1)) > MAX_MESSAGE_BYTES:
            self._reply("552 5.3.4 Message size exceeds fixed maximum message size", verb="MAIL")
        elif refusal := self._provider.mail(self._source, self._sent):
            self._reply(refusal, verb="MAIL")
        else:
            self._sender = address.group(1).decode("utf-8", "backslashreplace")
            self._reply("250 2.1.0 Ok", verb="MAIL")

    def _rcpt(self, line: bytes) -> None:
        address = _ADDRESS.search(line)
        if self._sender is None:
            self._reply("503 5.5.1 Error: need MAIL command")
            return
        if address is None:
            self._reply("501 5.5.4 Syntax: RCPT TO:<address>")
            return
        recipient = address.group(1).decode("utf-8", "backslashreplace")
        if len(self._recipients) >= MAX_RECIPIENTS:
            answer: str | None = "452 4.5.3 Error: too many recipients"
        else:
            answer = self._provider.recipient(self._source, self._sender, recipient)
        if answer is None:
            self._recipients.append(recipient)
            answer = "250 2.1.5 Ok"
        self._reply(answer, verb="RCPT", recipient=recipient)

    def _data(self, _line: bytes) -> None:
        if not self._recipients:
            self._reply("554 5.5.1 Error: no valid recipients")
            return
        self._in_data = True
        self._reply("354 End data with <CR><LF>.<CR><LF>")

    def _reset(self, _line: bytes) -> None:
        self._forget()
        self._reply("250 2.0.0 Ok")

    def _noop(self, _line: bytes) -> None:
        self._reply("250 2.0.0 Ok")

    def _quit(self, _line: bytes) -> None:
        self._replies.append(b"221 2.0.0 Bye\r\n")
        self._hang_up()

    _COMMANDS: dict[bytes, Callable[["Session", bytes], None]] = {  # noqa: RUF012 -- a constant
        b"EHLO": _hello,
        b"HELO": _hello,
        b"MAIL": _mail,
        b"RCPT": _rcpt,
        b"DATA": _data,
        b"RSET": _reset,
        b"NOOP": _noop,
        b"QUIT": _quit,
    }

    # answering

    def _reply(self, answer: str, *, verb: str = "", recipient: str = "") -> None:
        """Queue one reply line; with a verb it is also logged. A 421 ends the session."""
        if verb:
            self._log.write(self._provider.name, self._source, verb, answer, recipient)
        self._replies.append(answer.encode() + b"\r\n")
        if answer.startswith("421"):
            self._hang_up()

    def _refuse(self, answer: str) -> None:
        """Answer for the last time."""
        self._replies.append(answer.encode() + b"\r\n")
        self._hang_up()

    def _later(self, delay_s: float, answer: Callable[[], None]) -> None:
        """Answer after a delay; input that comes meanwhile waits."""
        if not delay_s:
            answer()
            return

        def go_on() -> None:
            self._held = None
            answer()
            self._transport.resume_reading()
            self._work()

        self._send()
        self._held = self._loop.call_later(delay_s, go_on)

    def _send(self) -> None:
        if self._replies and not self._transport.is_closing():
            self._transport.writelines(self._replies)
            self._replies.clear()
            if self._deaf:
                if self._transport.can_write_eof():
                    self._transport.write_eof()
                self._loop.call_later(LINGER_S, self._transport.abort)

    def _hang_up(self) -> None:
        self._deaf = True
        self._buffer.clear()

    def _forget(self) -> None:
        self._sender = None
        self._recipients = []
