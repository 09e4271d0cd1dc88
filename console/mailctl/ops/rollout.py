"""From the fleet file to the hosts: what differs, and the way it gets there in batches that stop when one goes wrong.

compare(...) -> HostPlan per host
plan_apply(...) -> Plan -- somebody confirms --> roll_out(fleet, plan, course) -> RolledOut
"""

import asyncio
import shlex
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, replace
from enum import StrEnum
from functools import partial
from math import ceil
from typing import Any, Final

from mailagent.api.errors import ApiError
from mailagent.api.ids import HostName, OpId
from mailagent.api.operations import OperationRecord, Result
from mailagent.api.requests import Empty, OperationRequest
from mailagent.api.rollout import ConfigApply, ConfigPlan, ConfigQuery, ConfigUndo, pack
from mailagent.api.views import EngineState, HostView, Snapshot
from mailagent.config import dump_agent, host_part
from mailagent.config.scalars import parse_duration
from mailctl.fleet import Fleet, FleetState, LinkError
from mailctl.ops.errors import NothingSelected, OptionError, SelectorError
from mailctl.ops.execution import execute
from mailctl.ops.plan import Line, LineResult, Options, Plan, Report, Step, StepState, Verb
from mailctl.ops.selector import Selection
from mailctl.ops.targets import selected_hosts
from mailctl.ops.verbs import plan_each

PLAN_S: Final = 10.0
PAUSE_S: Final = 30
MAX_DEFERRAL: Final = 0.1
"""How much more of the attempts may be deferred after a batch than before it, as a share."""
MIN_ATTEMPTS: Final = 50
"""Fewer attempts say nothing about a host."""
MAX_REASON: Final = 500
_UNNAMED: Final = OpId("")
"""Placeholder until the operation has its id."""
HALTED: Final = "stopped by hand"
LOOK_S: Final = 10.0
"""How long a host may take to say how it is."""
_BROKEN: Final = (EngineState.FAILED, EngineState.STOPPING)


@dataclass(frozen=True, slots=True, kw_only=True)
class HostPlan:
    """One host beside its part of the fleet file."""

    host: HostName
    text: str  # its part
    plan: ConfigPlan | None = None
    error: str = ""  # why there is none

    @property
    def differs(self) -> bool:
        """Whether the host runs something else."""
        return self.plan is not None and not self.plan.same


@dataclass(frozen=True, slots=True, kw_only=True)
class Course:
    """How a roll-out goes: the canaries first, then in batches, with a look at the hosts after each."""

    canaries: tuple[str, ...] = ()  # none: the first host
    batch: str = "20%"  # hosts, or a share of them
    pause_s: int = PAUSE_S
    max_deferral: float = MAX_DEFERRAL
    roll_back: bool = False  # when it stops

    def check(self, hosts: Sequence[HostName]) -> None:
        """Refuse a course that does not fit the selected `hosts`.

        Raises:
            OptionError: a canary that is none of them, or no such size of a batch.
        """
        if strangers := [name for name in self.canaries if name not in hosts]:
            raise OptionError(f"canary {', '.join(strangers)}: not among the selected hosts")
        self._size(len(hosts))

    def batches(self, hosts: Sequence[HostName]) -> list[tuple[HostName, ...]]:
        """`hosts` in the order in which they are told; without a canary among them the first is one."""
        size = max(1, self._size(len(hosts)))
        first = tuple(host for host in hosts if host in self.canaries) or tuple(hosts[:1])
        rest = [host for host in hosts if host not in first]
        batches = [first, *(tuple(rest[n : n + size]) for n in range(0, len(rest), size))]
        return [batch for batch in batches if batch]

    def _size(self, hosts: int) -> int:
        number, percent, _ = self.batch.partition("%")
        if not number.isdecimal() or not int(number) or (percent and int(number) > 100):
            raise OptionError(f"batch {self.batch}: write a number of hosts such as 5, or a share such as 20%")
        return ceil(hosts * int(number) / 100) if percent else int(number)

    @property
    def line(self) -> str:
        """As `course_of` reads it."""
        canary = f"canary={','.join(self.canaries)} " if self.canaries else ""
        back = " rollback" if self.roll_back else ""
        return f"{canary}batch={self.batch} pause={self.pause_s}s max-deferral={self.max_deferral:.0%}{back}"

    @property
    def words(self) -> tuple[str, ...]:
        """As options of the command, where they are not the usual."""
        usual = Course()
        words = [f"--canary {shlex.quote(name)}" for name in self.canaries]
        words += [f"--batch {self.batch}"] if self.batch != usual.batch else []
        words += [f"--pause {self.pause_s}s"] if self.pause_s != usual.pause_s else []
        words += [f"--max-deferral {self.max_deferral:.0%}"] if self.max_deferral != usual.max_deferral else []
        words += ["--rollback"] if self.roll_back else []
        return tuple(words)


