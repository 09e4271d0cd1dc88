"""The scheduler as a whole: nothing is lost, held, sent twice or forgotten, whatever happens in whatever order."""

import asyncio
import errno
import os
import random
from collections import Counter
from datetime import timedelta
from pathlib import Path

import msgspec
import pytest

from mailagent.api.directives import DirectiveKind
from mailagent.api.ids import PoolName, StreamName
from mailagent.api.reasons import ReasonKind
from mailagent.api.smtp import SmtpReply, Verb
from mailagent.api.targets import MessageFilter
from mailagent.config.structs import Delivery, Domain, Endpoint, Rate, Retry, Route, Stream, Timeouts, VirtualMta
from mailagent.delivery.transaction import Transaction
from mailagent.routing.limits import NO_LIMITS, Limit
from mailagent.scheduling import ready, scheduler
from mailagent.scheduling.books import Books
from mailagent.scheduling.connection import Connection
from mailagent.scheduling.holds import binding
from mailagent.scheduling.limits import WINDOW_START
from mailagent.scheduling.ready import ReadyQueue
from mailagent.spool.bulk import fetch
from mailagent.spool.ids import now_ms
from tests.agent.control.fleet import directive
from tests.agent.scheduling.host import A1, A2, B1, LATER, LOST, NEVER, OK, Host, config, names, running

STREAMS = ["high", "normal", "bulk", "other"]
HELD = [
    "stream:bulk",
    "stream:normal",
    "pool:a",
    "pool:b",
    "vmta:a1",
    "vmta:a2",
    "provider:route",
    "queue:x.example:25/a1",
    "job:one",
    "job:two",
]
JOBS = ["", "one", "two"]


