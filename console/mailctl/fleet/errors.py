"""Errors of the way to a host.

LinkError                   no answer from this host; each message names host, cause and remedy
├── Unreachable             no route, refused, name unknown, too slow: try again later
├── LinkLost                the connection broke with the call under way: its outcome is unknown
├── NoAnswer                the host is connected and the deadline passed, or it fell silent: the outcome is unknown
├── SshMisconfigured        our own ssh settings cannot be used: mend the file
├── Denied                  somebody said no: mend keys, groups or the sshd configuration
│   ├── HostKeyUnknown      never seen: compare the fingerprint, then add it
│   ├── HostKeyChanged      not the key we know: find out why before removing it
│   ├── LoginRefused        sshd takes none of our keys
│   └── SocketRefused       the agent's socket, or the agent behind it, refuses this user
├── SocketMissing           the host is reached, and no agent answers at its socket: start it, or mend the path
└── Incompatible            the other side speaks another protocol, or no protocol of ours
"""


class LinkError(ConnectionError):
    """A host that cannot be asked. `host` is its name in the fleet, `reason` the sentence without it."""

    def __init__(self, host: str, reason: str) -> None:
        super().__init__(f"{host}: {reason}")
        self.host = host
        self.reason = reason


class Unreachable(LinkError):
    """The network, or whatever should listen at its other end, does not answer."""


class LinkLost(LinkError):
    """The connection broke while a call was under way."""


class NoAnswer(LinkError, TimeoutError):
    """The deadline of a call passed, or no news came for too long."""


class SshMisconfigured(LinkError, ValueError):
    """An ssh configuration, key or known_hosts file of ours cannot be used."""


class Denied(LinkError, PermissionError):
    """Reached, and turned away. Trying again every second does not help."""


class HostKeyUnknown(Denied):
    """The host's key stands in no known_hosts file that we read."""


class HostKeyChanged(Denied):
    """The host showed another key than the one that known_hosts has for it."""


class LoginRefused(Denied):
    """sshd accepted none of our keys for this user."""


class SocketRefused(Denied):
    """No permission for the agent's socket, or no role at the agent."""


class SocketMissing(LinkError):
    """No agent answers at the socket. Through OpenSSH a missing permission looks the same."""


class Incompatible(LinkError):
    """Protocol versions differ, or the peer's bytes are not of our protocol."""
