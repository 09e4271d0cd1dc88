"""Metrics of a running agent, over HTTP and over rpc."""

import asyncio
import socket
import urllib.request
from collections.abc import Mapping
from pathlib import Path

import pytest

from mailagent.api.metrics import FAMILIES, Metrics
from mailagent.scraping import MAX_CONNECTIONS
from mailagent.version import __version__
from tests.exposition import Series, series, value
from tests.integration.processes import free_port, until
from tests.integration.rig import LATE, POOLS, Rig, rig

OPENMETRICS = "application/openmetrics-text; version=1.0.0; charset=utf-8"
PROMETHEUS = (
    "application/openmetrics-text;version=1.0.0;q=0.6,application/openmetrics-text;version=0.0.1;q=0.5,"
    "text/plain;version=1.0.0;q=0.4,text/plain;version=0.0.4;q=0.3,*/*;q=0.2"
)


def metrics_at(port: int, address: str = "127.0.0.1") -> str:
    return f"metrics: {{address: {address}, port: {port}}}\n"


def get(port: int, accept: str = PROMETHEUS) -> tuple[str, str]:
    """Content type and text."""
    request = urllib.request.Request(f"http://127.0.0.1:{port}/metrics", headers={"Accept": accept})
    with urllib.request.urlopen(request, timeout=10) as answer:
        return answer.headers["Content-Type"], answer.read().decode()


async def scrape(port: int) -> Series:
    kind, text = await asyncio.to_thread(get, port)
    assert kind == OPENMETRICS
    return series(text)


async def shows(port: int, wanted: Mapping[str, float], what: str) -> Series:
    """Wait until a scrape has these values of host-wide series."""
    seen: list[Series] = []

    async def check() -> bool:
        seen.append(await scrape(port))
        return {name: value(seen[-1], name) for name in wanted} == wanted

    await until(check, what)
    return seen[-1]


def refuse_some(one: Rig) -> None:
    replies = {"later@a.example": b"451 4.7.1 Try later\r\n", "never@a.example": b"550 5.1.1 No such user\r\n"}
    one.sink.refuse = lambda _, recipient: replies.get(recipient)


async def test_figures_follow_the_mail(tmp_path: Path) -> None:
    port = free_port()
    async with rig(tmp_path, POOLS + LATE + metrics_at(port)) as one:
        refuse_some(one)
        before = await scrape(port)
        assert value(before, "accepted_recipients_total") == 0
        assert value(before, "build_info", version=__version__, engine="mailagent") == 1
        assert value(before, "state", state="running") == 1
        await one.accepted("a@a.example", "b@b.example", "later@a.example", "never@a.example")
        now = await shows(
            port,
            {
                "accepted_recipients_total": 4,
                "delivered_recipients_total": 3,  # with the notification of what was given up
                "deferred_attempts_total": 1,
                "bounced_recipients_total": 1,
                "queue_recipients": 1,
                "queue_deferred_recipients": 1,
            },
            "all outcomes",
        )
        for scope in ("pool", "stream"):
            assert value(now, f"{scope}_deferred_attempts_total", **{scope: "marketing"}) == 1
        members = [{"pool": "marketing", "vmta": name} for name in ("mkt-1", "mkt-2")]
        assert sum(value(now, "vmta_delivered_recipients_total", **labels) or 0 for labels in members) == 3
        assert value(now, "vmta_in_service", pool="marketing", vmta="mkt-3") == 0
        assert value(now, "pool_members", pool="marketing", state="standby") == 1
        assert value(now, "accepting_mail") == 1
        assert (value(now, "queue_oldest_age_seconds") or 0) > 0
        assert (value(now, "process_resident_memory_bytes") or 0) > 10 * 2**20
        assert (value(now, "process_cpu_seconds_total") or 0) > 0
        assert 10 < (value(now, "process_open_fds") or 0) < (value(now, "process_max_fds") or 0)
        assert (value(now, "spool_database_bytes") or 0) > 4096

        cells = [sample for (name, labels), sample in now.items() if name == "mailagent_cell_bounced_recipients_total"]
        assert sum(cells) == 1

        await one.do("suspend", "pool:marketing")
        held: list[Series] = []

        async def is_held() -> bool:
            held.append(await scrape(port))
            return value(held[-1], "directives", kind="suspend", by="people") == 1

        await until(is_held, "the order is shown")
        assert value(held[-1], "pool_state", pool="marketing", state="suspended") == 1
        assert value(held[-1], "vmta_in_service", pool="marketing", vmta="mkt-1") == 0
        assert value(held[-1], "delivered_recipients_total") == 3


