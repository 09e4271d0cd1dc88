"""Tables of what hosts keep beside the mail."""

from collections.abc import Sequence
from datetime import UTC, datetime

from mailagent.api.ages import BUCKET_MINUTES, AgeView
from mailagent.api.events import EventSinkView
from mailagent.api.ids import HostName
from mailagent.api.reasons import WaitReason
from mailagent.api.views import Series
from mailagent.api.why import QueueWhy
from mailctl.output.human import NOTHING, ago, clock, count, duration, plural, printable, size, until
from mailctl.output.tables import Column, table, wrapped

_METRICS = ("received", "delivered", "deferred", "bounced")


def event_table(rows: Sequence[tuple[HostName, EventSinkView]], width: int | None) -> str:
    """Sinks of outcome events."""
    now = datetime.now(UTC)
    columns = [
        Column("SINK"),
        Column("HOST"),
        Column("STATE"),
        Column("TAKEN", right=True, spare=5),
        Column("LAG P50", right=True, spare=1),
        Column("P95", right=True),
        Column("BEHIND", right=True),
        Column("OLDEST", right=True, spare=4),
        Column("LOST", right=True, spare=3),
        Column("TARGET", flex=True, spare=2),
        Column("LAST ERROR", flex=True),
    ]
    cells = [
        [
            row.name,
            host,
            row.state,
            count(row.acknowledged),
            _seconds(row.lag_p50_s),
            _seconds(row.lag_p95_s),
            size(row.behind_bytes),
            ago(row.oldest_at, now),
            str(row.lost_files or NOTHING),
            row.target,
            row.last_error,
        ]
        for host, row in rows
    ]
    return table(columns, cells, width=width) if cells else "no event sinks are configured"


def age_table(rows: Sequence[tuple[HostName, AgeView]], width: int | None) -> str:
    """Ages of waiting mail, one row per host, provider and stream; and what the columns of minutes mean."""
    now = datetime.now(UTC)
    sums = [sum(row.buckets[n] for _, row in rows) for n in range(len(BUCKET_MINUTES) + 1)]
    minutes = [*map(str, BUCKET_MINUTES), f"{BUCKET_MINUTES[-1]}+"]
    columns = [
        Column("PROVIDER", flex=True),
        Column("STREAM", flex=True),
        Column("HOST", spare=1),
        Column("OLDEST", right=True, spare=2),
        Column("P50", right=True, spare=4),
        Column("P95", right=True, spare=3),
        Column("ALL", right=True),
        # in a narrow terminal those go first that nothing is in, the longest times before the others
        *(Column(title, right=True, spare=0 if sums[n] else 5 + n) for n, title in enumerate(minutes)),
    ]
    cells = [
        [
            row.provider or "(not known)",
            row.stream,
            host,
            ago(row.oldest_at, now),
            duration(row.p50_s),
            duration(row.p95_s),
            str(row.waiting),
            *map(str, row.buckets),
        ]
        for host, row in sorted(rows, key=lambda pair: -pair[1].waiting)
    ]
    if not cells:
        return "nothing waits"
    first = ago(min((row.oldest_at for _, row in rows if row.oldest_at), default=None), now)
    total = ["TOTAL", "", "", first, "", "", str(sum(row.waiting for _, row in rows)), *map(str, sums)]
    low, next_, last = BUCKET_MINUTES[0], BUCKET_MINUTES[1], BUCKET_MINUTES[-1]
    told = (
        f"numbers are minutes: {low} has waited up to {low}, {next_} from {low} to {next_}, {last}+ longer than {last}"
    )
    return "\n".join([table(columns, cells, total=total, width=width), *wrapped(told, indent=0, width=width)])


def reason_list(host: HostName, reasons: Sequence[WaitReason], width: int | None) -> str:
    """Reasons, the one that binds first; what follows one stands indented below it, in whole sentences."""
    now = datetime.now(UTC)
    lines = []
    for one in reasons:
        value = " ".join(filter(None, (one.key, one.value, f"({one.origin})" if one.origin else "")))
        end = _end(one.until, now)
        lines.append(f"{one.kind}: {', '.join(filter(None, (value, end))) or one.detail}")
        below = [one.detail if value or end else ""]
        below += [
            f"reply: {one.reply.line()}"
            if one.reply and one.reply.text not in one.release
            else ""  # a rule tells it,
            f"released by: {one.release}"
            if one.release
            else "",
        ]
        for text in filter(None, below):
            lines += wrapped(printable(text), indent=2, width=width)
    return "\n".join([f"{host}:", *lines]) if lines else f"{host}: nothing holds it"


def _end(moment: datetime | None, now: datetime) -> str:
    """`until 14:05:00, in 4m`; of one that has come, that it is due."""
    if moment is None:
        return ""
    return f"until {clock(moment)}, {until(moment, now)}" if moment > now else f"due since {clock(moment)}"


def is_there(why: QueueWhy) -> bool:
    """Whether a host has anything of the queue."""
    return bool(why.provider or why.reasons or why.ready or why.deferred)


def queue_why(host: HostName, why: QueueWhy, width: int | None) -> str:
    """One queue: its state, what holds it, the limits that it runs under, and the replies behind what is deferred."""
    now = datetime.now(UTC)
    head = (
        f"{why.key} on {host}: provider {why.provider or NOTHING}, pool {why.pool or NOTHING}, "
        f"{count(why.ready)} ready, {plural(why.connections, 'connection')}, {count(why.deferred)} deferred"
        + (f", next try {until(why.next_try_at, now)}" if why.next_try_at else "")
    )
    parts = ["\n".join(wrapped(head, indent=0, width=width)), reason_list(host, why.reasons, width)]
    if why.limits:
        columns = [Column("LIMIT"), Column("VALUE", right=True), Column("ORIGIN", flex=True)]
        parts.append(table(columns, [[one.name, one.value, one.origin] for one in why.limits], width=width))
    if why.groups:
        columns = [Column("DEFERRED", right=True), Column("NEXT TRY"), Column("LAST REPLY", flex=True)]
        cells = [
            [count(one.count), until(one.next_try_at, now), f"{one.code or '---'} {one.enhanced} {one.sample}"]
            for one in why.groups
        ]
        parts.append(table(columns, cells, width=width))
    return "\n\n".join(parts)


def happened(series: Series) -> bool:
    """Whether anything was counted."""
    return any(any(getattr(series, name)) for name in _METRICS)


def history_table(series: Sequence[tuple[HostName, Series]], width: int | None) -> str:
    """Counts over time, summed over hosts; steps in which nothing happened are left out."""
    columns = [Column("FROM"), *(Column(name.upper(), right=True) for name in _METRICS)]
    sums: dict[int, list[int]] = {}
    for _, one in series:
        start = int(one.start.timestamp())
        for metric, name in enumerate(_METRICS):
            for n, value in enumerate(getattr(one, name)):
                if value:
                    sums.setdefault(start + n * one.step_s, [0, 0, 0, 0])[metric] += value
    cells = [[clock(datetime.fromtimestamp(at, UTC)), *map(count, sums[at])] for at in sorted(sums)]
    total = ["sum", *(count(sum(values[metric] for values in sums.values())) for metric in range(len(_METRICS)))]
    return (
        table(columns, cells, total=total, width=width)
        if cells
        else "nothing happened in that time; the step under way is not counted yet"
    )


def _seconds(value: float | None) -> str:
    return NOTHING if value is None else f"{value:.1f}s"
