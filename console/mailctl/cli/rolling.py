"""`mailctl apply`, from its plan to its exit code."""

import sys
from collections.abc import Sequence

import click

from mailagent.api.ids import OpId
from mailctl import ops
from mailctl.cli.act import confirmed, dry, operation_of, plan_text, report_text
from mailctl.cli.exits import Exit, of_report
from mailctl.cli.rollout_text import plans_text
from mailctl.cli.setup import Setup, leave, narrate, run, width
from mailctl.fleet import Fleet
from mailctl.ops import Course, HostPlan, Options, Plan, RolledOut
from mailctl.output.document import HostResult, document


def roll(
    setup: Setup,
    *,
    selection: Sequence[str],
    everything: bool,
    canaries: tuple[str, ...],
    batch: str,
    pause_s: int,
    max_deferral: float,
    roll_back: bool,
    restart: bool,
    force: bool,
    undoes: str,
    reason: str,
    key: str,
    break_lock: bool,
    dry_run: bool,
    yes: bool,
    as_json: bool,
) -> None:
    """Plan, confirm, roll out, report; does not return."""
    course = Course(canaries=canaries, batch=batch, pause_s=pause_s, max_deferral=max_deferral, roll_back=roll_back)
    options = Options(reason=reason, key=key, break_lock=break_lock, override=force, everything=everything)
    if not yes and not dry_run and not (sys.stdin.isatty() and sys.stderr.isatty()):
        raise click.UsageError("nobody is at the terminal to confirm; give --yes (or look with --dry-run)")

    async def work() -> Exit:
        async with setup.fleet() as fleet:
            chosen = ops.parse(selection)
            await fleet.settled(setup.timeout_s, hosts=chosen.hosts)
            compared: tuple[HostPlan, ...] = ()
            if undoes:
                plan = await ops.plan_undo_apply(fleet, OpId(undoes), chosen, options, course, restart=restart)
            else:
                plan, compared = await ops.plan_apply(fleet, chosen, options, course, restart=restart)
            if dry_run:
                if compared and not as_json:
                    click.echo(plans_text(compared, width()))
                return dry(setup, fleet, plan, as_json=as_json)
            columns = width() if sys.stderr.isatty() else None
            if compared:
                click.echo(plans_text(compared, columns), err=True)
            click.echo(plan_text(plan, columns), err=True)
            if plan.is_possible and not yes and not await confirmed():
                narrate("nothing was changed")
                return Exit.INTERRUPTED
            done = await ops.roll_out(
                fleet, plan, course, settle_s=setup.timeout_s, progress=lambda now: narrate(str(now))
            )
            return _tell(fleet, plan, done, as_json=as_json)

    try:
        code = run(work())
    except KeyboardInterrupt:
        narrate("interrupted; what was applied by then stands (see mailctl plan)")
        raise
    leave(code)


def _tell(fleet: Fleet, plan: Plan, done: RolledOut, *, as_json: bool) -> Exit:
    report, back = done.report, done.rolled_back
    errors = [f"stopped: {done.stopped}"] if done.stopped else []
    if back is not None:
        errors.append(f"rolled back: {back.summary}")
    if as_json:
        results = tuple(
            HostResult(host=line.host, target=line.target, result=line.result, detail=line.detail)
            for line in (*report.lines, *(back.lines if back else ()))
        )
        click.echo(
            document(
                plan.verb.words,
                fleet.state,
                operation=operation_of(plan, results, undo=report.undo_command),
                errors=errors,
                hosts={step.host for step in plan.steps},
            )
        )
    else:
        click.echo(report_text(report, width()))
        if back is not None:
            click.echo(report_text(back, width()))
    narrate(f"{plan.title}: {report.summary}")
    for error in errors:
        narrate(error)
    if report.undo_command and back is None:
        narrate(f"undo with: {report.undo_command}")
    code = of_report(report)
    return Exit.INCOMPLETE if done.stopped and code is Exit.DONE else code
