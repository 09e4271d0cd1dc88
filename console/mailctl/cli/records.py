"""Reads of what hosts keep beside the mail: events to the application, history, ages."""

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import click

from mailctl.cli.options import Duration, as_json, selectors
from mailctl.cli.setup import Setup, pass_setup, width

if TYPE_CHECKING:
    import msgspec

    from mailagent.api.ids import HostName
    from mailagent.api.requests import HistoryScope
    from mailctl.fleet import Fleet
    from mailctl.ops import Selection


@click.command()
@selectors
@as_json
@pass_setup
def events(setup: Setup, selection: Sequence[str], as_json: bool) -> None:
    """Show how far the application has its events: state, lag, backlog of each sink.

    \b
    Example:
      mailctl events host:mx1 --json
    """
    from mailctl.cli.record_tables import event_table
    from mailctl.cli.show import Shown, show
    from mailctl.output.document import at_host

    async def look(fleet: "Fleet", selection: "Selection") -> "Shown":
        answers, failed = await _answers(setup, fleet, selection, "events")
        rows = [(host, row) for host, answer in answers for row in answer.rows]
        return Shown([at_host(host, row) for host, row in rows], event_table(rows, width()), failed=failed)

    show(setup, "events", selection, look, as_json=as_json)


@click.command()
@selectors
@as_json
@pass_setup
def ages(setup: Setup, selection: Sequence[str], as_json: bool) -> None:
    """Show how long mail waits, per provider and stream: oldest, p50, p95, and buckets of minutes as in qshape.

    \b
    Examples:
      mailctl ages
      mailctl ages provider:gmail --json
    """
    from mailctl.cli.record_tables import age_table
    from mailctl.cli.show import Shown, show
    from mailctl.ops import TermKind
    from mailctl.output.document import at_host

    async def look(fleet: "Fleet", selection: "Selection") -> "Shown":
        answers, failed = await _answers(setup, fleet, selection, "ages")
        providers, streams = selection.names(TermKind.PROVIDER), selection.names(TermKind.STREAM)
        rows = [
            (host, row)
            for host, answer in answers
            for row in answer.rows
            if (not providers or row.provider in providers) and (not streams or row.stream in streams)
        ]
        truncated = any(answer.truncated for _, answer in answers)
        return Shown([at_host(host, row) for host, row in rows], age_table(rows, width()), truncated, failed)

    show(setup, "ages", selection, look, as_json=as_json)


@click.command()
@selectors
@click.option("--job", default="", help="The history of a job.")
@click.option(
    "--step", type=click.Choice(["1s", "1m", "1h"]), default="1m", show_default=True, help="One row for each."
)
@click.option("--last", type=Duration(), default="1h", show_default=True, help="How far back: 15m of 1s, 8d, 400d.")
@as_json
@pass_setup
def history(setup: Setup, selection: Sequence[str], job: str, step: str, last: int, as_json: bool) -> None:
    """Show received, delivered, deferred and bounced over time.

    Of hosts, or of what the selection names: pool:, vmta:, provider: or stream:, provider: and vmta: together, these
    two and stream:, or --job. With --json one row per host, else their sum.

    \b
    Examples:
      mailctl history --step 1h --last 7d
      mailctl history provider:gmail vmta:mkt-1 --last 2d --json
    """
    from mailagent.api.requests import HistoryRequest
    from mailctl.cli.record_tables import history_table
    from mailctl.cli.show import Shown, show
    from mailctl.output.document import at_host

    step_s = {"1s": 1, "1m": 60, "1h": 3600}[step]

    async def look(fleet: "Fleet", selection: "Selection") -> "Shown":
        scope, name = _scope(selection, job)
        request = HistoryRequest(scope=scope, name=name, seconds=last, step_s=step_s)
        answers, failed = await _answers(setup, fleet, selection, "history", request)
        return Shown(
            [at_host(host, answer) for host, answer in answers], history_table(answers, width()), failed=failed
        )

    show(setup, "history", selection, look, as_json=as_json)


COMMANDS = (ages, history, events)


def _scope(selection: "Selection", job: str) -> "tuple[HistoryScope, str]":
    """What the selection names, and how history calls it."""
    from mailagent.api.requests import HistoryScope

    named = {kind.value: name for kind, name in selection.terms if kind.value != "host"}
    scopes: dict[tuple[str, ...], HistoryScope] = {
        (): HistoryScope.HOST,
        ("pool",): HistoryScope.POOL,
        ("vmta",): HistoryScope.VMTA,
        ("provider",): HistoryScope.PROVIDER,
        ("stream",): HistoryScope.STREAM,
        ("provider", "vmta"): HistoryScope.CELL,
        ("provider", "stream", "vmta"): HistoryScope.PATH,
    }
    if job and not named:
        return HistoryScope.JOB, job
    kinds = tuple(sorted(named))
    if job or kinds not in scopes:
        raise click.UsageError(
            "history is kept of hosts, pool:, vmta:, provider:, stream:, provider: with vmta:, these two with stream:,"
            " and --job"
        )
    return scopes[kinds], "/".join(named[kind] for kind in kinds)


async def _answers(
    setup: Setup, fleet: "Fleet", selection: "Selection", method: str, request: "msgspec.Struct | None" = None
) -> "tuple[list[tuple[HostName, Any]], dict[HostName, str]]":
    """What the connected hosts of the selection answer, and why others do not."""
    from mailagent.api.requests import Empty
    from mailctl.cli.show import selected
    from mailctl.fleet.lists import reason

    names = [host.name for host in selected(fleet.state, selection)]
    answers = await fleet.ask_all(method, request or Empty(), hosts=names, deadline_s=setup.timeout_s)
    good = [(host, answer) for host, answer in answers.items() if not isinstance(answer, Exception)]
    return good, {host: reason(answer) for host, answer in answers.items() if isinstance(answer, Exception)}
