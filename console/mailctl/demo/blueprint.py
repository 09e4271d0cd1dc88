"""What one run of the demo consists of: directory, loopback network, ports, hosts and their virtual MTAs."""

import contextlib
import random
import socket
from dataclasses import dataclass
from pathlib import Path

import msgspec

from mailctl.demo.errors import NoFreeNetwork, PathTooLong

HOSTS = ("mx1", "mx2", "mx3")
POSTFIX_HOST = "mx4"
"""The fourth, where a Postfix is installed that can be started."""
_FIRST_SOURCE = {"mx1": 21, "mx2": 31, "mx3": 41, POSTFIX_HOST: 61}
"""Last octets of the first source address; 53 is the DNS server's."""
POOLS = {"transactional": "tx", "marketing": "mkt", "cold": "cold"}
"""Pool -> stem of its virtual MTAs. Each host has two of each: `mkt-1` active, `mkt-2` as warm standby, and so on."""
WARMING = "mkt-9"
"""One more of marketing, new, on the second host."""
OPERATOR = "operator"
"""User that the demo's SSH servers know."""
DNS_HOST = 53
"""Last octet of the DNS server's address."""
CONTROL_SOCKET = "demo.sock"
"""Name of the socket where incidents are started and stopped; it stands beside the fleet file."""
MAX_SOCKET_PATH = 107

_NETWORKS = 2500
_FIRST_PORT = 20_000  # below the ephemeral ports, so that no outgoing connection takes one while a host is down
_PORTS_PER_RUN = 5
_WORLD = 3  # which of them is the world's


class HostPlan(msgspec.Struct, frozen=True, kw_only=True):
    """One host of the run."""

    name: str
    smtp_port: int  # on 127.0.0.1, of its agent or its Postfix
    ssh_address: str
    active: dict[str, str]  # virtual MTA -> address
    standby: dict[str, str]
    warming: dict[str, str]
    is_postfix: bool = False

    @property
    def addresses(self) -> dict[str, str]:
        """All of them."""
        return {**self.active, **self.standby, **self.warming}


class Blueprint(msgspec.Struct, frozen=True, kw_only=True):
    """One run. Its network is its own, so that several runs do not meet."""

    directory: Path
    network: str  # three octets: `127.64.7`
    port: int  # the first of five
    rate: float = 60.0  # messages a second
    incident: str = ""  # runs from the start; then there is no timeline
    temporary: bool = True  # the directory goes with the run
    postfix: str = ""  # the program of the fourth host; empty: there is none

    @property
    def world_port(self) -> int:
        """Port of the providers, the DNS and the SSH servers, each on an address of its own."""
        return self.port + _WORLD

    @property
    def hosts(self) -> tuple[HostPlan, ...]:
        """The three hosts, and the fourth where there is a Postfix for it."""
        own = tuple(self._host(n, name) for n, name in enumerate(HOSTS, start=1))
        return (*own, self._host(len(HOSTS) + 1, POSTFIX_HOST)) if self.postfix else own

    @property
    def fleet_file(self) -> Path:
        """What the console loads."""
        return self.directory / "fleet.yaml"

    @property
    def provider_log(self) -> Path:
        """The judge."""
        return self.directory / "providers.jsonl"

    @property
    def control_socket(self) -> Path:
        """Where incidents are started and stopped."""
        return self.directory / CONTROL_SOCKET

    @property
    def ssh_directory(self) -> Path:
        """Generated keys: hosts', operator's, known_hosts."""
        return self.directory / "ssh"

    def agent_file(self, host: str) -> Path:
        """Configuration of one agent."""
        return self.directory / host / "agent.yaml"

    def agent_log(self, host: str) -> Path:
        """Standard error of one agent."""
        return self.directory / host / "agent.log"

    def postfix_directory(self, host: str) -> Path:
        """All that the Postfix of a host has."""
        return self.directory / host / "postfix"

    def rpc_socket(self, host: str) -> Path:
        """Socket of one agent."""
        return self.directory / host / "rpc.sock"

    def check(self) -> None:
        """Refuse a directory in which a socket's path would be too long.

        Raises:
            PathTooLong: choose another.
        """
        for path in (self.control_socket, *(self.rpc_socket(host.name) for host in self.hosts)):
            if len(bytes(path)) > MAX_SOCKET_PATH:
                raise PathTooLong(str(path))

    def save(self) -> None:
        """Write it where `load` finds it."""
        (self.directory / "demo.json").write_bytes(msgspec.json.encode(self, enc_hook=str))

    @staticmethod
    def load(directory: Path) -> "Blueprint":
        """The one saved in `directory`."""
        data = (directory / "demo.json").read_bytes()
        return msgspec.json.decode(data, type=Blueprint, dec_hook=lambda kind, text: kind(text))

    def _host(self, n: int, name: str) -> HostPlan:
        def members(offset: int) -> dict[str, str]:
            return {
                f"{stem}-{2 * n - 1 + offset}": f"{self.network}.{_FIRST_SOURCE[name] + 2 * pool + offset}"
                for pool, stem in enumerate(POOLS.values())
            }

        return HostPlan(
            name=name,
            smtp_port=self.port + (n - 1 if n <= _WORLD else n),
            ssh_address=f"{self.network}.{10 + n}",
            active=members(0),
            standby=members(1),
            warming={WARMING: f"{self.network}.{_FIRST_SOURCE[name] + 2 * len(POOLS)}"} if name == HOSTS[1] else {},
            is_postfix=name == POSTFIX_HOST,
        )


@dataclass(frozen=True, slots=True)
class Claim:
    """The right to a loopback network and its ports, as long as `holder` is open in any process."""

    network: str
    port: int
    holder: socket.socket


def claim(rng: random.Random | None = None) -> Claim:
    """Take a network that no other run has.

    The claim is an abstract Unix socket: the kernel gives it up with the last process that holds it, and it lives in
    the same network namespace as the addresses.

    Raises:
        NoFreeNetwork: all are taken.
    """
    first = (rng or random.Random()).randrange(_NETWORKS)
    for n in (number % _NETWORKS for number in range(first, first + _NETWORKS)):
        network = f"127.{64 + n // 250}.{1 + n % 250}"
        port = _FIRST_PORT + _PORTS_PER_RUN * n
        holder = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        try:
            holder.bind(f"\0mailctl-demo-{network}")
        except OSError:
            holder.close()
            continue
        if _free(network, port):
            return Claim(network, port, holder)
        holder.close()
    raise NoFreeNetwork(_NETWORKS)


def _free(network: str, port: int) -> bool:
    """Whether no other program listens on the ports of a run."""
    own = [("127.0.0.1", port + n) for n in range(_PORTS_PER_RUN) if n != _WORLD]
    wanted = [*own, (f"{network}.{DNS_HOST}", port + _WORLD)]
    with contextlib.ExitStack() as stack:
        for address in wanted:
            probe = stack.enter_context(socket.socket())
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            try:
                probe.bind(address)
            except OSError:
                return False
    return True
