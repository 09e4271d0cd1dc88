"""A stop loses nothing, repeats nothing, and keeps nobody waiting beyond its grace."""

import asyncio
import signal
from pathlib import Path

from tests.integration.client import BODY, Client, Session
from tests.integration.rig import LATE, POOLS, Rig, rig


async def test_a_stop_under_load_finishes_what_is_in_flight_and_the_rest_leaves_after_the_restart(
    tmp_path: Path,
) -> None:
    total = 1500
    async with rig(tmp_path, POOLS + LATE) as one:
        recipients = [f"r{n}@d{n % 5}.example" for n in range(total)]
        client = Client(one.port, iter(recipients))
        sending = asyncio.create_task(client.run(10), name="client")
        for goal in (200, 700):
            await one.holds(lambda goal=goal: len(one.sink.received) >= goal, f"{goal} delivered")  # type: ignore[misc]
            assert await one.stop() == 0
            await one.start()
        await sending
        await one.delivered(*client.acknowledged)
        await one.shows(lambda now: now.host.waiting == 0, "nothing waits")
        assert {line[:3] for line in client.refused} <= {b"421"}
        assert len(client.acknowledged) == total
        assert {recipient for recipient, count in one.sink.received.items() if count > 1} <= client.repeated
        assert (await one.call("in_doubt")).rows == ()
        await one.stop()
        delivered = [line["event"] for line in one.accounting() if line["type"] == "delivered"]
        assert len(delivered) == len(set(delivered)) == one.sink.received.total()


async def test_while_it_stops_new_clients_get_421_open_transactions_their_250_and_dots_their_answer(
    tmp_path: Path,
) -> None:
    async with rig(tmp_path, POOLS + LATE) as one:
        one.sink.gate = asyncio.Event()
        await one.accepted("flying@a.example")
        await one.holds(lambda: one.sink.at_gate == 1, "a dot in flight")
        busy = await _in_data(one, "late@a.example")
        idle, _ = await Session.open(one.port)
        stopping = asyncio.create_task(one.stop(), name="stop")
        assert (await idle.reply()).startswith("421 4.3.2")
        await idle.close()
        refused, greeting = await Session.open(one.port)
        assert greeting.startswith("421 4.3.2")
        await refused.close()
        assert (await busy.say(f"{BODY.decode()}.")).startswith("250")
        await busy.close()
        one.sink.gate.set()
        assert await stopping == 0
        assert one.sink.received == {"flying@a.example": 1}
        await one.start()
        await one.delivered("late@a.example")
        await one.shows(lambda now: now.host.waiting == 0, "nothing waits")
        assert set(one.sink.received.values()) == {1}


async def test_a_dot_that_outlasts_the_grace_is_in_doubt_after_the_restart(tmp_path: Path) -> None:
    async with rig(tmp_path, POOLS + LATE) as one:
        text = one.agent.config.read_text(encoding="utf-8")
        one.agent.config.write_text(text.replace("stop_grace_s: 5", "stop_grace_s: 1"), encoding="utf-8")
        await one.restart()
        one.sink.gate = asyncio.Event()
        await one.accepted("slow@a.example")
        await one.holds(lambda: one.sink.at_gate == 1, "a dot in flight")
        assert await one.stop() == 0
        one.sink.gate = None
        await one.start()
        await one.delivered("slow@a.example")
        (entry,) = (await one.call("in_doubt")).rows
        assert entry.recipient == "slow@a.example"


async def test_a_kill_with_dots_in_flight_lists_each_of_them(tmp_path: Path) -> None:
    async with rig(tmp_path, POOLS + LATE) as one:
        one.sink.gate = asyncio.Event()
        recipients = [f"r{n}@a.example" for n in range(3)]
        await one.accepted(*recipients)
        await one.holds(lambda: one.sink.at_gate > 0, "dots in flight")
        await one.stop(signal.SIGKILL)
        flying = one.sink.at_gate
        one.sink.gate = None
        await one.start()
        await one.delivered(*recipients)
        listed = {entry.recipient for entry in (await one.call("in_doubt")).rows}
        assert flying <= len(listed) <= len(recipients)


async def _in_data(one: Rig, recipient: str) -> Session:
    session, _ = await Session.open(one.port)
    for line in ("EHLO client.example", "MAIL FROM:<a@sender.example>", f"RCPT TO:<{recipient}>", "DATA"):
        reply = await session.say(line)
    assert reply.startswith("354")
    return session
