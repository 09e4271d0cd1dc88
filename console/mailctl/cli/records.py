"""Reads of what hosts keep beside the mail: events to the application, history, ages, and why mail waits."""

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import click

from mailctl.cli.completion import complete_selection
from mailctl.cli.options import Duration, Number, as_json, selectors
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
    """Show lag and backlog of the application's events.

    How far the application has them, for each sink.

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

    show(setup, "events", selection, look, as_json=as_json, kinds=())


@click.command()
@selectors
@as_json
@pass_setup
def ages(setup: Setup, selection: Sequence[str], as_json: bool) -> None:
    """Show how long mail waits, per provider and stream.

    The oldest, p50, p95, and buckets of minutes as in qshape.

    \b
    Examples:
      mailctl ages
      mailctl ages provider:gmail --json
    """
    from mailctl.cli.narrow import narrow
    from mailctl.cli.record_tables import age_table
    from mailctl.cli.show import Shown, show
    from mailctl.ops import TermKind
    from mailctl.output.document import at_host

    async def look(fleet: "Fleet", selection: "Selection") -> "Shown":
        answers, failed = await _answers(setup, fleet, selection, "ages")
        kinds = {TermKind.PROVIDER: lambda row: (row[1].provider,), TermKind.STREAM: lambda row: (row[1].stream,)}
        rows = narrow([(host, row) for host, answer in answers for row in answer.rows], selection, kinds, view="ages")
        truncated = any(answer.truncated for _, answer in answers)
        return Shown([at_host(host, row) for host, row in rows], age_table(rows, width()), truncated, failed)

    show(setup, "ages", selection, look, as_json=as_json, kinds=(TermKind.PROVIDER, TermKind.STREAM))


KEPT_S = {"1s": 15 * 60, "1m": 8 * 86_400, "1h": 400 * 86_400}
"""How far back each step of the history reaches."""


@click.command()
@selectors
@click.option(
    "--step", type=click.Choice(["1s", "1m", "1h"]), default="1m", show_default=True, help="One row for each."
)
@click.option("--last", type=Duration(), help="How far back: 15m of 1s, 8d, 400d.  [default: 15m, 1h, 1d]")
@as_json
@pass_setup
def history(setup: Setup, selection: Sequence[str], step: str, last: int | None, as_json: bool) -> None:
    """Show received, delivered, deferred and bounced over time.

    Of hosts, or of what the selection names: pool:, vmta:, provider:, stream: or job:, provider: and vmta: together,
    or these two and stream:. With --json one row per host, else their sum.

    \b
    Examples:
      mailctl history --step 1h --last 7d
      mailctl history provider:gmail vmta:mkt-1 --last 2d --json
    """
    from mailagent.api.requests import HistoryRequest, HistoryScope
    from mailctl.cli.campaigns import unknown
    from mailctl.cli.record_tables import happened, history_table
    from mailctl.cli.show import Shown, show
    from mailctl.ops import parse
    from mailctl.ops.targets import check_names
    from mailctl.output.document import at_host

    step_s, usual_s, kept = {"1s": (1, 900, "15m"), "1m": (60, 3600, "8d"), "1h": (3600, 86_400, "400d")}[step]
    if last is not None and last > KEPT_S[step]:
        raise click.UsageError(f"steps of {step} are kept for {kept}; 1m reaches back 8d, 1h 400d")

    scope, name = _scope(parse(selection))

    async def look(fleet: "Fleet", selection: "Selection") -> "Shown":
        request = HistoryRequest(scope=scope, name=name, seconds=last or usual_s, step_s=step_s)
        answers, failed = await _answers(setup, fleet, selection, "history", request)
        text, missing = history_table(answers, width()), ""
        if not (failed or any(map(happened, (answer for _, answer in answers)))):
            check_names(fleet.state, fleet.config, selection)
            if scope is HistoryScope.JOB:
                missing = await unknown(fleet, name, [host for host, _ in answers], deadline_s=setup.timeout_s)
        rows = [] if missing else [at_host(host, answer) for host, answer in answers]
        return Shown(rows, "" if missing else text, failed=failed, missing=missing)

    show(setup, "history", selection, look, as_json=as_json)


@click.command()
@click.argument(
    "what", nargs=-1, metavar="queue:SITE/[VMTA] | message:ID [SELECTOR]...", shell_complete=complete_selection
)
@click.option("-n", "number", type=Number(0), help="Index of the recipient; else the first waiting one.")
@as_json
@pass_setup
def why(setup: Setup, what: Sequence[str], number: int | None, as_json: bool) -> None:
    """Say why a queue or a message waits.

    Each reason with its value and origin, the last reply, and what would release it.

    \b
    Examples:
      mailctl why queue:gmail/mkt-1
      mailctl why queue:gmail/
      mailctl why message:01K4B2T9QX3F7M2PA --json
    """
    from mailagent.api.errors import NotFound
    from mailagent.api.requests import MessageRequest
    from mailagent.api.why import WhyRequest
    from mailctl.cli.record_tables import is_there, queue_why, reason_list
    from mailctl.cli.show import Shown, selected, show
    from mailctl.fleet.lists import reason
    from mailctl.ops import TermKind, parse
    from mailctl.output.document import at_host

    chosen = parse(what)
    queues, messages = chosen.names(TermKind.QUEUE), chosen.names(TermKind.MESSAGE)
    if len(queues) + len(messages) != 1:
        raise click.UsageError("name one queue or one message: queue:gmail/mkt-1, message:01K4B2T9QX3F7M2PA")
    if queues and not queues[0].rpartition("/")[0]:
        raise click.UsageError(
            f"{queues[0]} is no queue; write SITE/VMTA, or SITE/ for all of a site: queue:gmail/mkt-1"
        )
    method = "why" if queues else "message"
    request = WhyRequest(queue=queues[0]) if queues else MessageRequest(message_id=messages[0], n=number)

    async def look(fleet: "Fleet", selection: "Selection") -> "Shown":
        names = [host.name for host in selected(fleet.state, selection)]
        answers = await fleet.ask_all(method, request, hosts=names, deadline_s=setup.timeout_s)
        found = [(host, one) for host, one in answers.items() if not isinstance(one, Exception)]
        failed = {
            host: reason(one)
            for host, one in answers.items()
            if isinstance(one, Exception) and not isinstance(one, NotFound)
        }
        if queues:
            found = [(host, one) for host, one in found if is_there(one)]
        if not found:
            asked = ", ".join(host for host in names if host not in failed) or "any host"
            look = "; `mailctl queues` lists what is ready" if queues else ""
            return Shown([], "", failed=failed, missing=f"{' '.join(what)}: not on {asked} now{look}")
        if queues:
            text = "\n\n".join(queue_why(host, one, width()) for host, one in found)
        else:
            text = "\n\n".join(reason_list(host, one.reasons, width()) for host, one in found)
        rows = [
            at_host(host, one) if queues else {"host": host, "summary": one.summary, "reasons": one.reasons}
            for host, one in found
        ]
        return Shown(rows, text, failed=failed)

    show(setup, "why", what, look, as_json=as_json, kinds=(TermKind.QUEUE, TermKind.MESSAGE))


COMMANDS = (why, ages, history, events)


def _scope(selection: "Selection") -> "tuple[HistoryScope, str]":
    """What the selection names, and how history calls it."""
    from mailagent.api.requests import HistoryScope

    named = {kind.value: name for kind, name in selection.terms if kind.value != "host"}
    for kind in selection.kinds:
        names = selection.names(kind)
        if len(names) > 1:
            raise click.UsageError(f"history is of one {kind} at a time; {' and '.join(names)} are given")
        if "*" in names[0] and kind.value != "job":
            raise click.UsageError(f"history is of one {kind} at a time; {names[0]} may be several")
    scopes: dict[tuple[str, ...], HistoryScope] = {
        (): HistoryScope.HOST,
        ("pool",): HistoryScope.POOL,
        ("vmta",): HistoryScope.VMTA,
        ("provider",): HistoryScope.PROVIDER,
        ("stream",): HistoryScope.STREAM,
        ("job",): HistoryScope.JOB,
        ("provider", "vmta"): HistoryScope.CELL,
        ("provider", "stream", "vmta"): HistoryScope.PATH,
    }
    kinds = tuple(sorted(named))
    if kinds not in scopes:
        raise click.UsageError(
            "history is kept of hosts, pool:, vmta:, provider:, stream:, job:, provider: with vmta:,"
            " and these two with stream:"
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
