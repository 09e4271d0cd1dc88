"""A host that is short of something says so, delivers on, and is not ready."""

import asyncio
import subprocess
import urllib.error
import urllib.request
from pathlib import Path

from mailagent.api.targets import MessageFilter
from tests.integration.processes import MAILAGENT, free_port
from tests.integration.rig import LATE, POOLS, rig


def http(port: int) -> tuple[int, str]:
    try:
        with urllib.request.urlopen(f"http://127.0.0.1:{port}/ready", timeout=10) as answer:
            return answer.status, answer.read().decode()
    except urllib.error.HTTPError as exc:
        with exc:
            return exc.code, exc.read().decode()


async def test_a_full_queue_refuses_bulk_and_takes_what_has_high_priority(tmp_path: Path) -> None:
    ready_at = free_port()
    text = POOLS + LATE + "queue: {waiting: 2}\n"
    async with rig(tmp_path, text, intake=f"ready: 127.0.0.1:{ready_at}") as one:
        command = [*MAILAGENT, "ready", "--config", str(tmp_path / "agent.yaml")]
        assert await asyncio.to_thread(http, ready_at) == (200, "ready\n")
        one.sink.refuse = lambda mail, recipient: b"450 4.2.0 later\r\n"
        await one.accepted("r1@a.example", "r2@a.example")
        assert (await one.send("r3@a.example")).startswith("452 4.3.1 queue full: 2 recipients wait, 2 are allowed")
        await one.accepted("r4@a.example", sender="a@tx.example")
        status, why = await asyncio.to_thread(http, ready_at)
        assert (status, why[:10]) == (503, "queue full")
        checked = await asyncio.to_thread(subprocess.run, command, check=False, capture_output=True, text=True)
        assert (checked.returncode, checked.stderr[:28]) == (1, "mailagent: error: not ready:")
        one.sink.refuse = lambda mail, recipient: None
        await one.do("retry", filter=MessageFilter(), spread_s=1)
        await one.delivered("r1@a.example", "r2@a.example", "r4@a.example")
        await one.shows(lambda snapshot: snapshot.host.accepting, "it takes mail again")
        checked = await asyncio.to_thread(subprocess.run, command, check=False, capture_output=True, text=True)
        assert (checked.returncode, checked.stdout) == (0, "ready\n")


async def test_an_agent_above_its_memory_refuses_mail_and_one_that_drains_is_not_ready(tmp_path: Path) -> None:
    ready_at = free_port()
    async with rig(tmp_path, POOLS + "queue: {memory_bytes: 1M}\n", intake=f"ready: 127.0.0.1:{ready_at}") as one:
        assert (await one.send("r1@a.example")).startswith("452 4.3.1 memory short: the agent has ")
        one.configure(POOLS)
        await one.do("reload")
        await one.accepted("r1@a.example")
        await one.delivered("r1@a.example")
        await one.do("drain", "host:mx1")
        status, why = await asyncio.to_thread(http, ready_at)
        assert (status, why) == (503, "this host is being drained\n")
