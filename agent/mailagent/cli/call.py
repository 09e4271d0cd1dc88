"""One call to a running agent over its Unix socket, for the command line."""

import socket
from pathlib import Path
from typing import TypeVar

import msgspec

from mailagent.api import codec
from mailagent.api.methods import MAX_REPLY_BYTES, METHODS, PROTOCOL_VERSION
from mailagent.api.requests import HelloRequest

T = TypeVar("T")


class AgentSilent(ConnectionError):
    """The agent did not answer; what became of the call is unknown when it was `sent`."""

    def __init__(self, path: Path, sent: bool, why: str) -> None:
        after = "it may or may not have acted on the call" if sent else "nothing was done"
        super().__init__(f"no answer from the agent at {path}: {why}; {after}")
        self.sent = sent


class AgentCalls:
    """A connection to the agent's socket; use as a context manager."""

    def __init__(self, path: Path, deadline_s: float) -> None:
        self._path = path
        self._deadline_s = deadline_s
        self._buffer = b""
        self._calls = 0

    def __enter__(self) -> "AgentCalls":
        """Connect and say hello.

        Raises:
            OSError: no agent listens there, or it is not for this user.
            ApiError: the agent refuses the caller or speaks another version.
        """
        self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self._socket.settimeout(self._deadline_s)
        try:
            self._socket.connect(str(self._path))
            self.call("hello", HelloRequest(protocol=PROTOCOL_VERSION, client="mailagent"))
        except BaseException:
            self._socket.close()
            raise
        return self

    def __exit__(self, *exc: object) -> None:
        self._socket.close()

    def call(self, method: str, params: msgspec.Struct) -> object:
        """The result of `method`, of the shape that the method table says.

        Raises:
            ApiError: the agent answered with an error.
            AgentSilent: it did not answer.
        """
        sent = False
        self._calls += 1
        try:
            self._socket.sendall(codec.call(method, params, self._calls))
            sent = METHODS[method].mutates
            frame = codec.parse_frame(self._line())
        except OSError as exc:
            raise AgentSilent(self._path, sent, exc.strerror or str(exc)) from exc
        if frame.error is not None:
            raise codec.to_exception(frame.error)
        return codec.decode(frame.result, METHODS[method].result)

    def _line(self) -> bytes:
        while b"\n" not in self._buffer:
            data = self._socket.recv(65536)
            if not data or len(self._buffer) > MAX_REPLY_BYTES:
                raise ConnectionResetError("it closed the connection" if not data else "its answer has no end")
            self._buffer += data
        line, _, self._buffer = self._buffer.partition(b"\n")
        return line
