"""The queue of one agent moves to another, while both and the command that carries it are killed."""

import asyncio
import json
import sys
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path
from typing import Any

import pytest

from mailagent.api.evacuation import (
    Evacuate,
    EvacuateAdmit,
    EvacuateEnd,
    EvacuationRoomQuery,
    Evacuations,
    EvacuationTarget,
)
from mailagent.api.ids import HostName, OpId, StreamName
from mailagent.api.mail import MailVerb
from mailagent.api.replies import MessagePage
from mailagent.api.requests import Empty, Limit, PageRequest, Retry, Suspend
from mailagent.api.targets import MessageFilter, Target, TargetKind
from mailagent.spool import crash, spool_check
from mailctl.cli.exits import Exit
from mailctl.fleet.errors import LinkLost, NoAnswer
from mailctl.ops import courier
from mailctl.ops.courier import Courier
from tests.console.fleet.sshd import Sshd, sshd
from tests.integration.client import BODY, hand_in
from tests.integration.processes import AGENT_YAML, Agent, accepts, agent, free_port, until
from tests.integration.rpc import Caller
from tests.integration.sink import Sink

LATE = "retry: {waits: [1h], greylist: [1h], dns: [1h], jitter: 0}\n"
MESSAGES = 100
PER_MESSAGE = 5
RECIPIENTS = {f"r{n}-{m}@recipient.example" for m in range(MESSAGES) for n in range(PER_MESSAGE)}
LARGE = "Subject: large\r\n\r\n" + ("x" * 70 + "\r\n") * 8000  # more parts than one answer has


class Pair:
    """Two agents before one receiver, and the command line over both."""

    def __init__(self, one: Agent, two: Agent, sink: Sink, fleet: Path) -> None:
        self.agents = {"mx1": one, "mx2": two}
        self.sink = sink
        self.fleet = fleet

    async def mailctl(self, *words: str) -> asyncio.subprocess.Process:
        return await asyncio.create_subprocess_exec(
            sys.executable, "-c", "from mailctl.cli import main; main()", "--fleet", str(self.fleet), *words,
            stdin=asyncio.subprocess.DEVNULL, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.PIPE,
        )  # fmt: skip

    async def ran(self, *words: str, code: Exit = Exit.DONE) -> Any:
        process = await self.mailctl(*words, "--json")
        out, err = await process.communicate()
        assert process.returncode == code, err.decode()
        return json.loads(out)

    async def call(self, host: str, method: str, request: Any) -> Any:
        caller = await Caller.connect(self.agents[host].socket)
        try:
            return await caller.call(method, request)
        finally:
            await caller.close()

    async def waiting(self, host: str) -> dict[str, int]:
        """Attempts of each waiting recipient."""
        page: MessagePage = await self.call(host, "messages", PageRequest())
        rows = list(page.rows)
        while page.cursor:
            page = await self.call(host, "messages", PageRequest(cursor=page.cursor))
            rows += page.rows
        return {row.recipient: row.attempts for row in rows}

    async def fill(self) -> None:
        """Everything waits on mx1 after a first attempt."""
        self.sink.refuse = lambda mail, recipient: b"450 4.2.1 later\r\n"
        for m in range(MESSAGES):
            body = LARGE if m == 0 else BODY.decode()
            to = [f"r{n}-{m}@recipient.example" for n in range(PER_MESSAGE)]
            reply = await hand_in(self.agents["mx1"].port, *to, body=body)
            assert reply.startswith("250"), reply
        await until(self._all_tried, "a first attempt for all")
        self.sink.refuse = lambda mail, recipient: None

    async def _all_tried(self) -> bool:
        return await self.waiting("mx1") == dict.fromkeys(RECIPIENTS, 1)

    async def is_up(self) -> bool:
        return all(accepts(one.port) for one in self.agents.values())

    def accounting(self, host: str, kind: str) -> set[str]:
        """Recipients of the events of one type; each event once, however often it was written."""
        files = sorted((self.agents[host].directory / "state" / "accounting").glob("*.jsonl"))
        lines = [json.loads(line) for file in files for line in file.read_bytes().splitlines()]
        events = {line["event"]: line["recipient"] for line in lines if line["type"] == kind}
        assert Counter(events.values()) <= Counter(RECIPIENTS)
        return set(events.values())