class Phase(StrEnum):
    """What a roll-out does now."""

    TELLS = "tells"
    WATCHES = "watches"
    PUTS_BACK = "puts back"


@dataclass(frozen=True, slots=True, kw_only=True)
class Rolling:
    """A roll-out under way."""

    phase: Phase
    batch: int  # from 1
    batches: int
    hosts: tuple[HostName, ...]  # that it is about now
    done: tuple[Line, ...] = ()  # of hosts that were told

    def __str__(self) -> str:
        names = ", ".join(self.hosts)
        if self.phase is Phase.PUTS_BACK:
            return f"rolling back: {names}"
        return f"batch {self.batch} of {self.batches}: {self.phase} {names}"


@dataclass(frozen=True, slots=True, kw_only=True)
class RolledOut:
    """What became of a roll-out."""

    report: Report  # one line per host
    stopped: str = ""  # why it stopped before its end
    rolled_back: Report | None = None


def course_of(line: str, hosts: Sequence[HostName]) -> tuple[Course, bool]:
    """The course in one line, and whether parts that need a restart are written:
    `canary=mx1,mx2 batch=20% pause=30s max-deferral=10% rollback restart-later`.

    Raises:
        OptionError: a word that is none of these, or does not fit the selected `hosts`.
    """
    found: dict[str, Any] = {}
    restart = False
    for word in line.split():
        key, _, value = word.partition("=")
        match key:
            case "canary" if value:
                found["canaries"] = tuple(filter(None, value.split(",")))
            case "batch" if value:
                found["batch"] = value
            case "pause" if value == "0":
                found["pause_s"] = 0
            case "pause" if value:
                try:
                    found["pause_s"] = round(parse_duration(value).total_seconds()) if value != "0s" else 0
                except ValueError as exc:
                    raise OptionError(f"pause: {exc}") from exc
            case "max-deferral" if value.removesuffix("%").isdecimal() and int(value.removesuffix("%")) <= 100:
                found["max_deferral"] = int(value.removesuffix("%")) / 100
            case "rollback" if word == key:
                found["roll_back"] = True
            case "restart-later" if word == key:
                restart = True
            case _:
                raise OptionError(
                    f"{word!r} is none of canary=HOST, batch=20%, pause=30s, max-deferral=10%, rollback, restart-later"
                )
    course = Course(**found)
    course.check(hosts)
    return course, restart


async def compare(fleet: Fleet, selection: Selection) -> tuple[HostPlan, ...]:
    """Each selected host beside its part of the fleet file; a host without an answer is part of the result.

    Raises:
        SelectorError: the selection has other terms than hosts.
        NothingSelected: names that the fleet does not have.
    """
    hosts = _hosts(fleet, selection)
    parts = {host: dump_agent(host_part(fleet.config, host)) for host in hosts}
    async with asyncio.TaskGroup() as group:
        tasks = [
            group.create_task(_compared(fleet, host, text), name=f"compare:{host}") for host, text in parts.items()
        ]
    return tuple(task.result() for task in tasks)


async def plan_apply(
    fleet: Fleet, selection: Selection, options: Options, course: Course, *, restart: bool = False
) -> tuple[Plan, tuple[HostPlan, ...]]:
    """What telling the selected hosts their part of the fleet file would do, and what each of them would change.

    Raises:
        SelectorError, NothingSelected, OptionError: as for every verb.
    """
    if not selection.hosts and not options.everything:
        raise NothingSelected("nothing is selected; name hosts, or --all for every host of the fleet file")
    course.check(_hosts(fleet, selection))
    compared = await compare(fleet, selection)
    on_hosts = {
        one.host: ConfigApply(
            op_id=_UNNAMED, packed=pack(one.text), base=one.plan.digest if one.plan else "", restart=restart
        )
        for one in compared
    }
    words = (*selection.words, *(["--restart-later"] if restart else []), *course.words)
    if not selection.words:
        words = ("--all", *words)
    plan = await plan_each(
        fleet, Verb.CONFIG_APPLY, on_hosts, options, target="agent.yaml", selection=str(selection), words=words
    )
    plans = {one.host: one.plan for one in compared if one.plan is not None}
    waiting = sum(plans[step.host].waiting for step in plan.steps if step.state is StepState.READY)
    return _undoable(replace(plan, messages=waiting)), compared


