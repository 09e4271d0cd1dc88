"""Metrics of an agent that has sent from every virtual MTA to every provider; each has a pool of its own."""

import asyncio
import statistics
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path

from tests.exposition import series, value
from tests.integration.processes import free_port
from tests.integration.rig import rig
from tests.integration.test_metrics import get

GOAL_S = 0.010
"""Longest work of the event loop at once."""
SCRAPES = 20
PAUSE_S = 1.1
"""Longer than one collection is kept."""


@dataclass(frozen=True)
class Scrape:
    """Seconds of the event loop, and of a GET from outside."""

    series: int
    size_bytes: int
    loop_s: float
    longest_s: float
    get_s: float


async def measure(vmtas: int, providers: int) -> Scrape:
    """Send mail that makes the cells, then scrape."""
    port = free_port()
    names = [f"mkt-{n}" for n in range(vmtas)]
    text = "\n".join(
        [
            "virtual_mtas:",
            *(f"  {name}: {{address: 127.0.3.{n + 1}}}" for n, name in enumerate(names)),
            "pools:",
            *(f"  {name}: {{active: [{name}]}}" for name in names),
            "streams:",
            *(f"  {name}: {{pool: {name}}}" for name in names),
            "providers:",
            *(f"  p{n}: {{mx: [mx.p{n}.example]}}" for n in range(providers)),
            f"metrics: {{port: {port}}}",
            "",
        ]
    )
    recipients = [f"a@p{n}.example" for n in range(providers)]
    with tempfile.TemporaryDirectory(prefix="mailctl-bench-") as name:
        async with rig(Path(name), text) as one:
            for chosen in names:
                await one.accepted(*recipients, headers=f"X-Virtual-MTA: {chosen}\r\n")
            await one.shows(lambda now: now.host.waiting == 0, "all mail has left", timeout_s=120)
            loop, gets = [], []
            for _ in range(SCRAPES):
                await asyncio.sleep(PAUSE_S)
                began = time.perf_counter()
                _, told = await asyncio.to_thread(get, port)
                gets.append(time.perf_counter() - began)
                found = series(told)
                loop.append(value(found, "metrics_seconds") or 0.0)
    return Scrape(len(found), len(told), statistics.median(loop[1:]), max(loop[1:]), statistics.median(gets[1:]))