@asynccontextmanager
async def pair(directory: Path, server: Sshd | None = None) -> AsyncIterator[Pair]:
    """The agents; the command line reaches them through `server`, or by their sockets."""
    way = "transport: local"
    if server is not None:
        way = (
            f"ssh: {{address: 127.0.0.1, port: {server.port}, identity: {server.identity}, "
            f"known_hosts: {server.known_hosts}, config: none}}"
        )
    async with AsyncExitStack() as stack:
        sink = await stack.enter_async_context(Sink())
        agents = []
        for host in ("mx1", "mx2"):
            folder = directory / host
            folder.mkdir()
            port = free_port()
            text = AGENT_YAML.format(port=port, sink=sink.port).replace("host: mx1", f"host: {host}") + LATE
            text = text.replace("a1", f"{host}-a")
            agents.append(stack.enter_context(agent(folder, text, port)))
        fleet = directory / "fleet.yaml"
        fleet.write_text(
            "hosts:\n"
            + "".join(
                f"  {host}:\n    {way}\n    virtual_mtas: {{{host}-a: {{address: 127.0.0.{n}}}}}\n"
                f"    rpc: {{socket: {one.socket}}}\n"
                for n, (host, one) in enumerate(zip(("mx1", "mx2"), agents, strict=True), 1)
            )
            + "pools: {default: {active: [mx1-a, mx2-a]}}\n",
            encoding="utf-8",
        )
        yield Pair(agents[0], agents[1], sink, fleet)


async def test_kills_in_the_middle_lose_nothing_and_send_nothing_twice(tmp_path: Path) -> None:
    async with pair(tmp_path) as two:
        await two.fill()
        plan = await two.ran("evacuate", "mx1", "--to", "mx2", "--dry-run")
        assert [(row["stream"], row["waiting"], row["to"]) for row in plan["rows"]] == [
            ("default", len(RECIPIENTS), ["mx2"])
        ]
        for host, point in (("mx1", "parcel_given:2"), ("mx2", "parcel_settled:1")):
            await asyncio.to_thread(two.agents[host].stop)
            await asyncio.to_thread(_start, two.agents[host], point)
        async with asyncio.TaskGroup() as group:
            for one in two.agents.values():
                group.create_task(_revived(one))
            command = await two.mailctl("evacuate", "mx1", "--to", "mx2", "--wait", "--yes")
            await until(_died(two.agents["mx2"]), "mx2 is killed in its first parcel")
            command.kill()
            await command.communicate()
            await until(two.is_up, "both agents run")
            done = await two.ran("evacuate", "mx1", "--wait=2m", "--yes")
        assert {line["host"]: line["result"] for line in done["operation"]["results"]} == {
            "mx1": "applied",
            "mx2": "applied",
        }
        assert await two.waiting("mx1") == {}
        assert await two.waiting("mx2") == dict.fromkeys(RECIPIENTS, 1)
        listed = await two.ran("evacuate", "--list")
        assert {(row["host"], row["state"], row["moved"], row["inert"]) for row in listed["rows"]} == {
            ("mx1", "done", len(RECIPIENTS), 0),
            ("mx2", "done", len(RECIPIENTS), 0),
        }
        await two.call("mx2", "retry", Retry(op_id=OpId("now"), filter=MessageFilter(), spread_s=0))
        await until(_arrived(two), "everything at the receiver")
        for one in two.agents.values():
            await asyncio.to_thread(one.stop)
        assert two.sink.received == Counter(RECIPIENTS)
        (large,) = [mail for mail in two.sink.mails if mail.taken and "r0-0@recipient.example" in mail.recipients]
        assert large.data.decode().endswith(LARGE + ".\r\n")
        assert two.accounting("mx1", "moved-out") == two.accounting("mx2", "moved-in") == RECIPIENTS
        assert two.accounting("mx2", "delivered") == RECIPIENTS
        assert two.accounting("mx1", "delivered") == set()
        for one in two.agents.values():
            assert spool_check(one.directory / "state") == []


