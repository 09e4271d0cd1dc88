"""Who asks for metrics, how often they are put together, and where they are to be had."""

import asyncio
import socket
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from ipaddress import ip_address
from pathlib import Path

import msgspec
import pytest

from mailagent.api.events import EventSinks
from mailagent.api.ids import HostName, PoolName, StreamName
from mailagent.api.requests import Empty
from mailagent.api.views import Snapshot
from mailagent.config.metrics import Metrics as Section
from mailagent.config.reputation import BlockList, Reputation
from mailagent.config.structs import AgentConfig, Stream
from mailagent.scraping import Scraping
from mailagent.telemetry.counters import Counters
from mailagent.telemetry.history import History
from tests.console.loopback import LoopbackAgent
from tests.exposition import series, value
from tests.integration.processes import until

CLASSIC, OPENMETRICS = "text/plain", "application/openmetrics-text"


class Host:
    """What the agent puts around it."""

    def __init__(self, directory: Path) -> None:
        self.agent = LoopbackAgent(name="mx1", number=1, socket=directory / "s")
        self.made = 0
        self.counters = Counters()
        self.history = History(self.counters)
        self.config = AgentConfig(
            host=HostName("mx1"),
            state_dir=directory,
            streams={StreamName("news"): Stream(pool=PoolName("marketing"))},
            metrics=Section(port=0),
        )
        self.scraping = Scraping(
            self.config,
            snapshot=self.snapshot,
            history=self.history,
            waiting=lambda: {"news": 3},
            suppressed=lambda: 2,
            events=self.events,
            retry_s=0.01,
        )

    def snapshot(self) -> Snapshot:
        self.made += 1
        return self.agent.snapshot()

    async def events(self, _: Empty) -> EventSinks:
        return EventSinks(rows=())

    def configure(self, **fields: object) -> None:
        self.config = msgspec.structs.replace(self.config, **fields)
        self.scraping.configure(self.config)

    async def ask(self, accept: str = OPENMETRICS) -> str:
        reader, writer = await asyncio.open_connection("127.0.0.1", self.scraping.port)
        writer.write(f"GET /metrics HTTP/1.1\r\nAccept: {accept}\r\n\r\n".encode())
        async with asyncio.timeout(10):
            answer = (await reader.read()).decode()
        writer.close()
        return answer.partition("\r\n\r\n")[2]


@pytest.fixture
async def host(tmp_path: Path) -> AsyncIterator[Host]:
    one = Host(tmp_path)
    async with running(one.scraping):
        await seen(lambda: one.scraping.port > 0)
        yield one


@asynccontextmanager
async def running(scraping: Scraping) -> AsyncIterator[None]:
    task = asyncio.create_task(scraping.run(), name="metrics")
    try:
        yield
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)
        assert scraping.port == 0


async def seen(condition: Callable[[], bool]) -> None:
    async def check() -> bool:
        return condition()

    await until(check, "a state of the listener")


async def test_all_who_ask_in_one_second_have_one_collection(host: Host, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("mailagent.scraping.KEPT_S", 3600.0)
    texts = await asyncio.gather(*(host.ask(accept) for accept in (CLASSIC, OPENMETRICS) * 5))
    await host.scraping.metrics(Empty())
    assert host.made == 1
    assert len(set(texts)) == 2
    assert series(texts[0], classic=True) == series(texts[1])


async def test_what_is_too_old_is_made_anew(host: Host, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("mailagent.scraping.KEPT_S", 0.0)
    await host.ask()
    host.agent.waiting = 1
    assert value(series(await host.ask()), "queue_recipients") == 1
    assert host.made == 2


async def test_streams_have_what_was_counted_and_what_waits(host: Host) -> None:
    host.history.tick(1_000_000.0)
    host.counters.received("marketing", "news", 4)
    host.counters.bounced("marketing", "news", "", "", 1)
    host.history.tick(1_000_001.0)
    now = series(await host.ask())
    assert value(now, "stream_accepted_recipients_total", stream="news") == 4
    assert value(now, "stream_bounced_recipients_total", stream="news") == 1
    assert value(now, "stream_queue_recipients", stream="news") == 3
    assert value(now, "suppressed_addresses") == 2


async def test_another_configuration_is_described_at_once(host: Host, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("mailagent.scraping.KEPT_S", 3600.0)
    assert "stream_queue_recipients" in await host.ask()
    port = host.scraping.port
    lists = {"KEY.zen.dq.spamhaus.net.": BlockList(like="zen.spamhaus.org"), "bl.spamcop.net": BlockList()}
    host.configure(streams={}, reputation=Reputation(block_lists=lists))
    text = await host.ask()
    assert "stream_queue_recipients" not in text
    assert value(series(text), "block_list_virtual_mtas", zone="zen.spamhaus.org", weight="high") == 0
    assert value(series(text), "block_list_virtual_mtas", zone="bl.spamcop.net", weight="low") == 0
    assert "key" not in text.lower()
    assert host.scraping.port == port


async def test_a_taken_port_is_tried_again(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    one = Host(tmp_path)
    with socket.create_server(("127.0.0.1", 0)) as other:
        port = other.getsockname()[1]
        one.configure(metrics=Section(port=port))
        async with running(one.scraping):
            await seen(lambda: caplog.text.count(f"no metrics at 127.0.0.1 port {port}: Address already in use") > 1)
            other.close()
            await seen(lambda: one.scraping.port == port)


async def test_an_address_that_the_host_has_not_is_an_error_in_the_log(
    host: Host, caplog: pytest.LogCaptureFixture
) -> None:
    host.configure(metrics=Section(address=ip_address("192.0.2.1"), port=9464))
    await seen(lambda: "no metrics at 192.0.2.1 port 9464: Cannot assign requested address" in caplog.text)
    assert host.scraping.port == 0
    host.configure(metrics=None)
    host.configure(metrics=Section(port=0))
    await seen(lambda: host.scraping.port > 0)
