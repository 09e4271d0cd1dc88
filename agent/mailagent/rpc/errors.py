"""Errors of the RPC server.

OSError
└── SocketTaken        something lives at the socket's path: stop it, or choose another path
ApiError
└── UnknownMethod      no such method (JSON-RPC -32601)
"""

from pathlib import Path

from mailagent.api.errors import ApiError


class SocketTaken(OSError):
    """The path of the socket is in use."""

    def __init__(self, path: Path, by: str) -> None:
        super().__init__(f"{path}: {by}; stop it, or set another rpc.socket")
        self.path = path


class UnknownMethod(ApiError):
    """The method table has no such name."""

    code = -32601
