"""The Unix-socket server: who calls, what they may do, and what came of it."""

from mailagent.rpc.errors import SocketTaken
from mailagent.rpc.server import RpcServer

__all__ = ["RpcServer", "SocketTaken"]
