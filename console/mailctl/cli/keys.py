"""What `mailctl dkim` does behind its options: gather selectors and proofs, and rotate what is due."""

import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from typing import Any

import click

from mailagent.api.dkim import DkimProof, DkimQuery, DkimSelector, DkimSelectors, SelectorState
from mailagent.api.ids import HostName
from mailagent.api.requests import Empty
from mailagent.api.targets import Target, TargetKind
from mailctl import ops
from mailctl.cli.act import confirmed, plan_text, report_text
from mailctl.cli.exits import Exit, of_plan, of_read, of_report
from mailctl.cli.narrow import narrow
from mailctl.cli.setup import Setup, leave, narrate, run, width
from mailctl.cli.show import is_beyond, selected, why
from mailctl.fleet import Fleet
from mailctl.fleet.lists import reason as why_not
from mailctl.ops import Options, Plan, Selection, StepState, TermKind, Verb
from mailctl.output.document import document
from mailctl.output.human import NOTHING, ago, until
from mailctl.output.tables import Column, table

Found = Sequence[tuple[HostName, DkimSelector]]


@dataclass(frozen=True, slots=True)
class Proof:
    """What DNS says to one host about one selector."""

    host: HostName
    target: str
    proof: DkimProof

    @property
    def row(self) -> dict[str, Any]:
        """For the document."""
        found = self.proof
        return {
            "host": self.host, "target": self.target, "name": found.name, "proven": found.proven,
            "detail": found.detail, "records": found.records,
        }  # fmt: skip


def key_table(rows: Found, width: int | None) -> str:
    """Selectors."""
    now = datetime.now(UTC)
    columns = [
        Column("DOMAIN"),
        Column("POOL"),
        Column("HOST"),
        Column("SELECTOR"),
        Column("KEY"),
        Column("STATE"),
        Column("AGE", right=True),
        Column("NOTE", flex=True),
    ]
    cells = []
    for host, row in rows:
        note = row.problem or f"by {row.origin}"
        if row.keep_until is not None:
            note = f"stays published until {row.keep_until:%Y-%m-%d %H:%M} UTC ({until(row.keep_until, now)})"
        elif row.state is SelectorState.PREPARED:
            note = f'publish {row.name}. TXT "{row.record}"'
        elif row.due:
            note = f"due to be replaced, {note}"
        age = ago(row.made_at, now) if row.made_at is not None else NOTHING
        cells.append([row.domain, row.pool, host, row.selector, f"{row.algorithm} {row.bits}", row.state, age, note])
    return table(columns, cells, width=width) if cells else "no DKIM keys"


def proof_table(rows: Sequence[Proof], width: int | None) -> str:
    """Proofs."""
    columns = [Column("HOST"), Column("NAME"), Column("PROVEN"), Column("DETAIL", flex=True)]
    cells = [[row.host, row.proof.name, "yes" if row.proof.proven else "no", row.proof.detail] for row in rows]
    return table(columns, cells, width=width) if cells else ""


async def selectors_of(
    fleet: Fleet, selection: Selection, *, deadline_s: float
) -> tuple[Found, Mapping[HostName, str]]:
    """Selectors of the selected hosts that match, and why hosts gave none."""
    names = [host.name for host in selected(fleet.state, selection)]
    answers = await fleet.ask_all("dkim", Empty(), hosts=names, deadline_s=deadline_s)
    rows = [(host, row) for host, answer in answers.items() if isinstance(answer, DkimSelectors) for row in answer.rows]
    failed = {host: why_not(answer) for host, answer in answers.items() if isinstance(answer, Exception)}
    kinds = {
        TermKind.POOL: lambda one: (one[1].pool,),
        TermKind.DOMAIN: lambda one: (one[1].domain,),
        TermKind.DKIM: lambda one: (place(one[1]),),
    }
    return narrow(rows, selection, kinds, view="dkim list"), failed