async def test_a_cancel_brings_back_what_has_not_left(tmp_path: Path) -> None:
    async with pair(tmp_path) as two:
        await two.fill()
        command = await two.mailctl("evacuate", "mx1", "--to", "mx2", "--rate", "100/s", "--wait", "--yes")
        await until(_moved(two), "something has left")
        command.kill()
        await command.communicate()
        await two.ran("evacuate", "mx1", "--cancel", "--yes")
        here, there = await two.waiting("mx1"), await two.waiting("mx2")
        assert here
        assert there
        assert Counter([*here, *there]) == Counter(RECIPIENTS)
        assert {*here.values(), *there.values()} == {1}
        for host in two.agents:
            await two.call(host, "retry", Retry(op_id=OpId("now"), filter=MessageFilter(), spread_s=0))
        await until(_arrived(two), "everything at the receiver")
        assert two.sink.received == Counter(RECIPIENTS)


@pytest.mark.needs("sshd", "ssh-keygen")
async def test_an_undo_brings_back_what_has_not_left_and_says_how_the_rest_comes_back(tmp_path: Path) -> None:
    """Over SSH, as in life."""
    async with sshd(tmp_path / "ssh") as server, pair(tmp_path, server) as two:
        await two.fill()
        command = await two.mailctl("evacuate", "mx1", "--to", "mx2", "--rate", "100/s", "--wait", "--yes")
        await until(_moved(two), "something has left")
        command.kill()
        await command.communicate()
        (out,) = [row for row in (await two.ran("evacuate", "--list"))["rows"] if row["direction"] == "out"]
        undone = await two.ran("undo", out["id"], "--yes")
        results = {line["host"]: line["detail"] for line in undone["operation"]["results"]}
        assert results["mx1"].startswith(f"evacuation {out['id']} ends, and ")
        way = "mailctl evacuate mx2 --to mx1 --stream default"
        assert results["mx1"].endswith(
            f"recipients have left for good; what waits there of these streams comes back with {way}"
        )
        here, there = await two.waiting("mx1"), await two.waiting("mx2")
        assert here
        assert Counter([*here, *there]) == Counter(RECIPIENTS)
        assert {(row["state"], row["inert"]) for row in (await two.ran("evacuate", "--list"))["rows"]} == {
            ("cancelled", 0),
            ("done", 0),
        }
        refused = await two.ran("undo", out["id"], "--yes", code=Exit.REFUSED)
        assert way in refused["operation"]["results"][0]["detail"]
        await two.ran(*way.split()[1:], "--wait", "--yes")
        assert await two.waiting("mx1") == dict.fromkeys(RECIPIENTS, 1)
        assert server.logins >= 6


class Partitioned:
    """A fleet whose links lose the call, then the answer, of each step of each parcel; after that they work."""

    def __init__(self, two: Pair) -> None:
        self._two = two
        self._tries: Counter[str] = Counter()
        self.asked: Counter[str] = Counter()

    async def ask(self, host: str, method: str, request: Any, *, deadline_s: float) -> Any:
        del deadline_s
        header = getattr(request, "header", None)
        step = f"{method} {header.id if header is not None else getattr(request, 'parcel', '')}"
        self._tries[step] += 1
        self.asked[method] += 1
        if self._tries[step] == 1:
            raise LinkLost(host, "cut before the call")
        answer = await self._two.call(host, method, request)
        if self._tries[step] == 2:
            raise NoAnswer(host, "cut before the answer")
        return answer


async def test_a_partition_in_every_step_moves_each_recipient_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(courier, "PAUSE_S", 0)
    async with pair(tmp_path) as two:
        await two.fill()
        streams = await _begun(two)
        fleet: Any = Partitioned(two)
        carrier = Courier(
            fleet=fleet,
            source=HostName("mx1"),
            evacuation=OpId("e"),
            targets=(HostName("mx2"),),
            streams=frozenset(streams),
        )
        await carrier.run()
        assert carrier.errors == {}
        assert carrier.is_empty
        assert await two.waiting("mx1") == {}
        assert await two.waiting("mx2") == dict.fromkeys(RECIPIENTS, 1)
        steps = ("parcel_take", "parcel_read", "parcel_put", "parcel_decide", "parcel_settle", "parcel_close")
        assert all(fleet.asked[step] > 2 for step in steps)


