"""Kills in the middle of mail: what beside the queue is on disk, suppressions, counters of jobs, events, users."""

import asyncio
import json
import random
import signal
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

from mailagent.api import credentials
from mailagent.api.suppression import Suppression, SuppressionEntry, SuppressionReason
from tests.integration.client import BODY, Client
from tests.integration.processes import until
from tests.integration.rig import POOLS, SOON, Rig, rig

KILLS = 4
MESSAGES = 1000
UNKNOWN = b"550 5.1.1 no such user\r\n"
JOB = b"X-Job: spring\r\n"


async def test_nothing_is_lost_by_kills_in_any_store(tmp_path: Path) -> None:
    events = tmp_path / "events.jsonl"
    text = POOLS + SOON + f"events: [{{name: crm, file: {events}, types: [d, b, x]}}]\n"
    chance = random.Random(5)
    async with rig(tmp_path, text) as one:
        one.sink.refuse = lambda mail, recipient: UNKNOWN if recipient.startswith("gone") else None
        clients: list[Client] = []
        told: list[str] = []  # what operators were told is done
        async with asyncio.TaskGroup() as group:
            for name in ("a", "b"):
                clients.append(Client(one.port, _recipients(name), body=JOB + BODY))
                group.create_task(clients[-1].run(2))
            for n in range(KILLS):
                await asyncio.sleep(chance.uniform(0.2, 0.5))
                await one.do("credential_create", op_id=f"user-{n}", user=f"u{n}", digest=credentials.digest("x"))
                entry = SuppressionEntry(address=f"by-hand-{n}@a.example", reason=SuppressionReason.MANUAL)
                await one.do("suppression_add", op_id=f"list-{n}", entries=(entry,))
                told.append(str(n))
                await one.restart(signal.SIGKILL)
        gone = {recipient for client in clients for recipient in client.acknowledged if recipient.startswith("gone")}
        await one.shows(lambda now: now.host.waiting == 0, "nothing waits", timeout_s=60)

        listed = {row.address async for row in _suppressions(one)}
        assert gone <= listed
        assert {f"by-hand-{n}@a.example" for n in told} <= listed
        users = {row.user for row in (await one.call("credentials")).rows}
        assert users == {f"u{n}" for n in told}

        job = (await one.call("job", name="spring")).job
        taken = sum(len(client.acknowledged) for client in clients)
        again = sum(len(client.repeated) for client in clients)
        assert taken <= job.accepted <= taken + again
        assert (job.delivered + job.bounced + job.cancelled, job.waiting) == (job.accepted, 0)

        await one.stop()
        wanted = [line["event"] for line in one.accounting() if line["type"] in ("delivered", "bounced", "expired")]
        got = [json.loads(line)["event"] for line in events.read_bytes().splitlines()]

        async def _all() -> bool:
            got[:] = [json.loads(line)["event"] for line in events.read_bytes().splitlines()]
            return set(wanted) <= set(got)

        if not await _all():
            await one.start()
            await until(_all, "every event is told")
        first = list(dict.fromkeys(got))
        assert first == [event for event in dict.fromkeys(wanted) if event in set(first)]
        assert "Traceback" not in one.agent.log.read_text(encoding="utf-8")


def _recipients(name: str) -> Iterator[str]:
    for n in range(MESSAGES // 2):
        yield f"{'gone' if n % 5 == 0 else 'here'}-{name}{n}@a.example"


async def _suppressions(one: Rig) -> AsyncIterator[Suppression]:
    cursor = ""
    while True:
        page = await one.call("suppressions", cursor=cursor, limit=500)
        for row in page.rows:
            yield row
        cursor = page.cursor
        if not cursor:
            return
