"""kill -9 of the agent while it follows the log of a Postfix at work: nothing is missing, what is doubled says so."""

import asyncio
import signal
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from mailagent.api.requests import PageRequest
from mailagent.postfix.log.lines import LineParser, Tried
from tests.integration.processes import Agent, until
from tests.integration.rpc import Caller
from tests.integration.sink import Sink
from tests.postfix.hosts import AGENT_YAML
from tests.postfix.instances import OwnPostfix, own_postfix
from tests.postfix.test_log import accounting, refuse

pytestmark = [pytest.mark.needs("postfix", "root"), pytest.mark.timeout(120)]

WAVES = ("", "before_commit:4", "after_statements:4", "after_commit:4")
"""Where the agent of each wave of mail dies; empty: wherever it is when the mail is handed in."""
PER_WAVE = 24
PROBE = "ok@probe.test"
TYPES = {"sent": "delivered", "deferred": "deferred", "bounced": "bounced"}


def tries(own: OwnPostfix) -> set[tuple[str, str, str]]:
    """What Postfix says it did: message, recipient and outcome. Nothing is tried twice."""
    parser = LineParser(now=lambda: datetime.now(UTC))
    found = [line for raw in own.log.read_bytes().splitlines() if isinstance(line := parser.syslog(raw), Tried)]
    told = {(line.id, line.recipient, TYPES[line.status]) for line in found if line.recipient != PROBE}
    assert len(told) == sum(line.recipient != PROBE for line in found)
    return told


def written(state: Path) -> list[dict[str, Any]]:
    return [line for line in accounting(state) if line["recipient"] != PROBE]


def outcomes(state: Path) -> set[tuple[str, str, str]]:
    return {(line["message_id"], line["recipient"], line["type"]) for line in written(state)}


async def test_nothing_that_the_log_told_is_missing_after_kills(place: Path) -> None:
    state = place / "state"
    state.mkdir()
    async with Sink() as sink:
        sink.refuse = refuse
        settings = {"relayhost": f"[127.0.0.1]:{sink.port}", "transport_maps": "inline:{example.test=discard:}"}
        with own_postfix(place / "postfix", settings) as own:
            text = AGENT_YAML.format(state=state, instance=own.config_dir, dns=own.nowhere, poll="1s", more="")
            one = Agent(place, f"{text}accounting: {{records: [d, b, x, k, t]}}\n", 0)

            async def begun() -> bool:  # the first start begins at the end of the log
                await asyncio.to_thread(own.send, "news@example.test", [PROBE])
                return bool(accounting(state))

            for n, point in enumerate(WAVES):
                one.launch(MAILAGENT_CRASH_AT=point)
                if n == 0:
                    await until(begun, "the log is followed")
                names = [f"{('ok', 'full', 'nobody')[k % 3]}@{n}-{k}.test" for k in range(PER_WAVE)]
                for name in names:
                    await asyncio.to_thread(own.send, "news@example.test", [name])
                assert one.process is not None
                if point:
                    assert await asyncio.to_thread(one.process.wait, 30) == -signal.SIGKILL
                else:
                    await asyncio.to_thread(one.stop, signal.SIGKILL)
            await asyncio.to_thread(own.settle, "deferred", len(WAVES) * len(range(1, PER_WAVE, 3)))
            await asyncio.to_thread(one.start)

            async def complete() -> bool:
                return outcomes(state) >= tries(own)

            await until(complete, "all outcomes are accounted for")
            assert outcomes(state) == tries(own)
            assert len({line["event"] for line in written(state)}) == len(tries(own))
            caller = await Caller.connect(one.socket, all_methods=False)
            deferred = {told for told in tries(own) if told[2] == "deferred"}

            async def seen() -> bool:
                rows = (await caller.call("messages", PageRequest(limit=500))).rows
                return {(row.message_id, row.recipient, "deferred") for row in rows} == deferred

            await until(seen, "what is deferred waits, and nothing else")
            rows = (await caller.call("messages", PageRequest(limit=500))).rows
            assert {row.attempts for row in rows} == {1}
            await caller.close()
            assert one.stop() == 0
