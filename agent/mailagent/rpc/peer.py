"""Who calls: the kernel's word on the other end of a Unix socket, and the role that it earns."""

import grp
import logging
import os
import pwd
import socket
import struct
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Final, Protocol

from mailagent.api.errors import RoleRefused
from mailagent.api.requests import Role

log = logging.getLogger(__name__)

OVERFLOW_UID: Final = 65534
"""What the kernel says for a peer of another user namespace."""
_SO_PEERGROUPS: Final = 59  # asm-generic/socket.h; Python has no name for it
_GROUPS_BYTES: Final = 1024  # as much as getsockopt takes: 256 groups
_RANK: Final = {role: rank for rank, role in enumerate(Role)}


class Connected(Protocol):
    """A socket, as asyncio transports hand it out."""

    def getsockopt(self, level: int, option: int, buffer_bytes: int, /) -> bytes:
        """See `socket.socket`."""


@dataclass(frozen=True, slots=True)
class Peer:
    """A process as the kernel saw it when it connected."""

    pid: int
    uid: int
    gids: frozenset[int]


def peer_of(sock: Connected) -> Peer:
    """The process at the other end (SO_PEERCRED, SO_PEERGROUPS).

    Raises:
        OSError: the kernel does not say.
    """
    pid, uid, gid = struct.unpack("iII", sock.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, 12))
    try:
        raw = sock.getsockopt(socket.SOL_SOCKET, _SO_PEERGROUPS, _GROUPS_BYTES)
        gids: Sequence[int] = struct.unpack(f"{len(raw) // 4}I", raw)
    except OSError:  # more groups than fit: the name service knows them too
        gids = os.getgrouplist(user_name(uid), gid)
    return Peer(pid=pid, uid=uid, gids=frozenset((gid, *gids)))


def user_name(uid: int) -> str:
    """The account's name, or `uid 1234`. Asks the name service, which may take its time."""
    try:
        return pwd.getpwuid(uid).pw_name
    except KeyError:
        return f"uid {uid}"


def at_most(role: Role, ceiling: Role | None) -> Role:
    """`role`, or `ceiling` when that is lower."""
    return role if ceiling is None else min(role, ceiling, key=_RANK.__getitem__)


def includes(role: Role, needed: Role) -> bool:
    """Whether `role` may do what `needed` may."""
    return _RANK[role] >= _RANK[needed]


class RoleTable:
    """Which Unix groups have which role. Names are resolved once, when the table is made."""

    def __init__(self, roles: Mapping[Role, Sequence[str]], *, own_uid: int | None = None) -> None:
        self._own_uid = os.getuid() if own_uid is None else own_uid
        self._roles: dict[int, Role] = {}  # gid -> its highest role
        for role in Role:  # in rising order
            for name in roles.get(role, ()):
                try:
                    self._roles[grp.getgrnam(name).gr_gid] = role
                except KeyError:
                    log.warning("rpc.roles.%s: no group %s on this host; nobody has that role by it", role, name)

    @property
    def widest_gid(self) -> int | None:
        """The first group of the lowest role: members of the higher ones are expected to be in it too."""
        return next(iter(self._roles), None)

    def role_of(self, peer: Peer) -> Role:
        """The highest role that the peer's user or groups have.

        Raises:
            RoleRefused: none, or the kernel cannot say who it is.
        """
        if peer.uid == OVERFLOW_UID or peer.pid == 0:
            raise RoleRefused(
                "the kernel does not tell the agent who you are: caller and agent are in different user or process"
                f" namespaces, or you are `nobody` ({OVERFLOW_UID}), as which the kernel shows whom it does not know"
            )
        if peer.uid in (0, self._own_uid):
            return Role.ADMIN
        found = [role for gid, role in self._roles.items() if gid in peer.gids]
        if not found:
            raise RoleRefused(f"user {peer.uid} is in no group of rpc.roles; ask for one of the groups named there")
        return max(found, key=_RANK.__getitem__)
