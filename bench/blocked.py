"""One provider is suspended with 200,000 messages waiting for it: another one's rate, beside that of an empty queue.

Mail goes by MX records, so both providers share everything that the host has: window, connections, disk.
"""

import asyncio
import statistics
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path

from tests.agent.dns.responder import Responder, responding
from tests.integration.preload import preload
from tests.integration.processes import ONE_VMTA, agent, free_port
from tests.integration.rpc import Caller

from bench.load import Load, finish, hand_in, sink
from mailagent.api.ids import OpId
from mailagent.api.requests import Suspend
from mailagent.api.targets import Target, TargetKind

WAITING = 200_000
LOAD = Load()
CONFIG = (
    ONE_VMTA
    + """\
dns: {{servers: ["127.0.0.1:{dns}"]}}
tls: {{mta_sts: {{enabled: false}}}}
delivery: {{port: {sink}, allow_networks: [127.0.0.0/8]}}
providers:
  default: {{connections: 20, messages_per_connection: 100000, rate: 1000000/s, connect_rate: 1000/s}}
"""
)


@dataclass(frozen=True)
class Blocked:
    """Messages a second for the other provider, medians of rounds in turns."""

    empty_per_s: float
    blocked_per_s: float


async def measure(waiting: int = WAITING, runs: int = 3) -> Blocked:
    """Relay to the other provider, with an empty queue and beside the blocked one, in turns."""
    with tempfile.TemporaryDirectory(prefix="mailctl-bench-") as name:
        bare, full = Path(name) / "bare", Path(name) / "full"
        bare.mkdir()
        full.mkdir()
        async with responding() as dns:
            _world(dns)
            recipients = (f"r{n}@gmail.com" for n in range(waiting))
            await preload(full / "state", recipients, pool="default", stream="default")
            await _suspend(full, dns.port)
            rounds = [(await _rate(bare, dns.port), await _rate(full, dns.port)) for _ in range(runs)]
    empty, blocked = zip(*rounds, strict=True)
    return Blocked(statistics.median(empty), statistics.median(blocked))


def _world(dns: Responder) -> None:
    for domain, mx in (("gmail.com", "gmail-smtp-in.l.google.com"), ("recipient.example", "mx.recipient.example")):
        dns.add(domain, "MX", f"10 {mx}.")
        dns.add(mx, "A", "127.0.0.1")


async def _suspend(directory: Path, dns: int) -> None:
    """The directive stays on disk. Nothing listens meanwhile, so that no message leaves before it."""
    port = free_port()
    with agent(directory, CONFIG.format(port=port, sink=free_port(), dns=dns), port) as one:
        caller = await Caller.connect(one.socket)
        target = Target(kind=TargetKind.PROVIDER, name="gmail")
        await caller.call("suspend", Suspend(op_id=OpId("blocked"), reason="benchmark", target=target, ttl_s=86_400))
        await caller.close()
        await asyncio.to_thread(one.stop)


async def _rate(directory: Path, dns: int) -> float:
    port, sink_port = free_port(), free_port()
    text = CONFIG.format(port=port, sink=sink_port, dns=dns)
    with sink(sink_port, LOAD.messages) as receiver, agent(directory, text, port):
        started = time.perf_counter()
        await asyncio.to_thread(hand_in, port, LOAD)
        await asyncio.to_thread(finish, receiver)
        return LOAD.messages / (time.perf_counter() - started)
