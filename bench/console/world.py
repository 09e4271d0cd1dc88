"""Simulated hosts in one process: python -m bench.console.world DIRECTORY HOSTS CELLS CHANGED.

They speak the agents' RPC through a real SSH server: each connection is a handshake and a login, each host a channel
to a socket path of its own. CELLS are the destinations of one host; CHANGED is how many rows of all hosts differ each
second (-1: what differs on hosts that are busy).

Prints `ready` when it listens; answers each line on stdin with one JSON line that says how many hosts are subscribed.
It writes `fleet.yaml` and the keys into DIRECTORY.
"""

import asyncio
import json
import sys
import time
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import asyncssh
import msgspec
import uvloop

from mailagent.api import codec, replies, requests, views
from mailagent.api.errors import InvalidRequest
from mailagent.api.ids import HostName, PoolName, ProviderName, QueueKey, SiteName, VmtaName, queue_key
from mailagent.api.methods import CHANGES, METHODS, PROTOCOL_VERSION
from mailagent.api.operations import Impact, OperationResult, Result

POOLS = {"transactional": "tx", "marketing": "mkt", "cold": "cold"}
PROVIDERS = ("gmail", "outlook", "yahoo", "icloud")
USER = "operator"
BUSY_CELLS = 4
"""Destinations of a busy host that differ each second; itself, its pools and active virtual MTAs do too."""
STARTED = codec.now()


