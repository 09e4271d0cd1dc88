"""What the screens ask of the fleet, and the one way in which they act."""

import asyncio
from collections.abc import AsyncGenerator, Callable, Iterable, Sequence
from datetime import datetime
from types import TracebackType
from typing import Any, Protocol, Self

import msgspec

from mailagent.api.ids import DirectiveId, HostName, OpId
from mailagent.api.requests import Mutation
from mailagent.api.trace import TraceLines, TraceRequest
from mailctl.fleet import Fleet
from mailctl.fleet.state import FleetState
from mailctl.ops import carrying, execution, rollout, undo, verbs
from mailctl.ops.courier import Progress
from mailctl.ops.evacuation import EvacuationPlan, plan_evacuation
from mailctl.ops.plan import Options, Plan, Report, Verb
from mailctl.ops.rollout import Course, HostPlan, RolledOut, Rolling
from mailctl.ops.selector import Selection

ASK_DEADLINE_S = 5.0
"""A list that takes longer is shown as missing."""
CARRY_S = 24 * 3600.0
"""How long the console goes on with an evacuation whose mail is under way."""

ROLL_OUT_S = 10.0
"""How long a host may take for a step of a roll-out before its outcome is asked for."""


Words = tuple[str, ...]


class FleetSource(Protocol):
    """The merged state of all hosts and questions to them, while the context is open: `mailctl.fleet.Fleet`."""

    @property
    def state(self) -> FleetState:
        """The newest tick; a new value for each, so that identity tells whether something is new."""

    async def __aenter__(self) -> Self: ...

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None: ...

    async def ask_all(
        self, method: str, params: msgspec.Struct, *, hosts: Iterable[str] | None = None, deadline_s: float = ...
    ) -> dict[HostName, Any]:
        """The answer of each host (None: all): its result, or the LinkError or ApiError in its place."""

    def trace(self, host: str, request: TraceRequest) -> AsyncGenerator[TraceLines]:
        """Lines of a live trace on one host; raises LinkError or ApiError when it cannot be, or breaks."""


class Operator(Protocol):
    """Verbs, as `mailctl.ops` has them: plan with a dry run, then execute."""

    async def plan(self, verb: Verb, selection: Selection, options: Options) -> Plan:
        """What the verb would do.

        Raises:
            OpsError: nothing selected, or nothing that can be planned.
        """

    async def plan_undo(self, op_id: OpId, options: Options) -> Plan:
        """What undoing an operation would do."""

    async def plan_undo_last(self, options: Options) -> Plan:
        """What undoing the last thing of mine that stands would do."""

    async def plan_undo_since(self, since: datetime, options: Options) -> Plan:
        """What undoing all of mine since then would do."""

    async def plan_cancel(self, directive: DirectiveId, options: Options) -> Plan:
        """What ending a standing order would do."""

    async def plan_edit(self, directive: DirectiveId, options: Options) -> Plan:
        """What another end of a standing order, or a pin, would do."""

    async def plan_request(
        self, verb: Verb, request: Mutation, selection: Selection, options: Options, *, subject: str, words: Words
    ) -> Plan:
        """What the same request would do on all hosts of the selection; `words` say it on a command line."""

    async def plan_evacuation(self, source: HostName, to: Sequence[str], options: Options) -> EvacuationPlan:
        """What an evacuation would move, or the one that goes on."""

    async def evacuate(self, plan: EvacuationPlan, told: Callable[[Progress], None]) -> Report:
        """Carry it, until nothing of it waits."""

    async def execute(self, plan: Plan) -> Report:
        """Do it, and say what became of it on each host."""

    async def compare(self) -> tuple[HostPlan, ...]:
        """Each host beside its part of the fleet file."""

    async def plan_apply(self, selection: Selection, options: Options, course: Course, *, restart: bool) -> Plan:
        """What telling hosts their part of the fleet file would do."""

    async def plan_undo_apply(self, op_id: OpId, options: Options, course: Course) -> Plan:
        """What putting back the files before an apply would do."""

    async def roll_out(
        self, plan: Plan, course: Course, progress: Callable[[Rolling], None], halt: asyncio.Event
    ) -> RolledOut:
        """Do it in batches, until its end or until somebody sets `halt`."""


class FleetOperator:
    """The operator of a real fleet."""

    def __init__(self, fleet: Fleet) -> None:
        self._fleet = fleet

    async def plan(self, verb: Verb, selection: Selection, options: Options) -> Plan:
        """What the verb would do."""
        return await verbs.plan(self._fleet, verb, selection, options)

    async def plan_undo(self, op_id: OpId, options: Options) -> Plan:
        """What undoing an operation would do."""
        return await undo.plan_undo(self._fleet, op_id, options)

    async def plan_undo_last(self, options: Options) -> Plan:
        """What undoing the last thing of mine that stands would do."""
        return await undo.plan_undo_last(self._fleet, options)

    async def plan_undo_since(self, since: datetime, options: Options) -> Plan:
        """What undoing all of mine since then would do."""
        return await undo.plan_undo_since(self._fleet, since, options)

    async def plan_cancel(self, directive: DirectiveId, options: Options) -> Plan:
        """What ending a standing order would do."""
        return await verbs.plan_cancel(self._fleet, directive, options)

    async def plan_edit(self, directive: DirectiveId, options: Options) -> Plan:
        """What another end of a standing order, or a pin, would do."""
        return await verbs.plan_edit(self._fleet, directive, options)

    async def plan_request(
        self, verb: Verb, request: Mutation, selection: Selection, options: Options, *, subject: str, words: Words
    ) -> Plan:
        """What the same request would do on all hosts of the selection."""
        return await verbs.plan_request(self._fleet, verb, request, selection, options, subject=subject, words=words)

    async def plan_evacuation(self, source: HostName, to: Sequence[str], options: Options) -> EvacuationPlan:
        """What an evacuation would move, or the one that goes on."""
        return await plan_evacuation(self._fleet, source, to, reason=options.reason)

    async def evacuate(self, plan: EvacuationPlan, told: Callable[[Progress], None]) -> Report:
        """Carry it, until nothing of it waits."""
        return await carrying.evacuate(self._fleet, plan, until_empty_s=CARRY_S, told=told)

    async def execute(self, plan: Plan) -> Report:
        """Do it."""
        return await execution.execute(self._fleet, plan)

    async def compare(self) -> tuple[HostPlan, ...]:
        """Each host beside its part of the fleet file."""
        return await rollout.compare(self._fleet, Selection())

    async def plan_apply(self, selection: Selection, options: Options, course: Course, *, restart: bool) -> Plan:
        """What telling hosts their part of the fleet file would do."""
        plan, _ = await rollout.plan_apply(self._fleet, selection, options, course, restart=restart)
        return plan

    async def plan_undo_apply(self, op_id: OpId, options: Options, course: Course) -> Plan:
        """What putting back the files before an apply would do."""
        return await rollout.plan_undo_apply(self._fleet, op_id, Selection(), options, course)

    async def roll_out(
        self, plan: Plan, course: Course, progress: Callable[[Rolling], None], halt: asyncio.Event
    ) -> RolledOut:
        """Do it in batches, until its end or until somebody sets `halt`."""
        return await rollout.roll_out(self._fleet, plan, course, settle_s=ROLL_OUT_S, progress=progress, halt=halt)