@pytest.mark.parametrize("seed", range(6))
async def test_any_order_of_events_delivers_everything_once(
    tmp_path: Path, seed: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(ready, "PAUSE_S", 0.002)
    monkeypatch.setattr(ready, "BUSY_PAUSE_S", 0.002)
    monkeypatch.setattr(ready, "REST_S", 0.02)
    chance = random.Random(seed)

    def answer(queue: ReadyQueue, transaction: Transaction) -> SmtpReply | str | None:
        drawn = chance.random()
        if drawn < 0.1:
            return LATER
        if drawn < 0.15:
            return None
        if drawn < 0.18:
            return "doubt"
        return OK

    async def connecting(queue: ReadyQueue) -> None:
        await asyncio.sleep(0)
        drawn = chance.random()
        if drawn < 0.03:
            raise RuntimeError("nobody has thought of this")
        await host.connect(queue)

    async with running(tmp_path, config()) as host:
        host.answer, host.connecting = answer, connecting
        expected: list[str] = []
        for step in range(120):
            if chance.random() < 0.25:
                held = chance.sample(HELD, chance.randrange(4))
                paced = chance.sample(["job:one", "job:two"], chance.randrange(3))
                host.direct(
                    *(directive(DirectiveKind.SUSPEND, on, n) for n, on in enumerate(held)),
                    *(directive(DirectiveKind.LIMIT, on, limit="rate", value="300/s") for on in paced),
                )
            for n in range(chance.randrange(6)):
                recipients = [
                    f"r{step}-{n}-{m}@d{chance.randrange(4)}.{chance.choice('xyz')}.example"
                    for m in range(chance.randint(1, 3))
                ]
                expected += recipients
                host.submit(*recipients, stream=chance.choice(STREAMS), job=chance.choice(JOBS))
            await asyncio.sleep(chance.choice([0, 0, 0.001, 0.004]))
            host.check()
        host.direct()
        await host.rest()
        assert host.delivered.keys() == set(expected)
        assert all(count == 1 for count in host.delivered.values())
        assert not [lane for lane in host.scheduler._lanes if lane.hots]


async def test_mail_that_becomes_due_right_after_the_look_at_the_clock_is_not_forgotten(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def others_run(books: Books, now: int) -> None:
        turn_due(books, now)
        books._due = [entry for entry in books._due if entry[1] in books.hots]  # outdated ones wake by chance
        due = min((one for one in books.disk_due.values() if one > now), default=0)
        while now_ms() <= due < now + 100:
            pass

    turn_due = Books.turn_due
    monkeypatch.setattr(Books, "turn_due", others_run)
    async with running(tmp_path, config(retry=Retry(waits=(timedelta(milliseconds=50),), jitter=0))) as host:
        host.answer = lambda queue, transaction: LATER if len(host.dots) < 5 else OK
        host.submit("r@d.x.example")
        await host.rest()


async def test_nothing_held_by_a_directive_gets_its_final_dot(tmp_path: Path) -> None:
    async with running(tmp_path, config(window=1000, ready=100)) as host:
        host.answer = lambda queue, transaction: LATER if len(host.dots) < 5 else OK
        for n in range(200):
            host.submit(f"r{n}@d{n % 5}.x.example", stream=STREAMS[n % 4])
        await host.until(lambda: len(host.dots) > 20)
        host.direct(directive(DirectiveKind.SUSPEND, "stream:bulk"), directive(DirectiveKind.DRAIN, "vmta:a1", 2))
        seen = len(host.dots)
        await host.until(lambda: host.scheduler.window.used == 0)
        late = host.dots[seen:]
        assert not [name for name in names(late) if int(name[1:].partition("@")[0]) % 4 == 2]
        assert all(queue.vmta != A1 for queue, _ in late)
        rows = [row for row in (await host.spool.messages(MessageFilter(), "", 500)).rows if row.stream == "bulk"]
        assert rows
        host.direct()
        await host.rest()
        assert len(host.delivered) == 200


async def test_a_flood_of_bulk_on_disk_does_not_hold_up_high_priority(tmp_path: Path) -> None:
    async with running(tmp_path, config(window=100, ready=10)) as host:
        host.direct(directive(DirectiveKind.SUSPEND, "pool:a"))
        for n in range(1500):
            host.submit(f"bulk@d{n}.{'xyz'[n % 3]}.example", stream="bulk")
        host.submit("urgent@d1.x.example", stream="high")
        await host.until(lambda: not host.pending)
        host.direct()
        await host.until(lambda: host.delivered["urgent@d1.x.example"] == 1)
        assert len(host.dots) < 200
        await host.rest()
        assert len(host.delivered) == 1501


async def test_a_site_that_takes_nothing_leaves_the_window_to_others(tmp_path: Path) -> None:
    held = asyncio.Event()

    async def connecting(queue: ReadyQueue) -> None:
        if queue.site.name.startswith("x"):
            await held.wait()
        await host.connect(queue)

    async with running(tmp_path, config(window=100, ready=1000)) as host:
        host.connecting = connecting
        for n in range(1000):
            host.submit(f"r{n}@d{n % 50}.x.example")
        for n in range(500):
            host.submit(f"r{n}@d.y.example")
        await host.until(lambda: len(host.delivered) == 500)
        held.set()
        await host.rest()
        assert len(host.delivered) == 1500


async def test_a_drain_ends_connections_that_are_being_opened(tmp_path: Path) -> None:
    never = asyncio.Event()

    async def connecting(queue: ReadyQueue) -> None:
        if queue.vmta == A1:
            await never.wait()
        await host.connect(queue)

    async with running(tmp_path, config()) as host:
        host.connecting = connecting
        for n in range(20):
            host.submit(f"r{n}@d.x.example")
        await host.until(lambda: any(queue.vmta == A1 and queue.connections for queue in host.scheduler.ready.values()))
        host.direct(directive(DirectiveKind.DRAIN, "vmta:a1"))
        await host.rest()
        assert {queue.vmta for queue, _ in host.dots} == {A2}


async def test_due_times_of_a_busy_queue_are_kept_once(tmp_path: Path) -> None:
    async with running(tmp_path, config(retry=Retry(waits=(timedelta(hours=4),), jitter=0))) as host:
        host.answer = lambda _, transaction: LATER if transaction.recipients[0].startswith(b"first") else OK
        host.submit("first@d.x.example")
        for round_ in range(100):
            for n in range(15):
                host.submit(f"r{round_}-{n}@d.x.example")
            await host.until(lambda: host.waiting <= 1)
        assert len(host.scheduler._books._due) < 1200


async def test_mail_waits_on_disk_no_longer_than_its_retry_time_while_its_queue_is_busy(tmp_path: Path) -> None:
    async with running(tmp_path, config()) as host:
        first = True

        def answer(queue: ReadyQueue, transaction: Transaction) -> SmtpReply:
            nonlocal first
            deferred, first = first, False
            return LATER if deferred else OK

        host.answer = answer
        host.submit("late@d.x.example")
        n = 0
        while not host.delivered["late@d.x.example"]:
            host.submit(f"r{n}@d.x.example")
            n += 1
            await host.until(lambda: host.pending < 20)
            assert n < 100_000
        await host.rest()


async def test_a_rest_ends_in_time_though_a_rate_timer_was_set_before(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(ready, "PAUSE_S", 0.001)
    monkeypatch.setattr(ready, "REST_S", 0.1)
    attempts = 0

    async def connecting(queue: ReadyQueue) -> None:
        nonlocal attempts
        attempts += 1
        if attempts <= ready.FAILURES_BEFORE_REST:
            queue.failed(LOST, bind=False)
        else:
            await host.connect(queue)

    route = Route(match="*", to=Endpoint(host="x.example", port=25), rate=Rate(count=100, period_s=1))
    async with running(tmp_path, config(routes=(route,))) as host:
        host.connecting = connecting
        for n in range(20):
            host.submit(f"r{n}@d.example", stream="other")
        await host.until(lambda: any(queue.resting for queue in host.scheduler.ready.values()))
        await host.rest()
        assert len(host.delivered) == 20


@pytest.mark.parametrize(
    ("which", "goes"),
    [
        (MessageFilter(), True),
        (MessageFilter(site="x.example:25"), True),
        (MessageFilter(domain="d.example"), True),
        (MessageFilter(site="y.example:25"), False),
    ],
)
async def test_a_queue_that_rests_tries_again_when_somebody_retries_its_mail(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, which: MessageFilter, goes: bool
) -> None:
    """Whoever has mended the other side does not wait up to an hour for it."""
    monkeypatch.setattr(ready, "PAUSE_S", 0.001)
    attempts = 0

    async def connecting(queue: ReadyQueue) -> None:
        nonlocal attempts
        attempts += 1
        if attempts <= ready.FAILURES_BEFORE_REST:
            queue.failed(LOST, bind=False)
        else:
            await host.connect(queue)

    route = Route(match="*", to=Endpoint(host="x.example", port=25))
    async with running(tmp_path, config(routes=(route,))) as host:
        host.connecting = connecting
        for n in range(10):
            host.submit(f"r{n}@d.example", stream="other")
        await host.until(lambda: any(queue.resting for queue in host.scheduler.ready.values()))
        host.scheduler.end_rests(which)
        (queue,) = host.scheduler.ready.values()
        assert queue.resting is not goes
        if goes:
            await host.rest()
            assert len(host.delivered) == 10


@pytest.mark.parametrize("answer", [None, "doubt"])
async def test_a_peer_that_drops_each_connection_is_not_run_at(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, answer: str | None
) -> None:
    monkeypatch.setattr(ready, "PAUSE_S", 60.0)
    opened = 0

    async def connecting(queue: ReadyQueue) -> None:
        nonlocal opened
        opened += 1
        await host.connect(queue)

    route = Route(match="*", to=Endpoint(host="x.example", port=25))
    patient = Retry(waits=(timedelta(hours=1),))
    async with running(tmp_path, config(routes=(route,), retry=patient, ready=20)) as host:
        host.connecting, host.answer = connecting, lambda queue, transaction: answer
        for n in range(12):
            host.submit(f"r{n}@d.example", stream="other")
        await host.until(lambda: not host.pending and opened > 0)
        (queue,) = host.scheduler.ready.values()
        await host.until(lambda: not queue.connections and host.scheduler.window.used == len(queue.items))
        assert opened <= WINDOW_START
        assert queue.items
        reason = binding(queue)
        assert reason is not None
        assert reason.until is not None


async def test_what_this_host_is_short_of_is_no_fault_of_peers(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """For want of descriptors every queue of the host would rest, and each message lose its attempts."""
    monkeypatch.setattr(ready, "BUSY_PAUSE_S", 0.01)
    text = f"mx.x.example: no socket: {os.strerror(errno.EMFILE)}"
    exhausted = SmtpReply(code=0, enhanced="4.4.1", text=text, local=True)
    attempts = 0
    kinds: set[ReasonKind] = set()

    async def connecting(queue: ReadyQueue) -> None:
        nonlocal attempts
        attempts += 1
        if attempts > 2 * ready.FAILURES_BEFORE_REST:
            await host.connect(queue)
            return
        if attempts % 2:
            queue.failed(exhausted, bind=False)
        else:  # DNS had none
            queue.no_path(exhausted, permanent=False)
        assert (queue.failures, queue.resting) == (0, False)
        reason = binding(queue)
        kinds.update([reason.kind] if reason is not None else [])

    patient = Retry(waits=(timedelta(hours=1),))
    async with running(tmp_path, config(retry=patient)) as host:
        host.connecting = connecting
        for n in range(5):
            host.submit(f"r{n}@d.x.example", stream="other")
        await host.rest()
        assert len(host.delivered) == 5
        assert kinds == {ReasonKind.RESOURCE}


async def times(host: Host) -> list[tuple[int, int, int]]:
    """(attempts, milliseconds from arrival to the next try, from there to the end) of each waiting recipient."""
    return await host.spool.on_held(
        lambda db: fetch(
            db,
            "SELECT r.attempts, r.due - m.received_at, m.expires_at - r.due FROM recipient AS r"
            " JOIN message AS m ON m.id = r.id >> 12",
        )
    )


async def test_the_schedule_of_a_domain_holds_for_its_name_in_letters(tmp_path: Path) -> None:
    """An address may give the domain as U-labels (RFC 6531); its block stands under the A-labels."""
    block = Domain(retry=Retry(waits=(timedelta(hours=1),), jitter=0.0))
    async with running(tmp_path, config(domains={"xn--bcher-kva.x.example": block})) as host:
        host.answer = lambda queue, transaction: LATER
        host.submit("anna@Bücher.x.example")
        await host.until(lambda: not host.pending and not host.scheduler.window.used)
        ((attempts, wait_ms, _),) = await times(host)
        assert attempts == 1
        assert wait_ms >= 3_600_000


async def test_mail_with_little_time_is_tried_again_before_it_expires(tmp_path: Path) -> None:
    """`450 4.2.1` asks for an hour; mail of a stream that has ten minutes bounced with it at its first attempt."""
    rated = SmtpReply(code=450, enhanced="4.2.1", text="The user is receiving mail too quickly", verb=Verb.RCPT)
    retry = Retry(waits=(timedelta(seconds=30),), expire=timedelta(minutes=10))
    async with running(tmp_path, config(retry=retry)) as host:
        host.answer = lambda queue, transaction: rated
        host.submit("anna@d.x.example")
        await host.until(lambda: not host.pending and not host.scheduler.window.used)
        rows = await times(host)
        ((attempts, _, left_ms),) = rows
        assert attempts == 1
        assert 60_000 <= left_ms <= 5 * 60_000


async def test_a_low_rate_keeps_no_connection_opening_and_closing(tmp_path: Path) -> None:
    opened = 0

    async def connecting(queue: ReadyQueue) -> None:
        nonlocal opened
        opened += 1
        await host.connect(queue)

    route = Route(match="*", to=Endpoint(host="x.example", port=25), rate=Rate(count=1, period_s=3600))
    async with running(tmp_path, config(routes=(route,))) as host:
        host.connecting = connecting
        host.submit("first@d.example", stream="other")
        await host.until(lambda: host.waiting == 0)
        host.submit("second@d.example", stream="other")
        await host.until(lambda: not host.pending)
        (queue,) = host.scheduler.ready.values()
        host.scheduler._placing.sweep(host.scheduler.clock(), 0.0)
        await host.until(lambda: queue.connections == 0)
        queue.pump()
        assert (opened, queue.connections, len(queue.items)) == (1, 0, 1)
        reason = binding(queue)
        assert reason is not None
        assert reason.key == "rate"


async def test_a_limit_stays_the_reason_when_the_domain_has_to_be_looked_up_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    route = Route(match="*", to=Endpoint(host="x.example", port=25), rate=Rate(count=1, period_s=3600))
    async with running(tmp_path, config(routes=(route,))) as host:
        host.submit("first@d.example", stream="other")
        await host.until(lambda: host.waiting == 0)
        host.submit("second@d.example", stream="other")
        await host.until(lambda: not host.pending)
        monkeypatch.setattr(host.scheduler._router, "cached", lambda _: None)
        (queue,) = host.scheduler.ready.values()
        (item,) = queue.items
        reasons = host.scheduler.reasons.of_recipient(item.first.id, PoolName("b"), StreamName("other"), "d.example")
        assert [reason.key for reason in reasons] == ["rate"]


async def test_failed_connections_are_forgotten_with_the_queue(tmp_path: Path) -> None:
    async def connecting(queue: ReadyQueue) -> None:
        queue.failed(LOST, bind=False)

    async with running(tmp_path, config(retry=Retry(waits=(timedelta(hours=4),)))) as host:
        host.connecting = connecting
        host.submit("r@d.x.example")
        await host.until(lambda: not host.pending and not host.scheduler.window.used)
        (queue,) = host.scheduler.ready.values()
        assert not queue.is_spent(queue.pause_until)
        host.scheduler._placing.sweep(queue.pause_until + ready.PAUSE_S + 1, 20.0)
        assert not host.scheduler.ready


async def test_a_connection_that_ends_between_messages_costs_no_attempt(tmp_path: Path) -> None:
    cut: dict[int, tuple[bytes, ...]] = {}  # after so many dots: who it was

    def answer(queue: ReadyQueue, transaction: Transaction) -> SmtpReply | None:
        done = len(host.dots)
        if done % 3 == 2 and done not in cut and transaction.recipients not in cut.values():
            cut[done] = transaction.recipients
            return None
        return OK

    route = Route(match="*", to=Endpoint(host="x.example", port=25), connections=1)
    async with running(tmp_path, config(retry=Retry(waits=(timedelta(hours=4),)), routes=(route,))) as host:
        host.answer = answer
        for n in range(30):
            host.submit(f"r{n}@d.x.example", stream="other")
        await host.rest()
        assert len(host.delivered) == 30
        assert len(cut) > 5


async def test_messages_are_split_to_the_recipients_that_a_transaction_and_a_connection_may_have(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    routes = (
        Route(
            match="*",
            to=Endpoint(host="x", port=25),
            recipients_per_transaction=3,
            recipients_per_connection=5,
            connections=2,
        ),
    )
    transactions: dict[Connection, list[int]] = {}

    def saw_dot(queue: ReadyQueue, transaction: Transaction) -> None:
        (connection,) = [one for one, item in queue.busy.items() if item is transaction.token]
        transactions.setdefault(connection, []).append(len(transaction.recipients))

    async with running(tmp_path, config(routes=routes)) as host:
        monkeypatch.setattr(host, "saw_dot", saw_dot)
        for n in range(6):
            host.submit(*(f"r{n}-{m}@d.example" for m in range(11)))
        await host.rest()
        assert len(host.delivered) == 66
        assert max(max(sizes) for sizes in transactions.values()) == 3
        assert max(sum(sizes) for sizes in transactions.values()) <= 5


@pytest.mark.parametrize("lowered", ["recipients_per_connection", "messages_per_connection"])
async def test_a_lowered_limit_ends_idle_connections_that_have_carried_as_much(tmp_path: Path, lowered: str) -> None:
    routes = (Route(match="*", to=Endpoint(host="x", port=25), recipients_per_connection=50),)
    async with running(tmp_path, config(routes=routes)) as host:
        host.submit("r0@d.example", "r1@d.example", stream="other")
        await host.until(lambda: host.delivered.total() == 2)
        (queue,) = host.scheduler.ready.values()
        await host.until(lambda: bool(queue.idle))
        (first,) = queue.idle
        queue.set_limits(queue.limits.lowered({lowered: Limit(1)}))
        host.submit("r2@d.example", stream="other")
        await host.rest()
        assert host.delivered.total() == 3
        assert first.sent == 1


async def test_connections_are_opened_no_faster_than_the_connect_rate(tmp_path: Path) -> None:
    rate = Rate(count=8, period_s=1)
    routes = (Route(match="*", to=Endpoint(host="x", port=25), connect_rate=rate, messages_per_connection=1),)
    opened: list[float] = []

    async def connecting(queue: ReadyQueue) -> None:
        opened.append(host.scheduler.clock())
        await host.connect(queue)

    async with running(tmp_path, config(routes=routes)) as host:
        host.connecting = connecting
        for n in range(6):
            host.submit(f"r{n}@d.example", stream="other")
        await host.rest()
        assert len(host.delivered) == 6
        assert opened[-1] - opened[0] >= (len(opened) - 1) * rate.interval_s - 0.01


async def test_a_rate_is_remembered_longer_than_the_queue_that_it_held(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(scheduler, "SWEEP_S", 0.01)
    hourly = Rate(count=1, period_s=3600)
    routes = (Route(match="*", to=Endpoint(host="x", port=25), rate=hourly),)
    delivery = Delivery(timeouts=Timeouts(idle=timedelta(milliseconds=1)))
    async with running(tmp_path, config(routes=routes, delivery=delivery)) as host:
        host.submit("first@d.example", stream="other")
        await host.until(lambda: host.delivered["first@d.example"] == 1)
        await host.until(lambda: not host.scheduler.ready)
        host.submit("second@d.example", stream="other")
        await host.until(lambda: any(queue.items for queue in host.scheduler.ready.values()))
        (queue,) = host.scheduler.ready.values()
        reason = binding(queue)
        assert reason is not None
        assert (reason.key, reason.value) == ("rate", "1/h")
        assert host.delivered["second@d.example"] == 0


async def test_who_is_suppressed_while_mail_waits_for_its_turn_gets_none(tmp_path: Path) -> None:
    routes = (Route(match="*", to=Endpoint(host="x", port=25), rate=Rate(count=1, period_s=3600)),)
    async with running(tmp_path, config(routes=routes)) as host:
        host.submit("first@d.example", stream="other")
        await host.until(lambda: host.delivered.total() == 1)
        host.submit("gone@d.example", "kept@d.example", stream="other")
        host.submit("gone@d.example", stream="other")
        await host.until(lambda: sum(len(queue.items) for queue in host.scheduler.ready.values()) == 2)
        host.scheduler.suppressed = lambda row: NEVER if row.address.startswith(b"gone") else None
        (queue,) = host.scheduler.ready.values()
        queue.set_limits(NO_LIMITS)
        queue.pump()
        await host.rest()
        assert set(host.delivered) == {"first@d.example", "kept@d.example"}


async def test_the_caps_of_a_virtual_mta_span_all_sites(tmp_path: Path) -> None:
    capped = {name: VirtualMta(vmta_connections=1) for name in (A1, A2)}
    most: Counter[str] = Counter()

    def answer(queue: ReadyQueue, transaction: Transaction) -> SmtpReply:
        count = sum(one.connections for one in host.scheduler.ready.values() if one.vmta == queue.vmta)
        most[queue.vmta] = max(most[queue.vmta], count)
        return OK

    async with running(tmp_path, msgspec.structs.replace(config(), virtual_mtas=capped | {B1: VirtualMta()})) as host:
        host.answer = answer
        for n in range(60):
            host.submit(f"r{n}@d.{'xyz'[n % 3]}.example")
        await host.rest()
        assert len(host.delivered) == 60
        assert most == {A1: 1, A2: 1}


async def test_a_stream_has_its_own_pool_for_one_destination(tmp_path: Path) -> None:
    base = config()
    streams = base.streams | {StreamName("normal"): Stream(pool=PoolName("a"), pools={"route": PoolName("b")})}
    streams.pop(StreamName("other"))
    async with running(tmp_path, msgspec.structs.replace(base, streams=streams)) as host:
        host.submit("r@d.x.example")
        host.submit("s@d.x.example", stream="high")
        await host.rest()
        used = {names([(queue, transaction)])[0]: queue.vmta for queue, transaction in host.dots}
        assert used["r@d.x.example"] == B1
        assert used["s@d.x.example"] in (A1, A2)
        host.direct(directive(DirectiveKind.SUSPEND, "pool:b", 1))
        host.submit("held@d.x.example")
        await host.until(lambda: not host.pending)
        host.direct(directive(DirectiveKind.SUSPEND, "pool:a", 1))
        await host.until(lambda: host.delivered["held@d.x.example"] == 1)
