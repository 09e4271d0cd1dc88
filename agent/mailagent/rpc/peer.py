"""Who is at the other end of a Unix socket, as the kernel says, and which role that gives.

Through OpenSSH's stream-local forwarding the peer is the account that logged in: sshd's child connects as it.
"""

import grp
import logging
import os
import pwd
import socket
import struct
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from mailagent.api.errors import RoleRefused
from mailagent.api.requests import Role
from mailagent.host import Principal

log = logging.getLogger(__name__)

OVERFLOW_UID = 65534
"""What the kernel shows for accounts outside our user namespace: nobody in particular."""
_SO_PEERGROUPS = 59
_MAX_GROUPS_BYTES = 1024  # Python's getsockopt allows no more: 256 groups
_RANK = {Role.VIEWER: 0, Role.OPERATOR: 1, Role.ADMIN: 2}


@dataclass(frozen=True, slots=True)
class Peer:
    """The kernel's word about a connection, taken when it was made."""

    pid: int
    uid: int
    groups: tuple[int, ...]  # primary and supplementary


def peer_of(sock: socket.socket) -> Peer:
    """The peer of a connected Unix socket (SO_PEERCRED, SO_PEERGROUPS)."""
    size = struct.calcsize("3i")
    pid, uid, gid = struct.unpack("3i", sock.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, size))
    raw = sock.getsockopt(socket.SOL_SOCKET, _SO_PEERGROUPS, _MAX_GROUPS_BYTES)
    more = struct.unpack(f"{len(raw) // 4}I", raw)
    return Peer(pid=pid, uid=uid, groups=(gid, *(one for one in more if one != gid)))


def principal_of(peer: Peer, roles: Mapping[Role, Sequence[str]], *, own_uid: int | None = None) -> Principal:
    """The caller with the highest role that its groups give.

    The account that the agent runs as and uid 0 are admin; uid 0 is logged as break-glass.

    Raises:
        RoleRefused: no group of the caller has a role here, or the kernel does not know who it is.
    """
    own_uid = os.geteuid() if own_uid is None else own_uid
    if peer.uid == OVERFLOW_UID or peer.pid == 0:
        raise RoleRefused("the caller is outside this agent's user or process namespace, so nobody can say who it is")
    user = user_name(peer.uid)
    if peer.uid in (0, own_uid):
        if peer.uid == 0 != own_uid:
            log.warning("break-glass access user=root pid=%d", peer.pid)
        return Principal(user=user, role=Role.ADMIN)
    names = {_group_name(gid) for gid in peer.groups}
    held = [role for role in Role if names.intersection(roles.get(role, ()))]
    if not held:
        groups = ", ".join(sorted(names))
        raise RoleRefused(f"{user} has no role here; `rpc.roles` names none of its groups ({groups})")
    return Principal(user=user, role=max(held, key=_RANK.__getitem__))


def lowered(principal: Principal, as_role: Role | None) -> Principal:
    """The same caller with `as_role`, where that is lower."""
    if as_role is None or _RANK[as_role] >= _RANK[principal.role]:
        return principal
    return Principal(user=principal.user, role=as_role)


def may(principal: Principal, least: Role) -> bool:
    """Whether the caller's role is enough."""
    return _RANK[principal.role] >= _RANK[least]


def user_name(uid: int) -> str:
    """Account name, or the number where there is none."""
    try:
        return pwd.getpwuid(uid).pw_name
    except KeyError:
        return str(uid)


def _group_name(gid: int) -> str:
    try:
        return grp.getgrgid(gid).gr_name
    except KeyError:
        return str(gid)
