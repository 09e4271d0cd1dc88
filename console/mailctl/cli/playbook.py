"""Playbooks: conditions on the figures of the fleet, and what cron does when they hold."""

from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from mailctl.cli.options import Listed, as_json
from mailctl.cli.setup import Setup, complain, leave, narrate, pass_setup, run, width

if TYPE_CHECKING:
    from mailctl.ops.playing import Played

FILE = click.Path(path_type=Path, dir_okay=False, exists=True)


@click.group(cls=Listed)
def playbook() -> None:
    """Act on conditions, from cron.

    A playbook is a file: conditions on deferrals, bounces, depth, age and states, what to do when all hold, a
    cool-down, and how many acts one run may take.
    """


@playbook.command("check")
@click.argument("files", nargs=-1, required=True, type=FILE, metavar="FILE...")
def check_files(files: tuple[Path, ...]) -> None:
    """Say every mistake of playbooks; no host is asked.

    \b
    Example:
      mailctl playbook check /etc/mailctl/playbooks/*.yaml
    """
    from mailagent.config.errors import ConfigError
    from mailctl.cli.exits import Exit
    from mailctl.ops.playbook import load_playbook

    code = Exit.DONE
    for path in files:
        try:
            found = load_playbook(path)
        except ConfigError as exc:
            complain(str(exc))
            code = Exit.USAGE
        else:
            click.echo(f"{path}: {found.name} is well")
    leave(code)


@playbook.command("run")
@click.argument("file", type=FILE)
@click.option("--dry-run", is_flag=True, help="Say what it would do, change nothing.")
@as_json
@pass_setup
def run_file(setup: Setup, file: Path, dry_run: bool, as_json: bool) -> None:
    """Look at the conditions, and act when they hold.

    Each act is an operation with the reason `playbook NAME`; guards and locks hold. Without --dry-run nobody is asked.

    \b
    Examples:
      mailctl playbook run gmail-throttles.yaml --dry-run
      mailctl playbook run gmail-throttles.yaml --json
    """
    from mailctl.cli.exits import Exit, of_read, of_results
    from mailctl.cli.show import said_by
    from mailctl.ops.own import READ_ONLY_REFUSAL
    from mailctl.ops.playbook import load_playbook
    from mailctl.ops.playing import Turn, look, play
    from mailctl.output.document import document

    found = load_playbook(file)
    if setup.read_only and not dry_run:
        complain(READ_ONLY_REFUSAL)
        leave(Exit.REFUSED)

    async def work() -> Exit:
        async with setup.fleet() as fleet:
            await fleet.settled(setup.timeout_s)
            facts = await look(fleet, found, deadline_s=setup.timeout_s)
            turns = await play(fleet, found, facts, dry_run=dry_run, settle_s=setup.timeout_s)
            silent = len({host.name for host in facts.fresh} & set(facts.sums.failed))
            errors = [f"{host}: not looked at: {why}" for host, why in facts.sums.failed.items()]
            if as_json:
                rows = [_row(found.name, one) for one in turns]
                click.echo(document("playbook", fleet.state, rows=rows, truncated=False, errors=errors))
            elif turns:
                click.echo(_table(turns, width()))
            elif text := said_by(fleet.state, f"{found.name}: its conditions do not hold", silent):
                click.echo(text)
            for error in errors:
                narrate(error)
            for turn in turns:
                if turn.report is not None and turn.report.undo_command:
                    narrate(f"undo with: {turn.report.undo_command}")
            results = {str(line.result) for turn in turns if turn.report for line in turn.report.lines}
            results |= {"refused" for turn in turns if turn.turn is Turn.IMPOSSIBLE}
            acted = of_results(results)
            return acted if acted is not Exit.DONE else of_read(fleet.state, failed=silent)

    leave(run(work()))


def _row(name: str, one: "Played") -> dict[str, Any]:
    lines = one.report.lines if one.report is not None else ()
    return {
        "playbook": name,
        "act": one.act,
        "result": one.turn,
        "because": one.because,
        "detail": one.detail,
        "op_id": one.report.op_id if one.report is not None else "",
        "command": one.plan.command if one.plan is not None else "",
        "results": [
            {"host": line.host, "target": line.target, "result": line.result, "detail": line.detail} for line in lines
        ],
    }


def _table(turns: "tuple[Played, ...]", columns: int | None) -> str:
    from mailctl.output.tables import Column, table

    head = [Column("ACT", flex=True), Column("RESULT"), Column("BECAUSE", flex=True), Column("DETAIL", flex=True)]
    return table(head, [(one.act, one.turn, "; ".join(one.because), one.detail) for one in turns], width=columns)
