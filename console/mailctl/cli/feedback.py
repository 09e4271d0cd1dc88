"""`mailctl feedback`: what came back to each host, and how fast it took effect."""

from collections.abc import Sequence
from typing import TYPE_CHECKING

import click

from mailctl.cli.options import Number, as_json, selectors
from mailctl.cli.setup import Setup, pass_setup, width

if TYPE_CHECKING:
    from mailagent.api.feedback import FeedbackView
    from mailagent.api.ids import HostName
    from mailctl.cli.show import Shown
    from mailctl.fleet import Fleet
    from mailctl.ops import Selection


@click.command()
@selectors
@as_json
@click.option("--limit", default=20, show_default=True, type=Number(0, 200), help="Last events of each host.")
@pass_setup
def feedback(setup: Setup, selection: Sequence[str], as_json: bool, limit: int) -> None:
    """Show bounces and complaints that came back.

    And unsubscribes and other mail: counts, lag, the last ones.

    \b
    Examples:
      mailctl feedback
      mailctl feedback host:mx1 --json
    """
    from mailagent.api.feedback import FeedbackRequest, FeedbackView
    from mailctl.cli.narrow import narrow
    from mailctl.cli.show import Shown, selected, show
    from mailctl.fleet.lists import reason
    from mailctl.output.document import at_host

    async def look(fleet: "Fleet", selection: "Selection") -> "Shown":
        hosts = narrow(selected(fleet.state, selection), selection, {}, view="feedback")
        answers = await fleet.ask_all(
            "feedback", FeedbackRequest(limit=limit), hosts=[host.name for host in hosts], deadline_s=setup.timeout_s
        )
        found = [(host, answer) for host, answer in answers.items() if isinstance(answer, FeedbackView)]
        failed = {host: reason(answer) for host, answer in answers.items() if isinstance(answer, Exception)}
        return Shown([at_host(host, view) for host, view in found], _text(found, width()), failed=failed)

    show(setup, "feedback", selection, look, as_json=as_json)


def _text(found: "Sequence[tuple[HostName, FeedbackView]]", width: int | None) -> str:
    from datetime import UTC, datetime

    from mailctl.output.human import NOTHING, ago, count, duration, size
    from mailctl.output.tables import Column, table

    now = datetime.now(UTC)
    hosts = [
        [
            host,
            "yes" if view.listening else "no",
            count(sum(one.count for one in view.counts)),
            f"{duration(view.lag.p50_s)} / {duration(view.lag.p95_s)}" if view.lag.samples else NOTHING,
            count(view.pending),
            f"{count(view.kept)} ({size(view.kept_bytes)})",
            ", ".join(f"{number} {why}" for why, number in sorted(view.refused.items())) or "none",
        ]
        for host, view in found
    ]
    columns = [
        Column("HOST"),
        Column("LISTENS"),
        Column("CAME BACK", right=True),
        Column("LAG P50/P95"),
        Column("UNREAD", right=True),
        Column("KEPT"),
        Column("REFUSED", flex=True),
    ]
    parts = [table(columns, hosts, width=width) if hosts else "no host answered"]
    rates = [
        [
            one.stream,
            one.pool,
            one.vmta,
            one.provider,
            host,
            count(one.delivered),
            count(one.complaints),
            f"{one.complaint_share:.3%}" if one.delivered else NOTHING,
            count(one.bounces),
        ]
        for host, view in found
        for one in view.rates
    ]
    if rates:
        left = [Column(name) for name in ("STREAM", "POOL", "VMTA", "PROVIDER", "HOST")]
        right = [Column(name, right=True) for name in ("DELIVERED", "COMPLAINTS", "SHARE", "BOUNCES")]
        parts.append(table([*left, *right], rates, width=width))
    counts = [
        [count(one.count), one.kind.value, one.stream, one.pool, one.vmta, one.provider, one.job, host]
        for host, view in found
        for one in view.counts
    ]
    if counts:
        names = ("KIND", "STREAM", "POOL", "VMTA", "PROVIDER", "JOB", "HOST")
        parts.append(table([Column("COUNT", right=True), *map(Column, names)], counts, width=width))
    last = [
        [
            ago(one.at, now),
            one.kind.value,
            one.recipient or "?",
            one.message_id,
            one.type,
            one.status,
            "suppressed" if one.suppressed else "",
            one.text,
        ]
        for _, view in found
        for one in view.last
    ]
    if last:
        middle = ("KIND", "RECIPIENT", "MESSAGE", "TYPE", "STATUS", "EFFECT")
        columns = [Column("AGE", right=True), *map(Column, middle), Column("TEXT", flex=True)]
        parts.append(table(columns, last, width=width))
    return "\n\n".join(parts)


COMMANDS = (feedback,)