async def plan_undo_apply(
    fleet: Fleet, operation: OpId, selection: Selection, options: Options, course: Course, *, restart: bool = False
) -> Plan:
    """What putting back the files before the apply `operation` would do, on the hosts that made it.

    Raises:
        NothingSelected: no host that answers knows it.
    """
    hosts = _hosts(fleet, selection)
    course.check(hosts)
    answers = await fleet.ask_all("operation", OperationRequest(op_id=operation), hosts=hosts, deadline_s=PLAN_S)
    silent = [host for host, answer in answers.items() if isinstance(answer, Exception)]
    request = ConfigUndo(op_id=_UNNAMED, undoes=operation, restart=restart)
    on_hosts = {
        host: request
        for host, answer in answers.items()
        if isinstance(answer, OperationRecord) and answer.result is Result.APPLIED
    }
    if not on_hosts:
        missing = f"; not asked: {', '.join(silent)}" if silent else ""
        raise NothingSelected(f"no host was changed by an apply {operation}{missing}")
    words = (shlex.quote(operation), *selection.words, *course.words)
    subject = " ".join(filter(None, (operation, str(selection))))
    plan = await plan_each(
        fleet, Verb.CONFIG_UNDO, on_hosts, options, target="agent.yaml", selection=subject, words=words
    )
    warnings = tuple(f"{host} does not answer: it may have been changed by {operation} too" for host in silent)
    return _undoable(replace(plan, warnings=plan.warnings + warnings))


async def roll_out(
    fleet: Fleet,
    plan: Plan,
    course: Course,
    *,
    settle_s: float,
    progress: Callable[[Rolling], None] = lambda _: None,
    halt: asyncio.Event | None = None,
) -> RolledOut:
    """Do what `plan` says batch by batch. Stops when a host does not do it, or is not well after the pause.

    It stops before the next batch, too, when somebody sets `halt`; then nothing is rolled back.
    """
    halt = halt or asyncio.Event()
    ready = [step.host for step in plan.steps if step.state is StepState.READY]
    batches = course.batches(ready)
    lines: list[Line] = []
    stopped = ""
    for n, batch in enumerate(batches, 1):
        told = partial(Rolling, batch=n, batches=len(batches), hosts=batch)
        progress(told(phase=Phase.TELLS, done=tuple(lines)))
        before = await _look(fleet, batch)
        report = await execute(fleet, _part(plan, batch), settle_s=settle_s)
        lines += report.lines
        stopped = "" if report.succeeded else f"batch {n} of {len(batches)}: {report.summary}"
        changed = [line.host for line in report.lines if line.result is LineResult.APPLIED]
        if not stopped and changed:
            progress(told(phase=Phase.WATCHES, done=tuple(lines)))
            stopped = await _gate(fleet, {host: before[host] for host in changed}, course, halt)
        if not stopped and halt.is_set() and n < len(batches):
            stopped = HALTED
        if stopped:
            break
    reached = {line.host for line in lines}
    idle = await execute(fleet, _part(plan, [step.host for step in plan.steps if step.host not in ready]), settle_s=0)
    lines += idle.lines
    lines += [_not_reached(step) for step in plan.steps if step.host in ready and step.host not in reached]
    order = {step.host: n for n, step in enumerate(plan.steps)}
    changed = [line.host for line in lines if line.result in (LineResult.APPLIED, LineResult.UNKNOWN)]
    prefix = plan.command.partition(f" {plan.verb.words}")[0]
    whole = replace(
        idle,
        lines=tuple(sorted(lines, key=lambda line: order[line.host])),
        undo_command=f"{prefix} apply --undo {plan.op_id}" if changed else "",
    )
    by_itself = stopped not in ("", HALTED)
    if not by_itself or not course.roll_back or not changed or plan.verb is not Verb.CONFIG_APPLY:
        return RolledOut(report=whole, stopped=stopped)
    progress(Rolling(phase=Phase.PUTS_BACK, batch=n, batches=len(batches), hosts=tuple(changed), done=whole.lines))
    request = ConfigUndo(op_id=_UNNAMED, undoes=plan.op_id)
    back = await plan_each(
        fleet,
        Verb.CONFIG_UNDO,
        dict.fromkeys(changed, request),
        Options(reason=f"roll-out stopped: {stopped}"[:MAX_REASON]),
        target="agent.yaml",
        selection=plan.op_id,
        words=(plan.op_id,),
    )
    return RolledOut(report=whole, stopped=stopped, rolled_back=await execute(fleet, back, settle_s=settle_s))


