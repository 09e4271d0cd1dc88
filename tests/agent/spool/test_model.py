"""The spool against a plain model: every sequence of changes, in batches as they come, and across restarts."""

import asyncio
import shutil
import tempfile
from collections.abc import Coroutine
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, TypeVar

import msgspec
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import Bundle, RuleBasedStateMachine, initialize, invariant, precondition, rule

from mailagent.spool import Spool, spool_check
from mailagent.spool.ids import recipient_id
from mailagent.spool.records import WINDOW
from tests.agent.spool.mail import NOW, deferred, durable, ids, message, removed

T = TypeVar("T")

DOMAINS = ("a.example", "b.example", "c.example")
KEYS = ("provider:gmail", "pool:marketing")
TIMES = st.integers(0, 20).map(lambda step: NOW + step)


@dataclass(frozen=True)
class Queue:
    next_due: int | None = None
    parked: str | None = None


class SpoolMachine(RuleBasedStateMachine):
    """Rules ask without waiting; the invariant reads, which waits for everything asked for."""

    recipients = Bundle("recipients")

    @initialize()
    def open(self) -> None:
        self.loop = asyncio.new_event_loop()
        self.directory = tempfile.TemporaryDirectory(prefix="spool-")
        self.path = Path(self.directory.name)
        self.spool = self.run(Spool.open(self.path))
        self.rows: dict[int, tuple[int, int]] = {}  # recipient -> (queue, due)
        self.queues: dict[int, Queue] = {}
        self.errors: list[object] = []
        self.check_now = False

    def run(self, work: Coroutine[Any, Any, T]) -> T:
        async def in_time() -> T:
            async with asyncio.timeout(20):
                return await work

        return self.loop.run_until_complete(in_time())

    def lower(self, queue: int, due: int) -> None:
        known = self.queues[queue]
        self.queues[queue] = replace(known, next_due=due if known.next_due is None else min(known.next_due, due))

    @rule(
        target=recipients,
        domains=st.lists(st.sampled_from(DOMAINS), min_size=1, max_size=3),
        admitted=st.booleans(),
        at=TIMES,
    )
    def accept(self, domains: list[str], admitted: bool, at: int) -> Any:
        new = message(self.spool, *(f"u{n}@{domain}" for n, domain in enumerate(domains)), admitted=admitted, at=at)

        async def hand_in() -> None:
            self.spool.accept(new, lambda error: self.errors.append(error) if error else None)

        self.run(hand_in())
        for n, recipient in enumerate(new.recipients):
            self.rows[recipient_id(new.id, n)] = (recipient.queue, at)
            self.queues.setdefault(recipient.queue, Queue())
            if not admitted:
                self.lower(recipient.queue, at)
        return new, len(domains) - 1

    @rule(which=recipients, number=st.integers(1, 3))
    def remove(self, which: Any, number: int) -> None:
        new, n = which
        self.spool.settle([removed(new, n)] * number)
        self.rows.pop(recipient_id(new.id, n), None)

    @rule(which=recipients, due=TIMES, tried=st.booleans())
    def defer(self, which: Any, due: int, tried: bool) -> None:
        new, n = which
        recipient = recipient_id(new.id, n)
        if recipient in self.rows:
            settlement = deferred(new, n, due=due)
            self.spool.settle([settlement if tried else msgspec.structs.replace(settlement, attempt=None)])
            queue = self.rows[recipient][0]
            self.rows[recipient] = (queue, due)
            if queue in self.queues:
                self.lower(queue, due)

    @rule(which=recipients)
    def hold(self, which: Any) -> None:
        queue = which[0].recipients[which[1]].queue
        self.spool.hold(queue)
        if queue in self.queues:
            self.queues[queue] = replace(self.queues[queue], parked=WINDOW)

    def free(self, queue: int, key: str | None) -> None:
        dues = [due for its, due in self.rows.values() if its == queue]
        if dues and queue in self.queues:
            self.queues[queue] = Queue(min(dues), key)
        elif not dues:
            self.queues.pop(queue, None)

    @rule(which=recipients)
    def release(self, which: Any) -> None:
        queue = which[0].recipients[which[1]].queue
        self.spool.release([queue])
        self.free(queue, None)

    @rule(which=recipients, key=st.sampled_from(KEYS))
    def park(self, which: Any, key: str) -> None:
        queue = which[0].recipients[which[1]].queue
        self.spool.park(queue, key)
        self.free(queue, key)

    @rule(key=st.sampled_from(KEYS), now=TIMES)
    def unpark(self, key: str, now: int) -> None:
        self.spool.unpark(key, now=now, spread=0)
        for queue, known in self.queues.items():
            if known.parked == key:
                own = known.next_due
                assert own is not None or not any(its == queue for its, _ in self.rows.values())
                self.queues[queue] = Queue(None if own is None else max(own, now), None)

    @rule()
    def read(self) -> None:
        self.check_now = True

    @precondition(lambda self: self.rows)
    @rule(how=st.sampled_from(("clean", "unclean", "killed")))
    def restart(self, how: str) -> None:
        if how == "killed":
            self.run(durable(self.spool))
            left = tempfile.TemporaryDirectory(prefix="spool-")
            shutil.copytree(self.path, left.name, dirs_exist_ok=True)  # what a kill would leave
            self.run(self.spool.close(clean=False))
            self.directory.cleanup()
            self.directory, self.path = left, Path(left.name)
        else:
            self.run(self.spool.close(clean=how == "clean"))
        self.spool = self.run(Spool.open(self.path))
        for queue in list(self.queues):
            parked = self.queues[queue].parked
            self.free(queue, None if parked == WINDOW else parked)

    @invariant()
    def agrees_with_the_model(self) -> None:
        if not getattr(self, "check_now", False):
            return  # else nothing would ever meet in one batch
        self.check_now = False
        assert self.errors == []
        now = NOW + 10
        queues, later = self.run(self.spool.due_queues(now, 100, "normal"))
        free = {queue: known.next_due for queue, known in self.queues.items() if known.parked is None}
        expected = {queue: due for queue, due in free.items() if due is not None and due <= now}
        assert {queue.id: queue.next_due for queue in queues} == expected
        assert later == min((due for due in free.values() if due is not None and due > now), default=None)
        held = [known.parked for known in self.queues.values() if known.parked not in (None, WINDOW)]
        assert self.run(self.spool.parked_keys()) == {key: held.count(key) for key in set(held)}
        for queue in self.queues:
            (loaded,) = self.run(self.spool.load([(queue, None, 100)], now))
            wanted = sorted((due, row) for row, (its, due) in self.rows.items() if its == queue and due <= now)
            assert ids(loaded.rows) == [row for _, row in wanted]
        totals = self.run(self.spool.waiting_totals())
        assert sum(total.count for total in totals) == len(self.rows)
        assert spool_check(self.path) == []

    def teardown(self) -> None:
        if hasattr(self, "spool"):
            self.check_now = True
            self.agrees_with_the_model()
            self.run(self.spool.close(clean=True))
            self.loop.close()
            self.directory.cleanup()


SpoolMachine.TestCase.settings = settings(
    max_examples=30,
    stateful_step_count=30,
    deadline=None,
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large],
)
TestSpoolAgainstTheModel = SpoolMachine.TestCase
