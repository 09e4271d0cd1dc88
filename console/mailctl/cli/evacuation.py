"""What `mailctl evacuate` does behind its options: show the plan, carry, tell how far it is, report."""

import sys
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime

import click

from mailagent.api.errors import ApiError, Refused
from mailagent.api.evacuation import EvacuationView
from mailagent.api.ids import HostName, OpId
from mailagent.api.requests import Empty
from mailagent.config.scalars import parse_rate
from mailctl.cli.act import confirmed, report_text
from mailctl.cli.exits import Exit, of_report
from mailctl.cli.setup import Setup, complain, leave, narrate, run, width
from mailctl.cli.show import Shown, selected, show
from mailctl.fleet import Fleet, LinkError
from mailctl.fleet.lists import reason as why_not
from mailctl.ops import Line, Report, Selection
from mailctl.ops.carrying import bring_back
from mailctl.ops.carrying import evacuate as evacuate_host
from mailctl.ops.courier import Progress
from mailctl.ops.evacuation import EvacuationPlan, plan_evacuation, under_way
from mailctl.output.document import HostResult, Operation, at_host, document
from mailctl.output.human import ago, count, plural, size, until
from mailctl.output.tables import Column, table, wrapped


@dataclass(frozen=True, slots=True, kw_only=True)
class Wish:
    """What was said on the command line."""

    host: str
    to: tuple[str, ...]
    streams: tuple[str, ...]
    rate: str
    wait_s: int | None
    cancel: bool
    reason: str
    dry_run: bool
    yes: bool
    as_json: bool

    @property
    def source(self) -> str:
        """The host, also when it was written as a selector."""
        return self.host.removeprefix("host:")

    @property
    def rate_s(self) -> float | None:
        """Recipients a second."""
        if self.rate in ("", "none"):
            return None
        return 1 / parse_rate(self.rate).interval_s


def evacuate(setup: Setup, wish: Wish) -> None:
    """Plan, confirm, carry, report; does not return."""
    attended = sys.stdin.isatty() and sys.stderr.isatty()
    if not attended and not wish.dry_run and not wish.yes:
        raise click.UsageError("nobody is at the terminal to confirm; give --yes (or look with --dry-run)")

    async def work() -> Exit:
        async with setup.fleet() as fleet:
            await fleet.settled(setup.timeout_s)
            try:
                if wish.cancel:
                    return await _cancel(fleet, wish)
                return await _go(fleet, wish)
            except LinkError as exc:
                complain(f"{wish.source}: {why_not(exc)}; run the command again to go on")
                return Exit.UNREACHABLE
            except ApiError as exc:
                complain(f"{wish.source}: {exc.message}")
                return Exit.REFUSED if isinstance(exc, Refused) else Exit.INCOMPLETE

    try:
        code = run(work())
    except KeyboardInterrupt:
        narrate("interrupted; what was not brought to its end waits. Run it again to go on, or with --cancel")
        raise
    leave(code)


async def _go(fleet: Fleet, wish: Wish) -> Exit:
    plan = await plan_evacuation(fleet, wish.source, wish.to, streams=wish.streams, rate=wish.rate, reason=wish.reason)
    if wish.dry_run:
        if wish.as_json:
            click.echo(_document(fleet, wish, plan.id, plan, (), messages=plan.leaving))
        else:
            click.echo(plan_text(plan, width()))
        return _possible(plan)
    click.echo(plan_text(plan, None if not sys.stderr.isatty() else width()), err=True)
    if not plan.is_possible:
        if wish.as_json:
            click.echo(_document(fleet, wish, plan.id, plan, (), messages=0))
        return _possible(plan)
    if not wish.yes and not await confirmed():
        narrate("nothing was changed")
        return Exit.INTERRUPTED
    last: list[Progress] = []

    def told(now: Progress) -> None:
        if not last or (last[-1].moved, last[-1].left, last[-1].in_parcels) != (now.moved, now.left, now.in_parcels):
            narrate(progress_text(now))
        last[:] = [now]

    report = await evacuate_host(fleet, plan, rate_s=wish.rate_s, until_empty_s=wish.wait_s, told=told)
    return _told(fleet, wish, plan, report, moved=last[-1].moved if last else 0)


async def _cancel(fleet: Fleet, wish: Wish) -> Exit:
    view = await under_way(fleet, wish.source)
    if view is None:
        narrate(f"no evacuation of {wish.source} is under way")
        return Exit.DONE
    narrate(
        f"evacuation {view.id} of {wish.source} to {', '.join(view.peers)}: {plural(view.moved, 'recipient')} left,"
        f" {view.inert} in parcels"
    )
    if wish.dry_run:
        return Exit.DONE
    if not wish.yes and not await confirmed():
        narrate("nothing was changed")
        return Exit.INTERRUPTED
    report = await bring_back(fleet, HostName(wish.source), view, reason=wish.reason)
    return _told(fleet, wish, None, report, moved=view.moved)


def _told(fleet: Fleet, wish: Wish, plan: EvacuationPlan | None, report: Report, *, moved: int) -> Exit:
    if wish.as_json:
        click.echo(_document(fleet, wish, report.op_id, plan, report.lines, messages=moved))
    else:
        click.echo(report_text(report, width()))
    return of_report(report)


