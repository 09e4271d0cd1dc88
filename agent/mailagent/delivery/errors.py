"""Why no connection came about.

DeliveryError
├── ConnectFailed          the other side: refused, silent, or it greeted us with an error
└── BindFailed             our side: the source address cannot be used; nothing was sent from another one
    ├── AddressNotOnHost   the kernel does not have the address
    └── AddressesExhausted every local port of the address is taken towards that peer
"""

from mailagent.api.smtp import SmtpReply, Verb
from mailagent.dns import Address
from mailagent.routing.rollup import Hop


class DeliveryError(Exception):
    """No connection came about."""


class ConnectFailed(DeliveryError, ConnectionError):
    """The whole path was tried in vain. `reply` is the most telling answer, `hop` who gave it."""

    def __init__(self, reply: SmtpReply, hop: Hop) -> None:
        super().__init__(f"{hop}: {reply.line()}")
        self.reply = reply
        self.hop = hop


class BindFailed(DeliveryError, OSError):
    """The virtual MTA's own address cannot be used; delivery never falls back to another one.

    `reply` says so in the form of a reply (RFC 3463: 4.3.5, system incorrectly configured).
    """

    def __init__(self, address: Address, reason: str) -> None:
        super().__init__(f"{address}: {reason}")
        self.address = address
        self.reply = SmtpReply(code=0, enhanced="4.3.5", text=str(self), verb=Verb.CONNECT, local=True)


class AddressNotOnHost(BindFailed):
    """The address is not configured on any interface of this host."""

    def __init__(self, address: Address) -> None:
        super().__init__(address, "not an address of this host; add it to an interface, or suspend its virtual MTA")


class AddressesExhausted(BindFailed):
    """No local port is free for one more connection from the address to that peer."""

    def __init__(self, address: Address) -> None:
        super().__init__(address, "no free local port towards the peer; see net.ipv4.ip_local_port_range")
