"""10,000 acts on the messages of a Postfix whose queue churns: how many hit a message that nobody meant.

Every order is about one domain. Meanwhile mail comes, others delete, hold, release, expire and requeue by hand, and the
whole queue is flushed. What the agent did is compared with what was sent and ordered when: an act is wrong when no
order was about the domain of its message, when that came after the order, or when the order had been taken back.
"""

import asyncio
import random
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from functools import partial
from pathlib import Path
from smtplib import SMTPException
from subprocess import CalledProcessError
from typing import Any

from tests.integration.processes import until
from tests.postfix.hosts import agent
from tests.postfix.instances import OwnPostfix, own_postfix

from mailagent.api import mail, requests
from mailagent.api.errors import Unavailable
from mailagent.api.ids import OpId
from mailagent.api.operations import OperationResult, Result
from mailagent.api.targets import MessageFilter
from mailagent.host import Principal
from mailagent.postfix.acts import Act, Done
from mailagent.postfix.hands import Hands
from mailagent.postfix.host import PostfixHost

ACTS = 10_000
DOMAINS = 40
FIRST = 50
"""Messages of each domain at the start."""
MORE = 30
"""Messages that come for a domain before each order about it."""
AT_ONCE = 4
"""Orders at a time."""
ROOT = Principal(user="bench", role=requests.Role.OPERATOR)
VERBS: dict[str, Callable[..., requests.Mutation]] = {
    "hold": mail.Hold,
    "bounce": mail.Bounce,
    "delete": mail.Delete,
    "requeue": mail.Requeue,
    "retry": requests.Retry,
    "release": mail.Release,
}
ENDS = {Act.EXPIRE: "bounce", Act.DELETE: "delete"}


@dataclass(frozen=True)
class Acts:
    """What was measured."""

    done: dict[str, int]
    wrong: int
    orders: int
    by_others: int
    seconds: float


@dataclass
class Ledger:
    """What was sent, what was ordered, and what the agent did: with the moments, on one clock."""

    sent: dict[str, tuple[str, float]] = field(default_factory=dict)  # domain, and when it was handed in
    ordered: dict[str, tuple[str, str, float]] = field(default_factory=dict)  # by op_id: verb, domain, when
    undone: set[str] = field(default_factory=set)
    acts: list[tuple[Act, str, float]] = field(default_factory=list)

    def is_wrong(self, act: Act, queue_id: str, at: float) -> bool:
        """Whether no order given by then was about this message."""
        domain, came = self.sent[queue_id]
        verbs = {ENDS[act]} if act in ENDS else {act.value} if act is Act.REQUEUE else set(VERBS)
        return not any(
            verb in verbs and of == domain and came < when < at and not (act in ENDS and op_id in self.undone)
            for op_id, (verb, of, when) in self.ordered.items()
        )


class Recorder:
    """Writes down what the hands did."""

    def __init__(self, hands: Hands, ledger: Ledger) -> None:
        self._hands = hands
        self._ledger = ledger

    async def act(self, act: Act, ids: Sequence[str]) -> Done:
        """Do it, and keep it."""
        done = await self._hands.act(act, ids)
        now = time.time()
        self._ledger.acts += [(act, one, now) for one in done.ids]
        return done


