"""Adaptive shaping, the acting part: one task that turns orders into directives and raises limits in quiet time."""

import asyncio
import itertools
import logging
from collections import Counter, deque
from collections.abc import Callable, Iterable
from datetime import datetime
from functools import partial
from typing import Final

from mailagent.api import codec
from mailagent.api.automation import AutomationView, RuleView, WouldAct
from mailagent.api.classification import Category, Verdict
from mailagent.api.errors import Unavailable
from mailagent.api.ids import DirectiveId, OpId, ProviderName, StreamName, VmtaName
from mailagent.api.requests import Empty, HistoryScope
from mailagent.api.smtp import SmtpReply
from mailagent.api.targets import Target
from mailagent.api.views import Flow
from mailagent.config.automation import AutomationMode, Rule
from mailagent.config.structs import AgentConfig, Rate
from mailagent.control.change import Change, Situation, directive_id
from mailagent.control.shaping import AUTHOR, Order, Seen, Watch, carry_out, climb, is_held, merged, units_in_step_down
from mailagent.control.verbs import Control
from mailagent.routing import PathLimits, Site
from mailagent.scheduling.item import Item
from mailagent.scheduling.ready import ReadyQueue
from mailagent.spool.errors import StorageError

log = logging.getLogger(__name__)

LOOK_S: Final = 15.0
"""How often quiet time is looked for, unless it is shorter."""
PACE_S: Final = 0.5
"""Shortest time between two operations: each is a write, and a look at all queues."""
MAX_ORDERS: Final = 256
"""Orders that wait to be carried out; more are dropped, and the next threshold gives them again."""
MAX_LIVE: Final = 256
"""Directives that automation may hold at a time: all of them stand in every snapshot."""
MAX_WOULD: Final = 100
NO_OPERATION = OpId("")
NO_STREAM = StreamName("")


