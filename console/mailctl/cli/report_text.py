"""Reports as people read them. Pure."""

from collections.abc import Sequence

from mailagent.api.words import command
from mailctl.cli.checkup_text import checkup_text
from mailctl.ops.checkup import Unchecked
from mailctl.ops.reports import WORST, Act, ConnectRow, DayReport, DeferralReport, DeferralRow, FlowRow, share
from mailctl.ops.routine import Routine
from mailctl.output.human import NOTHING, clock, count, percent, plural
from mailctl.output.tables import Column, table, wrapped

MOST_ACTS = 20
"""Operations of one kind that people are shown; --json has all."""
UNKNOWN = "nothing is known: no host answered"


def deferral_text(report: DeferralReport, width: int | None) -> str:
    """Providers, then domains."""
    head = (
        f"Deferrals from {clock(report.since)} to {clock(report.until)}, as t / (t + d), of more than"
        f" {plural(report.least, 'event')}"
    )
    parts = ["\n".join(wrapped(head, indent=0, width=width))]
    if not report.hosts:
        return "\n\n".join([*parts, UNKNOWN, *_gaps(report.unchecked, width)])
    for title, rows in (("PROVIDER", report.providers), ("DOMAIN", report.domains)):
        none = f"no {title.lower()} with deferrals{_as_known(report.unchecked)}"
        parts.append(_deferrals(title, rows, width) if rows else none)
    return "\n\n".join([*parts, *_gaps(report.unchecked, width)])


def _deferrals(title: str, rows: Sequence[DeferralRow], width: int | None) -> str:
    columns = [
        Column(title),
        *([Column("PROVIDER", spare=1)] if title == "DOMAIN" else []),
        *(Column(name, right=True) for name in ("SHARE", "DEFERRED", "DELIVERED")),
        Column("LEVEL"),
    ]
    cells = [
        [
            row.name,
            *([row.provider or NOTHING] if title == "DOMAIN" else []),
            percent(row.share),
            count(row.deferred),
            count(row.delivered),
            row.level,
        ]
        for row in rows
    ]
    return table(columns, cells, width=width)


def connect_text(rows: Sequence[ConnectRow], width: int | None) -> str:
    """Each provider's hosts, the nearest first."""
    if not rows:
        return "no host has opened a connection to a provider yet"
    columns = [Column("PROVIDER"), Column("HOST"), Column("REGION"), Column("MS", right=True)]
    cells = [
        ["" if row.provider == before else row.provider, row.host, row.region or NOTHING, f"{row.connect_ms:,.1f}"]
        for before, row in zip(["", *(row.provider for row in rows)], rows, strict=False)
    ]
    return table(columns, cells, width=width)


def day_text(report: DayReport, width: int | None) -> str:
    """Flows by stream, pool, provider and host; bounces, complaints, automation, operations."""
    parts = [f"From {clock(report.since)} to {clock(report.until)}"]
    if not report.hosts:
        return "\n\n".join([*parts, UNKNOWN, *_gaps(report.unchecked, width)])
    known = _as_known(report.unchecked)
    scopes = dict.fromkeys(row.scope for row in report.flows)
    parts += [_flows(scope.value, [row for row in report.flows if row.scope is scope], width) for scope in scopes]
    if not report.flows:
        parts.append(f"nothing was sent{known}")
    if report.bounces:
        bounces = [[row.category or NOTHING, count(row.count), _top(row.providers)] for row in report.bounces[:WORST]]
        parts.append(
            table([Column("BOUNCES"), Column("COUNT", right=True), Column("AT", flex=True)], bounces, width=width)
        )
    if report.complaints:
        columns = [
            Column("COMPLAINTS"),
            Column("COUNT", right=True),
            Column("SHARE", right=True),
            Column("OF", flex=True),
        ]
        complaints = [
            [
                row.provider or NOTHING,
                count(row.count),
                f"{row.count / row.delivered:.3%}" if row.delivered else NOTHING,
                _top(row.streams),
            ]
            for row in report.complaints[:WORST]
        ]
        parts.append(table(columns, complaints, width=width))
    for title, acts in (("AUTOMATION", report.automation), ("OPERATIONS", report.operations)):
        parts.append(_acts(title, acts, width) if acts else f"no {title.lower()}{known}")
    return "\n\n".join([*parts, *_gaps(report.unchecked, width)])


def routine_text(run: Routine, width: int | None) -> str:
    """One line of what it comes to, then its parts."""
    parts = [f"{run.name} routine: {run.level}", checkup_text(run.verdicts, width), deferral_text(run.deferrals, width)]
    return "\n\n".join([*parts, *([day_text(run.day, width)] if run.day else [])])


def _flows(title: str, rows: Sequence[FlowRow], width: int | None) -> str:
    late = {"RECEIVED": 1, "DELIVERED": 0, "DEFERRED": 3, "BOUNCED": 2, "DEFERRALS": 0, "BOUNCES": 0}
    columns = [Column(title.upper()), *(Column(name, right=True, late=rank) for name, rank in late.items())]
    cells = [
        [
            row.name,
            NOTHING if title == "provider" else count(row.received),
            count(row.delivered),
            count(row.deferred),
            count(row.bounced),
            percent(share(row.deferred, row.delivered)),
            percent(share(row.bounced, row.delivered)),
        ]
        for row in rows
    ]
    return table(columns, cells, width=width)


def _acts(title: str, acts: Sequence[Act], width: int | None) -> str:
    columns = [
        Column(title),
        Column("VERB"),
        Column("TARGET", flex=True),
        *([Column("BY")] if title == "OPERATIONS" else []),
        Column("HOSTS", flex=True, spare=1),
        Column("REASON", flex=True),
    ]
    cells = [
        [
            clock(act.at),
            command(act.verb, act.target),
            act.target or NOTHING,
            *([act.author] if title == "OPERATIONS" else []),
            ", ".join(act.hosts),
            act.reason or act.detail,
        ]
        for act in acts[:MOST_ACTS]
    ]
    more = f"\n({count(len(acts) - MOST_ACTS)} more; --json has all)" if len(acts) > MOST_ACTS else ""
    return table(columns, cells, width=width) + more


def _top(found: dict[str, int]) -> str:
    shown = ", ".join(f"{name or NOTHING} {count(number)}" for name, number in list(found.items())[:4])
    return f"{shown} …" if len(found) > 4 else shown


def _as_known(unchecked: Sequence[Unchecked]) -> str:
    """What is to be added to saying that there is nothing."""
    return " as far as is known" if unchecked else ""


def _gaps(unchecked: Sequence[Unchecked], width: int | None) -> list[str]:
    lines = [
        line for one in unchecked for line in wrapped(f"not known of {one.host}: {one.why}", indent=0, width=width)
    ]
    return ["\n".join(lines)] if lines else []
