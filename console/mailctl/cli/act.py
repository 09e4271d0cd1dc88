"""One verb at the command line, from its plan to its exit code."""

import asyncio
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime

import click

from mailagent.api.ids import DirectiveId, OpId
from mailagent.api.requests import Mutation
from mailctl import ops
from mailctl.cli.exits import Exit, of_plan, of_report
from mailctl.cli.rows import progress
from mailctl.cli.setup import Setup, complain, leave, narrate, run, width
from mailctl.cli.show import why
from mailctl.fleet import Fleet
from mailctl.ops import LineResult, Options, Plan, Report, Verb, WaitResult, mail
from mailctl.ops.budget import is_about_the_fleet
from mailctl.ops.command import prefix
from mailctl.ops.mail import ON_MAIL
from mailctl.ops.own import READ_ONLY_REFUSAL
from mailctl.output.document import HostResult, Operation, document
from mailctl.output.human import clock, percent, plural, printable
from mailctl.output.tables import Column, cells, table, wrapped

LAST = "last"
"""`undo last`: of mine, over the fleet."""
CONFIRM_S = 600.0
"""A question that nobody answers is answered with no."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Manner:
    """How the command goes about it."""

    dry_run: bool
    yes: bool
    as_json: bool
    wait_s: int | None


@dataclass(frozen=True, slots=True)
class Asked:
    """A verb that says the same to every host."""

    request: Mutation
    subject: str  # what it is about: `user shop`
    words: tuple[str, ...]  # that say it on a command line
    done: Callable[[], None] | None = None  # when a host has done it


def act(
    setup: Setup,
    verb: Verb,
    words: Sequence[str],
    subject: str,
    options: Options,
    manner: Manner,
    asked: Asked | None = None,
    since: datetime | None = None,
) -> None:
    """Plan, confirm, execute, report; does not return.

    `subject` is the id that cancel, edit and undo take; undo takes `last` and `since` as well.
    """
    selection = ops.parse(words)
    if setup.read_only and not manner.dry_run:
        complain(READ_ONLY_REFUSAL)
        leave(Exit.REFUSED)
    attended = sys.stdin.isatty() and sys.stderr.isatty()
    if asked is None and not subject and since is None:
        ops.check(verb, selection, options)  # what is missing is said before anything else
    if not attended and not manner.dry_run:
        _check_unattended(verb, options, manner)

    asks = ""

    async def work() -> Exit:
        nonlocal asks
        # The whole fleet is connected even for one host: the plan says what stays untouched.
        async with setup.fleet() as fleet:
            everywhere = is_about_the_fleet(verb, selection)
            await fleet.settled(setup.timeout_s, hosts=() if everywhere else selection.hosts)
            if (subject or since is not None) and not fleet.state.coverage.fresh:
                # only a host could say whether there is such an operation or order
                for host in fleet.state.hosts:
                    complain(f"{host.name}: {why(host, setup.timeout_s)}")
                return Exit.UNREACHABLE
            if verb is Verb.UNDO and since is not None:
                plan = await ops.plan_undo_since(fleet, since, options)
            elif verb is Verb.UNDO and subject == LAST:
                plan = await ops.plan_undo_last(fleet, options)
            elif verb is Verb.UNDO:
                plan = await ops.plan_undo(fleet, OpId(subject), options)
            elif verb is Verb.CANCEL:
                plan = await ops.plan_cancel(fleet, DirectiveId(subject), options)
            elif verb is Verb.EDIT:
                plan = await ops.plan_edit(fleet, DirectiveId(subject), options)
            elif asked is not None:
                plan = await ops.plan_request(
                    fleet, verb, asked.request, selection, options, subject=asked.subject, words=asked.words
                )
            else:
                plan = await ops.plan(fleet, verb, selection, options)
            if manner.dry_run:
                return dry(setup, fleet, plan, as_json=manner.as_json)
            click.echo(plan_text(plan, None if not sys.stderr.isatty() else width()), err=True)
            if plan.is_possible and not manner.yes and not await confirmed(plan.word):
                narrate("nothing was changed")
                return Exit.INTERRUPTED
            asks = f"{prefix(fleet.path)} operation {plan.op_id}"
            return await _execute(setup, fleet, plan, manner, asked.done if asked is not None else None)

    try:
        code = run(work())
    except KeyboardInterrupt:
        click.echo(err=True)
        what = f"what was applied by then stands; `{asks}` tells where" if asks else "nothing was changed"
        narrate(f"interrupted; {what}")
        raise
    leave(code)


async def confirmed(word: str = "") -> bool:
    """Whether a person says yes, or types `word` where there is one. The links stay alive meanwhile, so the terminal is
    not read in a blocking way.
    """
    click.echo(f"Type `{word}` to do it: " if word else "Do it? [y/N] ", nl=False, err=True)
    loop = asyncio.get_running_loop()
    typed = asyncio.Event()
    loop.add_reader(sys.stdin, typed.set)
    try:
        async with asyncio.timeout(CONFIRM_S):
            await typed.wait()
    except TimeoutError:
        click.echo(err=True)
        return False
    finally:
        loop.remove_reader(sys.stdin)
    answer = sys.stdin.readline().strip()
    return answer == word if word else answer.lower() in ("y", "yes")


def plan_text(plan: Plan, width: int | None) -> str:
    """A plan as people read it before they say yes."""
    head = (
        f"{_where(plan)}{plan.title}: "
        f"{plan.hosts} of {plural(plan.fleet_hosts, 'host')}, {plural(plan.messages, 'message')}, "
        f"{plural(plan.connections, 'connection')}, {percent(plan.share)} of the fleet's deliveries"
    )
    notes = [f"warning: {warning}" for warning in plan.warnings]
    touched = [(step.host, step.impact) for step in plan.steps if step.runs]
    if told := mail.of_them(touched):
        notes.append(f"of them: {'; '.join(told)}")
    if (arrived := mail.oldest(touched)) is not None:
        notes.append(f"oldest: arrived {clock(arrived)}")
    if plan.untouched:
        notes.append(f"untouched: {'; '.join(plan.untouched)}")
    if plan.undoable:
        # Not with its id: there is no such operation before it is done, and perhaps never.
        notes.append("; ".join(("undo: possible, the report says how", *filter(None, [plan.undo_note]))))
    elif plan.undo_note:
        notes.append(f"cannot be undone: {plan.undo_note}")
    steps = [(step.host, step.target, step.state, step.detail) for step in plan.steps]
    lines = [*wrapped(head, indent=0, width=width), outcomes("PLAN", steps, width)]
    lines += [line for note in notes for line in wrapped(note, indent=0, width=width)]
    lines.append(f"command: {plan.command}")
    return "\n".join(lines)


def _where(plan: Plan) -> str:
    """The environment, loud when it is production."""
    words = plan.environment.upper() if plan.is_production else plan.environment
    return f"[{words}] " if words else ""


def report_text(report: Report, width: int | None) -> str:
    """What became of it, host by host."""
    return outcomes("RESULT", [(line.host, line.target, line.result, line.detail) for line in report.lines], width)


def outcomes(title: str, rows: Sequence[tuple[str, str, str, str]], width: int | None) -> str:
    """A table, or where details do not fit each in whole lines of its own: a record to publish is copied from there."""
    columns = [Column("HOST"), Column("TARGET"), Column(title)]
    whole = table([*columns, Column("DETAIL")], rows)
    if width is None or all(cells(line) <= width for line in whole.split("\n")):
        return whole
    head, *below = table(columns, [row[:3] for row in rows]).split("\n")
    lines = [head]
    for line, row in zip(below, rows, strict=True):
        lines += [line, *wrapped(printable(row[3]), indent=2, width=width)]
    return "\n".join(lines)


def _check_unattended(verb: Verb, options: Options, manner: Manner) -> None:
    if not manner.yes:
        raise click.UsageError("nobody is at the terminal to confirm; give --yes (or look with --dry-run)")
    if (verb in ON_MAIL or verb is Verb.JOB_CANCEL) and options.max_affected is None:
        raise click.UsageError("nobody is at the terminal; a verb on messages wants --max-affected N beside --yes")


def dry(setup: Setup, fleet: Fleet, plan: Plan, *, as_json: bool) -> Exit:
    """Print a plan that is not to be executed."""
    errors = _lost(setup, fleet, plan)
    if as_json:
        results = tuple(
            HostResult(host=step.host, target=step.target, result=step.state, detail=step.detail) for step in plan.steps
        )
        click.echo(
            document(
                plan.verb,
                fleet.state,
                operation=operation_of(plan, results, dry_run=True, undo=""),
                errors=errors,
                hosts={step.host for step in plan.steps},
            )
        )
    else:
        click.echo(plan_text(plan, width()))
    for error in errors:
        narrate(error)
    return of_plan(plan)


async def _execute(
    setup: Setup, fleet: Fleet, plan: Plan, manner: Manner, done: Callable[[], None] | None = None
) -> Exit:
    report = await ops.execute(fleet, plan, settle_s=setup.timeout_s)
    code = of_report(report)
    if done is not None and any(line.result in (LineResult.APPLIED, LineResult.UNKNOWN) for line in report.lines):
        done()
    waited: WaitResult | None = None
    if manner.wait_s is not None and code in (Exit.DONE, Exit.INCOMPLETE):
        narrate(f"{plan.title}: {report.summary}; waiting until empty")
        waited = await ops.wait_empty(fleet, report, timeout_s=manner.wait_s, progress=_tell)
        if not waited.is_empty:
            narrate(
                "not empty: " + ", ".join(f"{one.host} {one.state}" for one in waited.drains if one.state != "empty")
            )
            code = Exit.INCOMPLETE
    errors = _lost(setup, fleet, plan)
    if manner.as_json:
        results = tuple(
            HostResult(host=line.host, target=line.target, result=line.result, detail=line.detail)
            for line in report.lines
        )
        operation = operation_of(
            plan, results, undo=report.undo_command, counts=report.counts, empty=waited.is_empty if waited else None
        )
        targeted = {step.host for step in plan.steps}
        click.echo(document(plan.verb, fleet.state, operation=operation, errors=errors, hosts=targeted))
    else:
        click.echo(report_text(report, width()))
    for error in errors:
        narrate(error)
    narrate(f"{plan.title}: {report.summary}")
    if report.is_stale:
        narrate("something changed since the plan; run the command again to see the new one")
    if report.count(LineResult.UNKNOWN):
        narrate(f"ask later what became of it: {report.ask_command}")
    if report.undo_command:
        narrate(f"undo with: {report.undo_command}")
    return code


def _lost(setup: Setup, fleet: Fleet, plan: Plan) -> list[str]:
    """A line for each host of the plan that gives no answer."""
    targeted = {step.host for step in plan.steps}
    lost = (host for host in fleet.state.hosts if host.name in targeted and not host.state.is_fresh)
    return [f"{host.name}: {why(host, setup.timeout_s)}" for host in lost]


def _tell(now: WaitResult) -> None:
    """Progress of a wait, one line per change."""
    narrate(", ".join(f"{one.host}: {progress(one.progress) if one.progress else one.state}" for one in now.drains))


def operation_of(
    plan: Plan,
    results: tuple[HostResult, ...],
    *,
    undo: str,
    counts: Mapping[LineResult, int] | None = None,
    dry_run: bool = False,
    empty: bool | None = None,
) -> Operation:
    """A plan or its report as part of the document."""
    touched = [(step.host, step.impact) for step in plan.steps if step.runs]
    return Operation(
        op_id=plan.op_id,
        verb=plan.verb,
        selection=plan.selection,
        results=results,
        messages=plan.messages,
        share=round(plan.share, 4),
        command=plan.command,
        undo=undo,
        dry_run=dry_run,
        warnings=plan.warnings,
        counts={str(result): number for result, number in (counts or {}).items()},
        empty=empty,
        parts=mail.parts(touched),
        oldest_at=mail.oldest(touched),
    )