async def test_a_target_that_was_told_that_it_is_over_is_told_again(tmp_path: Path) -> None:
    async with pair(tmp_path) as two:
        await two.fill()
        await _begun(two)
        await two.call("mx2", "evacuate_end", EvacuateEnd(op_id=OpId("end"), evacuation=OpId("e")))
        await two.ran("evacuate", "mx1", "--yes")
        assert await two.waiting("mx1") == {}
        assert await two.waiting("mx2") == dict.fromkeys(RECIPIENTS, 1)


async def _begun(two: Pair) -> tuple[StreamName, ...]:
    """Begin the evacuation `e`, without a courier: its streams."""
    streams = (StreamName("default"),)
    room = await two.call("mx2", "evacuation_room", EvacuationRoomQuery(streams=streams))
    target = EvacuationTarget(host=HostName("mx2"), spool_id=room.spool_id, streams=streams)
    admit = EvacuateAdmit(op_id=OpId("e.in"), evacuation=OpId("e"), source=HostName("mx1"))
    await two.call("mx2", "evacuate_admit", admit)
    await two.call("mx1", "evacuate", Evacuate(op_id=OpId("e"), streams=streams, targets=(target,)))
    return streams


async def test_mail_that_an_order_or_a_paused_job_holds_stays(tmp_path: Path) -> None:
    async with pair(tmp_path) as two:
        await two.fill()
        order = MailVerb(op_id=OpId("hold"), filter=MessageFilter(recipient="r0-0@recipient.example"))
        await two.call("mx1", "hold", order)
        await two.call(
            "mx1", "suspend", Suspend(op_id=OpId("pause"), target=Target(kind=TargetKind.JOB, name="spring"))
        )
        reply = await hand_in(two.agents["mx1"].port, "of-job@recipient.example", headers="X-Job: spring\r\n")
        assert reply.startswith("250"), reply
        plan = await two.ran("evacuate", "mx1", "--to", "mx2", "--dry-run")
        assert {(row["waiting"], row["stays"]) for row in plan["rows"]} == {
            (len(RECIPIENTS) - 1, ""),
            (1, "an order on mail has it"),
            (1, "job spring is held here"),
        }
        await two.ran("evacuate", "mx1", "--to", "mx2", "--yes")
        assert await two.waiting("mx1") == {"r0-0@recipient.example": 1, "of-job@recipient.example": 0}
        nothing = await two.ran("evacuate", "mx1", "--to", "mx2", "--yes", code=Exit.REFUSED)
        assert nothing["operation"]["results"] == []


async def test_mail_that_stands_in_line_leaves_too(tmp_path: Path) -> None:
    async with pair(tmp_path) as two:
        slow = Limit(op_id=OpId("slow"), target=Target(kind=TargetKind.VMTA, name="mx1-a"), limit="rate", value="1/h")
        await two.call("mx1", "limit", slow)
        wanted = {f"r{n}@recipient.example" for n in range(30)}
        for recipient in sorted(wanted):
            reply = await hand_in(two.agents["mx1"].port, recipient)
            assert reply.startswith("250"), reply
        await two.ran("evacuate", "mx1", "--to", "mx2", "--wait=1m", "--yes")
        assert await two.waiting("mx1") == {}
        await until(lambda: _received(two, wanted), "everything at the receiver")
        assert two.sink.received == Counter(wanted)


async def _received(two: Pair, wanted: set[str]) -> bool:
    return two.sink.received.keys() >= wanted


def _start(one: Agent, point: str) -> None:
    one.start(**{crash.ENVIRONMENT: point})


def _died(one: Agent) -> Callable[[], Awaitable[bool]]:
    first = one.process

    async def check() -> bool:
        return first is not None and first.poll() is not None

    return check


async def _revived(one: Agent) -> None:
    """Wait until it is killed, then start it again."""
    await until(_died(one), "a kill")
    await asyncio.to_thread(one.start)


def _arrived(two: Pair) -> Callable[[], Awaitable[bool]]:
    async def check() -> bool:
        return two.sink.received.keys() >= RECIPIENTS

    return check


def _moved(two: Pair) -> Callable[[], Awaitable[bool]]:
    async def check() -> bool:
        rows: Evacuations = await two.call("mx1", "evacuations", Empty())
        return any(row.moved for row in rows.rows)

    return check