async def proofs_of(
    fleet: Fleet, selection: Selection, selector: str, *, deadline_s: float
) -> tuple[Sequence[Proof], Mapping[HostName, str]]:
    """What DNS says about `selector`, or about each prepared one."""
    rows, failed = await selectors_of(fleet, selection, deadline_s=deadline_s)
    failed = dict(failed)
    proofs = []
    for host, row in rows:
        if row.selector == selector or (not selector and row.state is SelectorState.PREPARED):
            query = DkimQuery(target=target_of(row), selector=row.selector)
            answer = (await fleet.ask_all("dkim_prove", query, hosts=[host], deadline_s=deadline_s))[host]
            if isinstance(answer, DkimProof):
                proofs.append(Proof(host, str(query.target), answer))
            else:
                failed[host] = why_not(answer)
    return proofs, failed


def place(row: DkimSelector) -> str:
    """`example.com/marketing`."""
    return f"{row.domain}/{row.pool}"


def target_of(row: DkimSelector) -> Target:
    """The target of verbs about `row`."""
    return Target(kind=TargetKind.DKIM, name=place(row))


def rotate_due(
    setup: Setup, words: Sequence[str], *, reason: str, break_lock: bool, dry_run: bool, yes: bool, as_json: bool
) -> None:
    """One step for each key that is due; does not return."""
    selection = ops.parse(words)
    options = Options(reason=reason, break_lock=break_lock)
    if not yes and not dry_run and not (sys.stdin.isatty() and sys.stderr.isatty()):
        raise click.UsageError("nobody is at the terminal to confirm; give --yes (or look with --dry-run)")

    async def work() -> Exit:
        async with setup.fleet(selection.hosts) as fleet:
            await fleet.settled(setup.timeout_s)
            rows, failed = await selectors_of(fleet, selection, deadline_s=setup.timeout_s)
            plans = [await _step(fleet, host, row, rows, options) for host, row in rows if row.due]
            for plan in plans:
                click.echo(plan_text(plan, width()), err=True)
            possible = [plan for plan in plans if plan.is_possible]
            if possible and not dry_run and not yes and not await confirmed():
                narrate("nothing was changed")
                return Exit.INTERRUPTED
            lines: list[dict[str, Any]] = []
            codes = [of_plan(plan) for plan in plans if dry_run or not plan.is_possible]
            for plan in plans:
                if dry_run or not plan.is_possible:
                    lines += [_line(plan.verb, step.host, step.target, step.state, step.detail) for step in plan.steps]
                    continue
                report = await ops.execute(fleet, plan, settle_s=setup.timeout_s)
                codes.append(of_report(report))
                lines += [_line(plan.verb, line.host, line.target, line.result, line.detail) for line in report.lines]
                if not as_json:
                    click.echo(report_text(report, width()))
            errors = [f"{host}: {text}" for host, text in failed.items()]
            mute = [host for host, text in failed.items() if not is_beyond(fleet.state, host, text)]
            answered, every = fleet.state.coverage.fresh - len(mute), fleet.state.coverage.of
            errors += [f"{h.name}: {why(h, setup.timeout_s)}" for h in fleet.state.hosts if not h.state.is_fresh]
            if as_json:
                click.echo(document("dkim rotate", fleet.state, rows=lines, errors=errors))
            elif not plans and answered:
                click.echo("no key is due" + (f" (said by {answered} of {every} hosts)" if answered < every else ""))
            for error in errors:
                narrate(error)
            if not codes:
                return of_read(fleet.state, failed=len(mute))
            whole = answered == every and all(code is Exit.DONE for code in codes)
            return Exit.DONE if whole else Exit.INCOMPLETE

    leave(run(work()))


async def _step(fleet: Fleet, host: HostName, row: DkimSelector, rows: Found, options: Options) -> Plan:
    """The next step for a key that is due: its successor waits for its record, or there is none yet."""
    successor = next(
        (
            other
            for at, other in rows
            if at == host
            and other.state is SelectorState.PREPARED
            and (place(other), other.algorithm) == (place(row), row.algorithm)
        ),
        None,
    )
    selection = ops.parse([str(target_of(row)), f"host:{host}"])
    if successor is None:
        return await ops.plan(fleet, Verb.DKIM_PREPARE, selection, replace(options, algorithm=row.algorithm))
    return await ops.plan(fleet, Verb.DKIM_SWITCH, selection, replace(options, selector=successor.selector))


def _line(verb: Verb, host: HostName, target: str, result: StepState | ops.LineResult, detail: str) -> dict[str, Any]:
    return {"host": host, "target": target, "step": verb.words, "result": result, "detail": detail}