@pytest.mark.parametrize("accept", ["", "*/*", "text/plain;version=0.0.4;q=1,*/*;q=0.1", "text/html"])
async def test_who_does_not_ask_for_openmetrics_gets_the_older_text(tmp_path: Path, accept: str) -> None:
    port = free_port()
    async with rig(tmp_path, POOLS + LATE + metrics_at(port)):
        kind, text = await asyncio.to_thread(get, port, accept)
        assert kind == "text/plain; version=0.0.4; charset=utf-8"
        assert not text.endswith("# EOF\n")
        assert value(series(text, classic=True), "accepting_mail") == 1


async def test_rpc_has_the_same_figures(tmp_path: Path) -> None:
    port = free_port()
    async with rig(tmp_path, POOLS + LATE + metrics_at(port)) as one:
        told: Metrics = await one.call("metrics")
        names = {name for table in told.tables for name in table.names}
        assert {name.removeprefix("mailagent_") for name, _ in await scrape(port)} <= {
            name.removeprefix("mailagent_") for name in names
        }
        assert names <= {family.name for family in FAMILIES}


async def test_the_address_follows_a_reload_and_no_metrics_are_no_port(tmp_path: Path) -> None:
    first, second = free_port(), free_port()
    async with rig(tmp_path, POOLS + LATE) as one:
        assert not is_open(first)
        for port, closed in ((first, second), (second, first)):
            one.configure(POOLS + LATE + metrics_at(port))
            await one.do("reload")
            await opens(port)
            assert not is_open(closed)
        one.configure(POOLS + LATE)
        await one.do("reload")
        assert not is_open(second)


async def test_mail_flows_where_metrics_have_no_address_and_it_is_tried_again_on_a_reload(tmp_path: Path) -> None:
    free = free_port()
    with socket.create_server(("127.0.0.1", 0)) as other:
        taken = other.getsockname()[1]
        async with rig(tmp_path, POOLS + LATE + metrics_at(taken)) as one:
            await one.accepted("a@a.example")
            await one.delivered("a@a.example")
            log = one.agent.log.read_text(encoding="utf-8")
            assert f"no metrics at 127.0.0.1 port {taken}: " in log
            one.configure(POOLS + LATE + metrics_at(free))
            await one.do("reload")
            await opens(free)


async def test_silent_scrapers_stop_neither_mail_nor_the_next_scrape(tmp_path: Path) -> None:
    port = free_port()
    async with rig(tmp_path, POOLS + LATE + metrics_at(port)) as one:
        silent = [socket.create_connection(("127.0.0.1", port)) for _ in range(100)]
        try:
            for client in silent:
                client.setblocking(False)
                client.send(b"GET /metrics HTTP/1.1\r\nX-")
            await one.accepted("a@a.example")
            await one.delivered("a@a.example")
            await shows(port, {"delivered_recipients_total": 1}, "a scrape between them")
            connected = sum(not is_ended(client) for client in silent)
            assert connected <= MAX_CONNECTIONS
        finally:
            for client in silent:
                client.close()


def is_open(port: int) -> bool:
    try:
        socket.create_connection(("127.0.0.1", port)).close()
    except ConnectionRefusedError:
        return False
    return True


def is_ended(client: socket.socket) -> bool:
    try:
        return client.recv(1) == b""
    except BlockingIOError:
        return False
    except ConnectionError:
        return True


async def opens(port: int) -> None:
    async def check() -> bool:
        return is_open(port)

    await until(check, f"port {port} is open")