class Bench:
    """A host in front of a queue that others use too."""

    def __init__(self, own: OwnPostfix, host: PostfixHost, *, seed: int) -> None:
        self.own = own
        self.host = host
        self.random = random.Random(seed)
        self.ledger = Ledger()
        self.by_others = 0
        self._ops = 0
        host._mail._acts._hands = Recorder(host._mail._acts._hands, self.ledger)

    async def send(self, domain: str, count: int) -> None:
        """Mail to one domain."""
        now = time.time()
        with suppress(SMTPException):  # a busy machine: the log tells what was taken before
            ids = await asyncio.to_thread(self.own.send, "news@example.test", [f"r@{domain}"], count=count)
            self.ledger.sent.update((one, (domain, now)) for one in ids)

    async def do(self, verb: str, domain: str) -> OperationResult:
        """Give one order."""
        self._ops += 1
        self.ledger.ordered[f"op{self._ops}"] = (verb, domain, time.time())
        fields: dict[str, Any] = {"spread_s": 1} if verb == "retry" else {}
        request = VERBS[verb](op_id=OpId(f"op{self._ops}"), filter=MessageFilter(domain=domain), **fields)
        return await self.host.verbs[verb](request, ROOT)

    async def one_by_one(self, domains: Sequence[str], acts: int) -> None:
        """Orders about these domains, until enough was done."""
        while len(self.ledger.acts) < acts:
            domain, verb = self.random.choice(domains), self.random.choice(list(VERBS))
            await self.send(domain, MORE)
            self.host._mirror.look_soon()
            try:
                result = await self.do(verb, domain)
            except Unavailable:  # the machine is busy: nothing was ordered
                continue
            if result.result is not Result.APPLIED:
                continue
            if verb in ("hold", "bounce", "delete"):
                await until(partial(self._settled, result), "the messages are on hold")
                if verb == "hold" or self.random.random() < 0.5:
                    self._ops += 1
                    undo = requests.Undo(op_id=OpId(f"op{self._ops}"), undoes=result.op_id)
                    undone = await self.host.verbs["undo"](undo, ROOT)
                    if undone.directives:  # else its grace was over
                        self.ledger.undone.add(result.op_id)
                else:  # and whatever others have in their grace now
                    await self.host._control.expire(datetime.now(UTC) + timedelta(minutes=6))
            name = result.directives[0].id
            await until(partial(self._over, name), "the order is over", timeout_s=120)

    async def _settled(self, result: OperationResult) -> bool:
        now = self.host._mail.progress(result.directives[0])
        return now is None or now.settled or not self._stands(result.directives[0].id)

    async def _over(self, name: str) -> bool:
        await asyncio.sleep(0.01)
        return not self._stands(name) and name not in self.host._mail._orders

    def _stands(self, name: str) -> bool:
        return any(one.id == name for one in self.host._control.state.directives)

    async def others(self) -> None:
        """What administrators and scripts do to a queue, until cancelled."""
        while True:
            listed = list(await asyncio.to_thread(self.own.queue))
            some = self.random.sample(listed, min(len(listed), 20))
            option = self.random.choice(["-d", "-h", "-H", "-H", "-r", "-e"])
            with suppress(CalledProcessError):
                await asyncio.to_thread(self.own.run, "postsuper", option, "-", stdin="\n".join(some))
                if self.random.random() < 0.2:
                    await asyncio.to_thread(self.own.run, "postqueue", "-f")
            self.by_others += len(some)
            await asyncio.sleep(0.05)

    def read_log(self) -> None:
        """Messages that got another id are the same ones; of some only the log knows the domain."""
        sent = self.ledger.sent
        for line in self.own.log.read_text(encoding="utf-8", errors="replace").splitlines():
            queue_id = line.partition("]: ")[2].partition(":")[0]
            _, found, old = line.partition(" orig_id=")
            if found and old in sent:
                sent[queue_id] = sent[old]
            _, found, domain = line.partition(" to=<r@")
            if found:
                sent.setdefault(queue_id, (domain.partition(">")[0], 0.0))


async def measure(acts: int = ACTS, *, seed: int = 1) -> Acts:
    """Act until `acts` are done."""
    started = time.monotonic()
    with tempfile.TemporaryDirectory(prefix="mailctl-bench-") as directory:
        place = Path(directory)
        place.chmod(0o755)  # noqa: ASYNC240
        with own_postfix(place / "postfix") as own:
            async with agent(own, place) as host:
                bench = Bench(own, host, seed=seed)
                domains = [f"d{n}.test" for n in range(DOMAINS)]
                for domain in domains:
                    await bench.send(domain, FIRST)
                others = asyncio.create_task(bench.others(), name="others")
                try:
                    async with asyncio.TaskGroup() as group:
                        for n in range(AT_ONCE):
                            group.create_task(bench.one_by_one(domains[n::AT_ONCE], acts), name=f"orders:{n}")
                finally:
                    others.cancel()
                    await asyncio.gather(others, return_exceptions=True)
            bench.read_log()
    wrong = [one for one in bench.ledger.acts if bench.ledger.is_wrong(*one)]
    for act, queue_id, at in wrong[:10]:
        print("wrong:", act, queue_id, bench.ledger.sent[queue_id], at)
    return Acts(
        done=dict(Counter(act.value for act, _, _ in bench.ledger.acts)),
        wrong=len(wrong),
        orders=len(bench.ledger.ordered),
        by_others=bench.by_others,
        seconds=time.monotonic() - started,
    )
