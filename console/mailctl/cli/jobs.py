"""`mailctl jobs` and `mailctl job`: campaigns by their X-Job, over all hosts."""

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import click

from mailctl.cli.options import Command, Duration, Listed, Moment, Number, RateWord, as_json, selectors
from mailctl.cli.setup import Setup, pass_setup, width
from mailctl.cli.verbs import common, hand_over

if TYPE_CHECKING:
    from mailctl.cli.show import Shown
    from mailctl.fleet import Fleet
    from mailctl.ops import Selection


@click.command()
@selectors
@as_json
@pass_setup
def jobs(setup: Setup, selection: Sequence[str], as_json: bool) -> None:
    """List jobs: progress, pace, window, and what holds them.

    Each is summed over hosts; with --json one row per job and host.

    \b
    Examples:
      mailctl jobs
      mailctl jobs job:spring-sale host:mx1 --json
    """
    from mailctl.cli.campaigns import job_table, jobs_of, nowhere
    from mailctl.cli.show import Shown, selected, show
    from mailctl.ops import TermKind
    from mailctl.output.document import at_host

    async def look(fleet: "Fleet", selection: "Selection") -> "Shown":
        rows, failed, truncated = await jobs_of(fleet, selection, deadline_s=setup.timeout_s)
        if not rows and (names := selection.names(TermKind.JOB)):
            hosts = [host.name for host in selected(fleet.state, selection)]
            return Shown([], "", truncated, failed, nowhere(names, hosts, failed))
        return Shown([at_host(host, row) for host, row in rows], job_table(rows, width()), truncated, failed)

    show(setup, "jobs", selection, look, as_json=as_json)


@click.group(cls=Listed)
def job() -> None:
    """Look at one job, and pause, pace, start, end or cancel it.

    A job is all mail with the same X-Job. It is there from its first mail on, or from the first order about it.
    NAME may stand with or without `job:`, and `host:` narrows.

    \b
    Examples:
      mailctl job pause spring-sale --reason "wrong price"
      mailctl job set spring-sale --start 2026-07-01T09:00:00Z --end +12h --rate 50/s
    """


def _names(command: Command) -> Command:
    return click.argument("names", nargs=-1, required=True, metavar="NAME...")(command)


@job.command()
@_names
@as_json
@pass_setup
def show(setup: Setup, names: Sequence[str], as_json: bool) -> None:
    """Show one job: progress on each host, and why it is not done.

    \b
    Example:
      mailctl job show spring-sale
    """
    from mailctl.cli import show as frame
    from mailctl.cli.campaigns import detail_text, details_of

    async def look(fleet: "Fleet", selection: "Selection") -> "Shown":
        rows, failed, missing = await details_of(fleet, selection, deadline_s=setup.timeout_s)
        found = [{"host": host, "job": one.job, "reasons": one.reasons, "deferred": one.deferred} for host, one in rows]
        return frame.Shown(found, detail_text(rows, width()), failed=failed, missing=missing)

    frame.show(setup, "job show", _terms(names), look, as_json=as_json)


@job.command()
@_names
@click.option("--for", "ttl_s", type=Duration(), help="How long, such as 30m. [default: until resumed]")
@common
@pass_setup
def pause(setup: Setup, /, **given: Any) -> None:
    """Hold what waits of a job, and what comes.

    \b
    Example:
      mailctl job pause spring-sale --reason "wrong price"
    """
    _act(setup, "suspend", words="job pause", **given)


@job.command()
@_names
@common
@pass_setup
def resume(setup: Setup, /, **given: Any) -> None:
    """End a pause.

    \b
    Example:
      mailctl job resume spring-sale
    """
    _act(setup, "resume", words="job resume", **given)


_rate = click.option(
    "--rate", type=RateWord(), default="", help="Most recipients on each host, such as 50/s; `none` lifts it."
)


@job.command("set")
@_names
@click.option("--start", type=Moment(), help="Hold it until then: a time, `now`, or such as +2h.")
@click.option("--end", type=Moment(), help="Hold what is left from then on.")
@_rate
@common
@pass_setup
def put(setup: Setup, /, **given: Any) -> None:
    """Give a job a start, an end or a rate, also before its first mail.

    \b
    Examples:
      mailctl job set spring-sale --start 2026-07-01T09:00:00Z --end 2026-07-01T18:00:00Z
      mailctl job set spring-sale --start now
    """
    _act(setup, "job_set", **given)


@job.command()
@_names
@click.argument("rate", type=RateWord(), metavar="RATE")
@common
@pass_setup
def limit(setup: Setup, /, **given: Any) -> None:
    """Give a job a rate on each host; `none` lifts it.

    \b
    Examples:
      mailctl job limit spring-sale 50/s
      mailctl job limit spring-sale host:mx1 none
    """
    _act(setup, "job_set", words="job limit", **given)


@job.command()
@_names
@click.option("--bounce", is_flag=True, help="Send a DSN for each; without it nobody is told.")
@click.option("--max-affected", type=Number(0), help="Refuse when more recipients wait.")
@common
@pass_setup
def cancel(setup: Setup, /, **given: Any) -> None:
    """Give up what waits of a job, and refuse new mail of it. Cannot be undone.

    \b
    Example:
      mailctl job cancel spring-sale --reason "wrong list"
    """
    _act(setup, "job_cancel", **given)


def _terms(names: Sequence[str]) -> tuple[str, ...]:
    from mailctl.ops import TermKind

    for name in names:
        kind, colon, rest = name.partition(":")
        if colon and kind in set(TermKind) - {TermKind.JOB, TermKind.HOST}:
            raise click.UsageError(f"{name}: only job: and host: belong here; a job of that name is job:{kind}:{rest}")
    return tuple(name if name.startswith(("job:", "host:")) else f"job:{name}" for name in names)


def _act(setup: Setup, verb: str, *, names: Sequence[str], **given: Any) -> None:
    hand_over(setup, verb, selection=_terms(names), **given)
