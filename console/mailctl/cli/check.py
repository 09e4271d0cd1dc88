"""`mailctl check`: the thresholds of the fleet file against the fleet."""

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import click

from mailctl.cli.options import as_json, selectors
from mailctl.cli.setup import Setup, pass_setup, run, width

if TYPE_CHECKING:
    from mailctl.cli.show import Shown
    from mailctl.fleet import Fleet
    from mailctl.ops import Selection
    from mailctl.ops.checkup import Verdict


class _Plugin(click.Command):
    """With --nagios every end is one of that protocol: what goes wrong is UNKNOWN, exit 3."""

    def make_context(self, info_name: str | None, args: list[str], *rest: Any, **extra: Any) -> click.Context:
        try:
            return super().make_context(info_name, list(args), *rest, **extra)
        except click.UsageError as exc:
            _give_up(exc.format_message(), as_plugin="--nagios" in args)
            raise

    def invoke(self, ctx: click.Context) -> Any:
        try:
            return super().invoke(ctx)
        except Exception as exc:
            if not isinstance(exc, click.exceptions.Exit):
                message = exc.format_message() if isinstance(exc, click.ClickException) else str(exc)
                _give_up(message, as_plugin=ctx.params.get("as_plugin", False))
            raise


def _give_up(message: str, *, as_plugin: bool) -> None:
    if as_plugin:
        from mailctl.cli.nagios import problem

        click.echo(problem(message))
        raise click.exceptions.Exit(3)


@click.command(cls=_Plugin)
@selectors
@click.option("--nagios", "as_plugin", is_flag=True, help="One line with performance data; exit 0, 1, 2 or 3.")
@as_json
@pass_setup
def check(setup: Setup, selection: Sequence[str], as_plugin: bool, as_json: bool) -> None:
    """Measure the fleet by its thresholds.

    They stand under `thresholds` in the fleet file. Exit 5: one was crossed; 1: a host could not be looked at.

    \b
    Examples:
      mailctl check
      mailctl check host:mx1 --json
      mailctl check --nagios
    """
    from mailctl.cli.checkup_text import checkup_text
    from mailctl.cli.nagios import nagios
    from mailctl.cli.narrow import narrow
    from mailctl.cli.show import Shown, show
    from mailctl.ops import parse
    from mailctl.ops.checkup import Level

    if as_plugin and as_json:
        raise click.UsageError("--nagios and --json are two forms of one answer")
    narrow((), parse(selection), {}, view="check")
    if as_plugin:
        line, code = nagios(run(_alone(setup, parse(selection))))
        click.echo(line)
        raise click.exceptions.Exit(code)

    async def look(fleet: "Fleet", selection: "Selection") -> "Shown":
        verdicts, partial = await verdicts_of(setup, fleet, selection)
        crossed = any(one.level in (Level.WARNING, Level.CRITICAL) for one in verdicts)
        return Shown(verdicts, checkup_text(verdicts, width()), partial=partial, crossed=crossed)

    show(setup, "check", selection, look, as_json=as_json)


async def _alone(setup: Setup, selection: "Selection") -> "Sequence[Verdict]":
    async with setup.fleet(selection.hosts) as fleet:
        await fleet.settled(setup.timeout_s)
        verdicts, _ = await verdicts_of(setup, fleet, selection)
        return verdicts


async def verdicts_of(
    setup: Setup, fleet: "Fleet", selection: "Selection"
) -> "tuple[Sequence[Verdict], dict[Any, str]]":
    """The verdicts, and connected hosts that left a question open."""
    from mailctl.ops.checkup import checkup
    from mailctl.ops.facts import gather_facts

    thresholds = fleet.config.thresholds
    facts = await gather_facts(fleet, selection.hosts, thresholds, deadline_s=setup.timeout_s)
    fresh = {host.name for host in facts.fresh}
    answers = (facts.sums, facts.ages, facts.in_doubt, facts.events, facts.suppressions)
    failed = {host: why for one in answers for host, why in one.failed.items() if host in fresh}
    return checkup(facts, thresholds), failed