class Automation:
    """Owner of everything that is done on replies. Runs on the loop thread."""

    def __init__(
        self,
        config: AgentConfig,
        control: Control,
        *,
        limits: Callable[[Site, VmtaName], PathLimits],
        attempts: Callable[[VmtaName, ProviderName], int],
        flow: Callable[[HistoryScope, str], Flow],
        clock: Callable[[], datetime] = codec.now,
    ) -> None:
        """`limits`: of the configuration alone; `attempts`: made so far; `flow`: what goes now."""
        self._control = control
        self._limits = limits
        self._attempts = attempts
        self._flow = flow
        self._clock = clock
        self._orders: deque[Order] = deque()
        self._wake = asyncio.Event()
        self._would: deque[WouldAct] = deque(maxlen=MAX_WOULD)
        self._made = 0
        self._last: SmtpReply | None = None
        self._said: tuple[Item | None, Category | None] = (None, None)
        self._config = config
        self.watch = Watch(config)

    def configure(self, config: AgentConfig) -> None:
        """Use `config` from now on."""
        self._config = config
        self.watch.configure(config)

    def observe(self, verdict: Verdict, reply: SmtpReply, queue: ReadyQueue, item: Item | None) -> None:
        """A reply that did not deliver. Called per failed attempt, so it only counts.

        One reply comes twice when a connection failed and its first message was charged with that. Several replies
        of one class to one message say it once: it may have a hundred recipients.
        """
        if reply.local or reply is self._last or self._config.automation.mode is AutomationMode.OFF:
            return
        self._last = reply
        if item is not None and (item, verdict.category) == self._said:
            return
        self._said = (item, verdict.category)
        stream = StreamName(item.first.stream) if item is not None else NO_STREAM
        self.seen(Seen(site=queue.site, vmta=queue.vmta, stream=stream, reply=reply, category=verdict.category))

    def seen(self, seen: Seen) -> None:
        """Count one reply; an order that comes of it waits for `run`."""
        provider = ProviderName(seen.site.provider)
        order = self.watch.add(seen, partial(self._attempts, seen.vmta, provider), self._clock())
        if order is not None and len(self._orders) < MAX_ORDERS:
            self._orders.append(order)
            self._wake.set()

    async def run(self) -> None:
        """Carry out orders and raise limits, until cancelled."""
        while True:
            self._wake.clear()
            try:
                await self.look()
            except (StorageError, Unavailable):
                log.exception("automation could not record what it does; the limits stay as they are")
            await asyncio.sleep(PACE_S)
            pause_s = min(LOOK_S, self._config.automation.quiet.total_seconds() / 4)
            try:
                async with asyncio.timeout(pause_s):
                    await self._wake.wait()
            except TimeoutError:
                pass

    async def look(self) -> None:
        """Carry out what was ordered; one step up for what was quiet for long enough. All of it is one operation."""
        orders = self._take()
        units = [unit for unit in units_in_step_down(self._control.state.directives) if unit not in orders]
        for unit in units:
            if is_held(self._control.state, unit):
                self.watch.note_trouble(unit, self._clock())
        if orders or units:
            op_id = self._op_id()
            plan = partial(self._plan, orders=orders.values(), units=units, op_id=op_id)
            await self._control.act("shape", op_id, AUTHOR, plan)
        if self._orders:
            self._wake.set()

    def _take(self) -> dict[Target, Order]:
        """The first order of each unit; what a rule in dry-run mode orders is only said."""
        taken: dict[Target, Order] = {}
        later: list[Order] = []
        while self._orders:
            order = self._orders.popleft()
            mode = self._mode(order.rule.name)
            if mode is AutomationMode.OFF:  # since a moment
                continue
            if mode is AutomationMode.DRY_RUN:
                at = Situation(self._config, self._control.state, AUTHOR, self._clock())
                self._say(order, self._plan(at, orders=(order,), units=(), op_id=NO_OPERATION))
            elif order.unit in taken:
                later.append(order)
            else:
                taken[order.unit] = order
        self._orders.extend(later)
        return taken

    def _plan(self, at: Situation, *, orders: Iterable[Order], units: Iterable[Target], op_id: OpId) -> Change:
        settings = self._config.automation
        numbers = itertools.count(1)
        changes: list[Change] = []

        def ids() -> DirectiveId:
            return directive_id(op_id, next(numbers))

        room = MAX_LIVE - sum(bool(one.rule) for one in at.state.directives)
        for order in orders:
            site, vmta = order.seen.site, order.seen.vmta
            observed = self._sending(f"{site.provider}/{vmta}")
            change = carry_out(at, order, ids, op_id, settings, self._limits(site, vmta), observed)
            room -= len(change.created) - len(change.ended)
            if room < 0:
                log.warning("automation holds %d orders already; not done: %s", MAX_LIVE, change.detail)
                room += len(change.created) - len(change.ended)
            else:
                changes.append(change)
        changes += [climb(at, unit, ids, op_id, settings, self.watch.last_trouble(unit)) for unit in units]
        return merged(changes)

    def _sending(self, cell: str) -> Rate | None:
        """Attempts in the last minute."""
        flow = self._flow(HistoryScope.CELL, cell)
        count = flow.delivered_1m + flow.deferred_1m + flow.bounced_1m
        return Rate(count=count, period_s=60) if count else None

    def _say(self, order: Order, change: Change) -> None:
        if not change.is_nothing:
            log.info("dry-run rule=%s: %s", order.rule.name, change.detail)
            reply: SmtpReply = order.seen.reply
            self._would.appendleft(
                WouldAct(at=self._clock(), rule=order.rule.name, detail=change.detail, reply=reply.line())
            )

    def _mode(self, rule: str) -> AutomationMode:
        automation = self._config.automation
        if automation.mode is AutomationMode.OFF or rule in automation.off:
            return AutomationMode.OFF
        if automation.mode is AutomationMode.DRY_RUN or rule in automation.dry_run:
            return AutomationMode.DRY_RUN
        return AutomationMode.ON

    def _op_id(self) -> OpId:
        """A new one; unique over restarts by its time."""
        self._made += 1
        return OpId(f"auto-{int(self._clock().timestamp() * 1000)}-{self._made}")

    # -- views -----------------------------------------------------------------------------------------------------

    async def automation(self, _request: Empty) -> AutomationView:
        """What automation does now, and what its rules have matched."""
        live = tuple(one for one in self._control.state.directives if one.rule)
        count = Counter(one.rule for one in live)
        rules = [
            self._rule(f"{provider}.{name}", rule, count)
            for provider, block in self._config.providers.items()
            for name, rule in block.rules.items()
        ]
        return AutomationView(
            mode=self._config.automation.mode, live=live, rules=tuple(rules), would=tuple(self._would)
        )

    def _rule(self, name: str, rule: Rule, live: Counter[str]) -> RuleView:
        return RuleView(
            name=name,
            act=rule.act,
            mode=self._mode(name),
            threshold=str(rule.threshold or self._config.automation.threshold),
            hits=self.watch.hits.get(name, 0),
            live=live[name],
        )