def _possible(plan: EvacuationPlan) -> Exit:
    if plan.is_possible:
        return Exit.DONE
    if plan.leaving == plan.staying == 0:
        narrate(f"nothing waits on {plan.source} that is asked for")
        return Exit.DONE
    return Exit.REFUSED


def _document(
    fleet: Fleet,
    wish: Wish,
    evacuation: OpId,
    plan: EvacuationPlan | None,
    lines: Sequence[Line],
    *,
    messages: int,
) -> str:
    operation = Operation(
        op_id=evacuation,
        verb="evacuate",
        selection=f"host:{wish.source}",
        results=tuple(
            HostResult(host=line.host, target=line.target, result=line.result, detail=line.detail) for line in lines
        ),
        messages=messages,
        share=0.0,
        command=plan.command if plan is not None else "",
        undo=plan.undo_command if plan is not None else "",
        dry_run=wish.dry_run,
        warnings=plan.warnings if plan is not None else (),
    )
    places = plan.places if plan is not None else ()
    named = {wish.source, *(line.host for line in lines), *(place.host for place in places)}
    rows = plan.rows if plan is not None else ()
    return document("evacuate", fleet.state, rows=rows, operation=operation, hosts=named)


def progress_text(now: Progress) -> str:
    """How far it is, on one line."""
    eta = f", done {until(now.eta, datetime.now(UTC))}" if now.eta is not None else ""
    return f"moved {count(now.moved)}, {count(now.left)} wait, {count(now.in_parcels)} in parcels, {now.per_s:g}/s{eta}"


def plan_text(plan: EvacuationPlan, columns: int | None) -> str:
    """A plan as people read it before they say yes."""
    verb = "evacuate" if plan.resumes is None else f"go on with evacuation {plan.id} of"
    bytes_ = plan.leaving * plan.message_bytes
    head = (
        f"{verb} {plan.source}: {plural(plan.leaving, 'recipient')} (about {size(bytes_)}) may leave,"
        f" {count(plan.staying)} stay"
    )
    rows = table(
        [Column("STREAM"), Column("POOL"), Column("WAITING", right=True), Column("TO"), Column("STAYS", flex=True)],
        [(row.stream, row.pool, count(row.waiting), ", ".join(row.to) or "-", row.stays) for row in plan.rows],
        width=columns,
    )
    places = table(
        [
            Column("TARGET"),
            Column("FREE", right=True),
            Column("WAITING", right=True),
            Column("LIMIT", right=True),
            Column("TAKES", flex=True),
        ],
        [
            (
                place.host,
                size(place.room.free_bytes) if place.room is not None else "-",
                count(place.room.waiting) if place.room is not None else "-",
                count(place.room.waiting_limit) if place.room is not None and place.room.waiting_limit else "-",
                ", ".join(place.streams) or (f"nothing: {place.refusal}" if place.refusal else "-"),
            )
            for place in plan.places
        ],
        width=columns,
    )
    notes = [f"warning: {warning}" for warning in plan.warnings]
    notes.append(f"stays until settled: what is under way of {plural(plan.in_window, 'recipient')} in memory")
    notes.append(f"brings back what has not left: {plan.undo_command}")
    lines = [*wrapped(head, indent=0, width=columns), rows, places]
    lines += [line for note in notes for line in wrapped(note, indent=0, width=columns)]
    lines.append(f"command: {plan.command}")
    return "\n".join(lines)


def listed(setup: Setup, host: str, *, as_json: bool) -> None:
    """Show evacuations on all hosts; does not return."""

    async def look(fleet: Fleet, selection: Selection) -> Shown:
        names = [one.name for one in selected(fleet.state, selection)]
        answers = await fleet.ask_all("evacuations", Empty(), hosts=names, deadline_s=setup.timeout_s)
        failed: dict[HostName, str] = {}
        rows: list[tuple[HostName, EvacuationView]] = []
        for name, answer in answers.items():
            if isinstance(answer, LinkError | ApiError):
                failed[name] = why_not(answer)
            else:
                rows += [(name, view) for view in answer.rows]
        rows.sort(key=lambda row: row[1].at, reverse=True)
        return Shown([at_host(name, view) for name, view in rows], _list_table(rows), failed=failed)

    show(setup, "evacuate", [f"host:{host.removeprefix('host:')}"] if host else [], look, as_json=as_json)


def _list_table(rows: Sequence[tuple[HostName, EvacuationView]]) -> str:
    if not rows:
        return "no evacuation is known"
    now = datetime.now(UTC)
    columns = [
        Column("ID"),
        Column("HOST"),
        Column("WAY"),
        Column("PEERS", flex=True),
        Column("STATE"),
        Column("MOVED", right=True),
        Column("INERT", right=True),
        Column("RETURNED", right=True),
        Column("AGE", right=True, spare=2),
        Column("BY", spare=1),
        Column("REASON", flex=True, spare=3),
    ]
    cells = [
        [
            view.id,
            host,
            view.direction,
            ", ".join(view.peers),
            view.state,
            count(view.moved),
            count(view.inert),
            count(view.returned),
            ago(view.at, now),
            view.author,
            view.reason,
        ]
        for host, view in rows
    ]
    return table(columns, cells, width=width())
