"""Errors of the socket.

MethodUnknown   no such method in this version (JSON-RPC -32601)
SocketInUse     another agent answers on the socket
"""

from pathlib import Path

from mailagent.api.errors import ApiError


class MethodUnknown(ApiError):
    """This agent has no such method."""

    code = -32601

    def __init__(self, name: str) -> None:
        super().__init__(f"no method {name!r} in this version")


class SocketInUse(OSError):
    """Another agent is alive on the socket."""

    def __init__(self, path: Path) -> None:
        super().__init__(f"{path}: another agent answers there; stop it, or give this one a socket of its own")
