"""Much waiting mail: bounded memory, and no destination pays for another."""

from pathlib import Path

import pytest

from mailagent.api.ids import OpId
from mailagent.api.requests import Suspend
from mailagent.api.targets import Target, TargetKind
from mailagent.api.views import Snapshot
from tests.agent.dns.responder import Responder, responding
from tests.integration.client import Client
from tests.integration.preload import preload
from tests.integration.processes import ONE_VMTA, agent, free_port, until
from tests.integration.rpc import Caller
from tests.integration.sink import Sink

MANY = 200_000

TEXT = (
    ONE_VMTA
    + """\
dns: {{servers: ["127.0.0.1:{dns}"]}}
delivery: {{port: {sink}, allow_networks: [127.0.0.0/8]}}
"""
)


@pytest.mark.timeout(180)
async def test_a_suspended_provider_with_200_000_messages_leaves_the_window_to_others(tmp_path: Path) -> None:
    port = free_port()
    async with Sink() as sink, responding() as dns:
        gmail(dns)
        dns.add("other.example", "MX", "10 mx.other.example.")
        dns.add("mx.other.example", "A", "127.0.0.1")
        with agent(tmp_path, TEXT.format(port=port, sink=sink.port, dns=dns.port), port) as one:
            caller = await Caller.connect(one.socket)
            await caller.call(
                "suspend",
                Suspend(op_id=OpId("s1"), reason="test", target=Target(kind=TargetKind.PROVIDER, name="gmail")),
            )
            await caller.close()
            one.stop()
            await preload(
                tmp_path / "state", (f"r{n}@gmail.com" for n in range(MANY)), pool="default", stream="default"
            )
            one.start()
            client = Client(port, (f"r{n}@other.example" for n in range(2000)))
            await client.run(10)
            await until(lambda: _count(sink, 2000), "mail for the other provider")
            caller = await Caller.connect(one.socket)
            view = (await caller.call("snapshot")).host
            await caller.close()
            assert view.waiting == MANY
            assert view.window < 1000
            assert not any(recipient.endswith("@gmail.com") for recipient in sink.received)


@pytest.mark.timeout(180)
async def test_one_message_to_each_of_200_000_domains_fits_in_200_mb(tmp_path: Path) -> None:
    port = free_port()
    async with Sink() as sink, responding() as dns:
        # every domain exists and shares no MX with another; nothing listens at the addresses
        dns.fallback = lambda name, kind: {"MX": [f"10 mx.{name}."], "A": ["127.255.255.254"]}.get(kind)
        text = TEXT.format(port=port, sink=sink.port, dns=dns.port)
        await preload(tmp_path / "state", (f"r@d{n}.example" for n in range(MANY)), pool="default", stream="default")
        with agent(tmp_path, text, port) as one:
            caller = await Caller.connect(one.socket)
            peak = 0

            async def tried() -> bool:
                nonlocal peak
                peak = max(peak, one.rss_bytes())
                snapshot: Snapshot = await caller.call("snapshot")
                return snapshot.host.deferred >= 10_000

            await until(tried, "attempts for 10,000 domains", timeout_s=90)
            view = (await caller.call("snapshot")).host
            await caller.close()
        assert view.waiting == MANY
        print(f"RSS {peak / 1e6:.0f} MB with {view.window} of {view.waiting} in the window")
        assert peak < 200_000_000


def gmail(dns: Responder) -> None:
    """The MX of gmail.com as it is, on loopback."""
    hosts = ["gmail-smtp-in.l.google.com", *(f"alt{n}.gmail-smtp-in.l.google.com" for n in range(1, 5))]
    dns.add("gmail.com", "MX", *(f"{5 + 10 * n} {host}." for n, host in enumerate(hosts)))
    for host in hosts:
        dns.add(host, "A", "127.0.0.1")


async def _count(sink: Sink, count: int) -> bool:
    return len(sink.received) >= count