async def _look(fleet: Fleet, hosts: Collection[HostName]) -> dict[HostName, HostView | str]:
    """How hosts are now, or why one does not say."""
    answers = await fleet.ask_all("snapshot", Empty(), hosts=hosts, deadline_s=LOOK_S)
    return {
        host: answer.host
        if isinstance(answer, Snapshot)
        else f"no answer: {answer.reason if isinstance(answer, LinkError) else answer}"
        for host, answer in answers.items()
    }


async def _gate(fleet: Fleet, before: Mapping[HostName, HostView | str], course: Course, halt: asyncio.Event) -> str:
    """Why the roll-out must not go on, looked at after the pause; empty when the hosts are well."""

    def broken(state: FleetState) -> bool:
        if halt.is_set():
            return True
        found = (state.host(host) for host in before)
        return any(one and one.snapshot and one.snapshot.host.state in _BROKEN for one in found)

    await fleet.until(broken, within_s=course.pause_s)
    now = await _look(fleet, before)
    ills = ((host, _ill(was, now[host], course.max_deferral)) for host, was in before.items())
    return "; ".join(f"{host}: {why}" for host, why in ills if why)


def _ill(was: HostView | str, now: HostView | str, most: float) -> str:
    """What is wrong with a host after its change."""
    if isinstance(now, str):
        return now
    if now.state in _BROKEN:
        return f"the engine is {now.state}"
    if isinstance(was, str):
        return ""
    if now.started_at != was.started_at:
        return "the agent was started again"
    if was.accepting and not now.accepting:
        return f"it takes no mail any more: {now.intake_reason}"
    deferred, delivered = now.flow.deferred - was.flow.deferred, now.flow.delivered - was.flow.delivered
    usual, share = _share(was.flow.deferred_1m, was.flow.delivered_1m), _share(deferred, delivered)
    if deferred + delivered >= MIN_ATTEMPTS and share > usual + most:
        return f"{share:.0%} of {deferred + delivered} attempts deferred, {usual:.0%} before"
    return ""


def _share(deferred: int, delivered: int) -> float:
    return deferred / (deferred + delivered) if deferred + delivered else 0.0


def _undoable(plan: Plan) -> Plan:
    """`plan`, that `mailctl apply --undo` takes back, not the undo of directives."""
    return replace(plan, undoable=plan.is_possible, undo_note="")


def _part(plan: Plan, hosts: Collection[HostName]) -> Plan:
    return replace(plan, steps=tuple(step for step in plan.steps if step.host in hosts))


def _not_reached(step: Step) -> Line:
    return Line(
        host=step.host,
        target=step.target,
        result=LineResult.NOT_REACHED,
        detail="the roll-out stopped before it",
        op_id=step.request.op_id,
    )


def _hosts(fleet: Fleet, selection: Selection) -> tuple[HostName, ...]:
    if selection.kinds:
        raise SelectorError("the fleet file is compared and applied by host; write host: terms only")
    return tuple(host.name for host in selected_hosts(fleet.state, selection))


async def _compared(fleet: Fleet, host: HostName, text: str) -> HostPlan:
    try:
        plan: ConfigPlan = await fleet.ask(host, "config_plan", ConfigQuery(packed=pack(text)), deadline_s=PLAN_S)
    except LinkError as exc:
        return HostPlan(host=host, text=text, error=exc.reason)
    except ApiError as exc:
        return HostPlan(host=host, text=text, error=exc.message)
    return HostPlan(host=host, text=text, plan=plan)
