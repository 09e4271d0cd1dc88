"""The agent's Unix socket: peer identity, roles, subscriptions, audit."""

from mailagent.rpc.server import RpcServer

__all__ = ["RpcServer"]
