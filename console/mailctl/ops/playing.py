"""A playbook at work: look, plan what its conditions ask for, act within its bounds, tell."""

from collections.abc import Collection
from dataclasses import dataclass
from datetime import UTC, datetime
from enum import StrEnum

from mailagent.api.ids import HostName
from mailagent.api.operations import Result
from mailagent.api.sums import SumsRequest
from mailagent.config.scalars import format_duration
from mailctl.fleet import Fleet
from mailctl.ops import execution, journal, verbs
from mailctl.ops.errors import OpsError
from mailctl.ops.facts import Facts, ask
from mailctl.ops.plan import Plan, Report, StepState
from mailctl.ops.playbook import SCOPES, Act, Candidate, Playbook, candidates
from mailctl.ops.selector import parse


class Turn(StrEnum):
    """What came of one act of a playbook."""

    PLANNED = "planned"  # a dry run
    EXECUTED = "executed"  # the report says what became of it
    NOTHING_TO_DO = "nothing-to-do"
    COOLING = "cooling"  # done less than the cool-down ago
    BEYOND = "beyond"  # more than `at_most`
    IMPOSSIBLE = "impossible"  # refused before it was sent


@dataclass(frozen=True, slots=True, kw_only=True)
class Played:
    """One act."""

    act: str  # `suspend provider:gmail`
    because: tuple[str, ...]
    turn: Turn
    detail: str = ""
    plan: Plan | None = None
    report: Report | None = None


UNREAD = "?"
"""In place of the targets of a host that does not show its log."""
Done = Collection[tuple[HostName, str, str]]
"""Host, verb and target of acts that the cool-down is about."""


async def look(fleet: Fleet, playbook: Playbook, *, deadline_s: float) -> Facts:
    """The figures that the conditions are about."""
    hosts = fleet.state.hosts
    request = SumsRequest(scopes=SCOPES, seconds=round(playbook.period.total_seconds()))
    sums = await ask(fleet, hosts, "sums", request, deadline_s=deadline_s)
    return Facts(at=datetime.now(UTC), state=fleet.state, hosts=hosts, sums=sums)


async def play(fleet: Fleet, playbook: Playbook, facts: Facts, *, dry_run: bool, settle_s: float) -> tuple[Played, ...]:
    """Do what the conditions ask for, the worst candidate first, within cool-down and `at_most`.

    Each act is an operation of its own, with the playbook's name as its reason.
    """
    found = candidates(playbook, facts)
    if not found:
        return ()
    recent = await journal.matching(
        fleet,
        lambda record: record.reason == playbook.reason and record.result is Result.APPLIED,
        since=facts.at - playbook.cooldown,
    )
    done = {
        (host, record.verb, str(record.target or "")) for host, records in recent.records.items() for record in records
    }
    done |= {(host, str(act.verb), UNREAD) for host in recent.silent for act in playbook.do}
    turns: list[Played] = []
    left = playbook.at_most
    for candidate in found:
        for act in playbook.do:
            turn = await _turn(fleet, playbook, act, candidate, done, left, dry_run=dry_run, settle_s=settle_s)
            left -= turn.turn in (Turn.PLANNED, Turn.EXECUTED)
            turns.append(turn)
    return tuple(turns)


async def _turn(
    fleet: Fleet,
    playbook: Playbook,
    act: Act,
    candidate: Candidate,
    done: Done,
    left: int,
    *,
    dry_run: bool,
    settle_s: float,
) -> Played:
    selection = parse(candidate.fill(act.select))
    title = f"{act.verb.words} {selection}"

    def played(turn: Turn, detail: str = "", plan: Plan | None = None, report: Report | None = None) -> Played:
        return Played(act=title, because=candidate.because, turn=turn, detail=detail, plan=plan, report=report)

    if left <= 0:
        return played(Turn.BEYOND, f"at_most is {playbook.at_most}")
    try:
        plan = await verbs.plan(fleet, act.verb, selection, act.options(playbook.reason))
    except OpsError as exc:
        return played(Turn.IMPOSSIBLE, str(exc))
    # Retries have no target: the cool-down is then about the verb of this playbook on the host.
    reachable = [step for step in plan.steps if step.state is not StepState.UNREACHABLE]
    if any((step.host, str(act.verb), str(getattr(step.request, "target", ""))) in done for step in reachable):
        return played(Turn.COOLING, f"done less than {format_duration(playbook.cooldown)} ago", plan)
    if any((step.host, str(act.verb), UNREAD) in done for step in reachable):
        return played(Turn.COOLING, "the log of a host could not be read", plan)
    if not plan.is_possible:
        if plan.runnable:
            return played(Turn.NOTHING_TO_DO, plan.runnable[0].detail, plan)
        return played(Turn.IMPOSSIBLE, plan.steps[0].detail if plan.steps else "", plan)
    if dry_run:
        return played(Turn.PLANNED, plan.runnable[0].detail, plan)
    report = await execution.execute(fleet, plan, settle_s=settle_s)
    return played(Turn.EXECUTED, report.summary, plan, report)