@dataclass
class Host:
    """One simulated agent."""

    number: int
    cells: int
    turn: int = 0
    snapshot: views.Snapshot = field(init=False)

    def __post_init__(self) -> None:
        self.name = HostName(f"mx{self.number:04d}")
        flow = views.Flow(delivered_1m=600, deferred_1m=9, delivered=60_000, recent=tuple(range(40, 64)))
        vmtas = [VmtaName(f"{stem}-{self.number}-{n}") for stem in POOLS.values() for n in (1, 2)]
        self.snapshot = views.Snapshot(
            seq=0,
            at=codec.now(),
            host=views.HostView(
                host=self.name, region=("eu", "us")[self.number % 2], version="0.1.0", engine="mailagent",
                state=views.EngineState.RUNNING, accepting=True, intake_reason="", started_at=STARTED, waiting=1200,
                deferred=310, ready=40, window=300, window_limit=20_000, oldest_at=STARTED, connections_in=4,
                connections_out=31, in_doubt=2, in_doubt_listed=0, flow=flow, disk_free_bytes=1 << 36,
                rss_bytes=1 << 27, history_bytes=1 << 24, generation=1, config_hash="0123456789ab",
            ),
            pools=tuple(
                views.PoolView(
                    name=PoolName(pool), state=views.PoolState.ACTIVE, reason="",
                    members=tuple(vmtas[2 * n : 2 * n + 2]), active=1, standby=1, waiting=400, deferred=100, ready=13,
                    connections=10, oldest_at=STARTED, flow=flow, generation=1,
                )
                for n, pool in enumerate(POOLS)
            ),
            vmtas=tuple(
                views.VmtaView(
                    name=name, pool=PoolName(list(POOLS)[n // 2]), address=f"10.{n}.{self.number // 250}.1",
                    address6="", public="203.0.113.7", ehlo=f"{name}.example.com",
                    state=views.MemberState.STANDBY if n % 2 else views.MemberState.ACTIVE, reason="", ready=6,
                    connections=5, in_doubt=0, flow=flow, generation=1,
                )
                for n, name in enumerate(vmtas)
            ),
            providers=tuple(
                views.ProviderView(
                    name=ProviderName(name), state=views.PoolState.ACTIVE, waiting=300, deferred=80, ready=10,
                    connections=8, oldest_at=STARTED, flow=flow, generation=1,
                )
                for name in PROVIDERS
            ),
            destinations=tuple(self._cell(n, vmtas[2 * (n % 3)], flow) for n in range(self.cells)),
        )  # fmt: skip

    def _cell(self, n: int, vmta: VmtaName, flow: views.Flow) -> views.DestinationView:
        provider = PROVIDERS[n // 3] if n < 3 * len(PROVIDERS) else f"site{n // 3}"
        return views.DestinationView(
            provider=ProviderName(provider), vmta=vmta, pool=PoolName(list(POOLS)[n % 3]),
            queues=(QueueKey(queue_key(SiteName(provider), vmta)),), sites=1, ready=3, deferred=n % 50, connections=2,
            connection_limit=20, rate_limit="100/s", oldest_at=STARTED, flow=flow, binding=None, last_reply=None,
        )  # fmt: skip

    def changes(self, rows: int) -> views.Changes | None:
        """`rows` destinations differ; -1: what differs on a busy host."""
        self.turn += 1
        cells = self.snapshot.destinations
        picked = [
            cells[(self.turn * 7 + n) % len(cells)] for n in range(min(len(cells), BUSY_CELLS if rows < 0 else rows))
        ]
        if not picked and rows >= 0:
            return None
        n = self.turn
        busy = rows < 0
        return views.Changes(
            seq=n,
            at=codec.now(),
            host=msgspec.structs.replace(self.snapshot.host, waiting=1200 + n % 97, flow=_moved(n)) if busy else None,
            pools=tuple(
                msgspec.structs.replace(one, waiting=400 + n % 31, flow=_moved(n)) for one in self.snapshot.pools
            )
            if busy
            else (),
            vmtas=tuple(
                msgspec.structs.replace(one, flow=_moved(n + k))
                for k, one in enumerate(self.snapshot.vmtas)
                if one.state is views.MemberState.ACTIVE
            )
            if busy
            else (),
            providers=tuple(msgspec.structs.replace(one, flow=_moved(n)) for one in self.snapshot.providers[:2])
            if busy
            else (),
            destinations=tuple(msgspec.structs.replace(one, deferred=n % 89, flow=_moved(n)) for one in picked),
        )

    def answer(self, method: str, params: Any) -> object:
        """What an agent would say."""
        if METHODS[method].mutates:
            return OperationResult(
                op_id=params.op_id,
                result=Result.PLANNED if params.dry_run else Result.APPLIED,
                detail=f"{method} {params.target}",
                impact=Impact(messages=400, connections=10, share=0.3),
                generation=1,
                undoable=True,
            )
        match method:
            case "hello":
                return replies.Hello(
                    protocol=PROTOCOL_VERSION, version="0.1.0", host=self.name, spool_id="s", boot_id="b",
                    features=tuple(METHODS), user=USER, role=requests.Role.ADMIN, server_time=codec.now(),
                )  # fmt: skip
            case "subscribe":
                return replies.Subscription(snapshot=self.snapshot, interval_s=params.interval_s)
            case "history":
                some = tuple(range(60)) * 15
                return views.Series(
                    start=STARTED, step_s=1, received=some, delivered=some, deferred=(0,) * 900, bounced=(0,) * 900
                )
        raise InvalidRequest(f"a simulated host does not answer {method}")


def _moved(n: int) -> views.Flow:
    return views.Flow(delivered_1m=600 + n % 60, deferred_1m=9, delivered=60_000 + 10 * n, recent=tuple(range(24)))


class Channel(asyncssh.SSHUNIXSession[bytes]):
    """One console's channel to one host."""

    def __init__(self, world: "World", host: Host) -> None:
        self._world = world
        self._host = host
        self._rest = b""

    def connection_made(self, chan: asyncssh.SSHUNIXChannel[bytes]) -> None:
        self.chan = chan

    def session_started(self) -> None:
        pass

    def data_received(self, data: bytes, datatype: int | None) -> None:  # noqa: ARG002 -- the library's signature
        *lines, self._rest = (self._rest + data).split(b"\n")
        for line in lines:
            call = codec.parse_call(line)
            try:
                params = codec.decode(call.params, METHODS[call.method].params)
                self.chan.write(codec.reply(call.id, self._host.answer(call.method, params)))
            except InvalidRequest as exc:
                self.chan.write(codec.failure(call.id, exc))
            if call.method == "subscribe":
                self._world.subscribed[self._host.number] = self

    def connection_lost(self, exc: Exception | None) -> None:  # noqa: ARG002
        self._world.subscribed.pop(self._host.number, None)

    def send(self, changes: views.Changes) -> None:
        """One notification."""
        with suppress(BrokenPipeError):
            self.chan.write(codec.notification(CHANGES, changes))


class World:
    """All hosts."""

    def __init__(self, directory: Path, hosts: int, cells: int, changed: int) -> None:
        self.directory = directory
        self.hosts = [Host(number, cells) for number in range(1, hosts + 1)]
        self.paths = {f"/sim/{host.name}": host for host in self.hosts}
        self.changed = changed
        self.subscribed: dict[int, Channel] = {}

    async def run(self) -> None:
        """Listen, and answer on stdin, until that is closed."""
        key, login = asyncssh.generate_private_key("ssh-ed25519"), asyncssh.generate_private_key("ssh-ed25519")
        login.write_private_key(self.directory / "key")
        (self.directory / "key").chmod(0o600)
        acceptor = await asyncssh.listen(
            "127.0.0.1", 0, server_factory=lambda: Login(self, login), server_host_keys=[key], config=None,
            backlog=2048, login_timeout=60, allow_pty=False, agent_forwarding=False, x11_forwarding=False,
            gss_host=None,
        )  # fmt: skip
        port = acceptor.get_port()
        public = key.export_public_key().decode().split()
        (self.directory / "known_hosts").write_text(f"[127.0.0.1]:{port} {public[0]} {public[1]}\n")
        (self.directory / "fleet.yaml").write_text(fleet_text([host.name for host in self.hosts], port))
        print("ready", flush=True)
        async with asyncio.TaskGroup() as group:
            ticking = group.create_task(self._tick(), name="world:tick")
            reader = asyncio.StreamReader()
            await asyncio.get_running_loop().connect_read_pipe(lambda: asyncio.StreamReaderProtocol(reader), sys.stdin)
            while await reader.readline():
                print(json.dumps({"subscribed": len(self.subscribed)}), flush=True)
            ticking.cancel()
        acceptor.close()

    async def _tick(self) -> None:
        """Each host once a second, spread over it in twentieths."""
        slots, slot = 20, 0
        began = time.monotonic()
        while True:
            slot += 1
            await asyncio.sleep(max(0.0, began + slot / slots - time.monotonic()))
            for number, channel in tuple(self.subscribed.items()):
                if number % slots == slot % slots:
                    host = self.hosts[number - 1]
                    # Twenty rows a second over all: one in each slot, of the slot's first host.
                    rows = -1 if self.changed < 0 else (self.changed // slots if number < slots + 1 else 0)
                    changes = host.changes(rows)
                    # An agent says every second that it is there.
                    channel.send(changes or views.Changes(seq=host.turn, at=codec.now()))


class Login(asyncssh.SSHServer):
    """One connection: the bench's key, and channels to the simulated sockets."""

    def __init__(self, world: World, key: asyncssh.SSHKey) -> None:
        self._world = world
        self._key = key

    def public_key_auth_supported(self) -> bool:
        return True

    def validate_public_key(self, username: str, key: asyncssh.SSHKey) -> bool:
        return username == USER and key.public_data == self._key.public_data

    def unix_connection_requested(self, dest_path: str) -> Any:
        host = self._world.paths.get(dest_path)
        return Channel(self._world, host) if host else False


def fleet_text(names: list[HostName], port: int) -> str:
    """A fleet file whose hosts are all at `port`."""
    lines = ["hosts:"]
    for number, name in enumerate(names, start=1):
        lines.append(
            f"  {name}:\n    region: {('eu', 'us')[number % 2]}\n"
            f"    ssh: {{address: 127.0.0.1, port: {port}, user: {USER}, identity: key, known_hosts: known_hosts, "
            f"config: none}}\n    rpc: {{socket: /sim/{name}}}\n    virtual_mtas:"
        )
        for pool, stem in enumerate(POOLS.values()):
            for n in (1, 2):
                address = f"10.{10 * pool + n}.{number // 250}.{number % 250 + 1}"
                lines.append(f"      {stem}-{number}-{n}: {{address: {address}, ehlo: {stem}{n}.{name}.example.com}}")
    lines.append("pools:")
    for pool_name, stem in POOLS.items():
        members = range(1, len(names) + 1)
        active = ", ".join(f"{stem}-{number}-1" for number in members)
        standby = ", ".join(f"{stem}-{number}-2" for number in members)
        lines.append(f"  {pool_name}:\n    active: [{active}]\n    standby: [{standby}]")
    return "\n".join(lines) + "\n"


if __name__ == "__main__":
    uvloop.run(World(Path(sys.argv[1]), *map(int, sys.argv[2:5])).run())
