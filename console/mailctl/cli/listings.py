"""Tables of lists that live on the hosts, and one message in full."""

from collections.abc import Collection, Sequence
from datetime import UTC, datetime
from typing import Any

from mailagent.api.automation import RuleView, WouldAct
from mailagent.api.directives import Directive
from mailagent.api.ids import HostName
from mailagent.api.operations import OperationRecord
from mailagent.api.parts import MessageParts
from mailagent.api.reasons import WaitReason
from mailagent.api.targets import TargetKind
from mailagent.api.views import InDoubt, MessageDetail, MessageSummary, QueueView
from mailagent.api.words import command
from mailctl.cli.rows import binding
from mailctl.fleet.lists import FleetGroup
from mailctl.ops.acts import by_operation, operation_of, undo_words
from mailctl.ops.filters import described
from mailctl.output.human import NOTHING, ago, clock, count, duration, printable, size, until
from mailctl.output.tables import Column, fields, table, wrapped
from mailctl.output.tables import cells as cells_of

Rows = Sequence[tuple[HostName, Any]]


def queue_table(rows: Rows, width: int | None) -> str:
    """Ready queues."""
    columns = [
        Column("QUEUE", flex=True),
        Column("PROVIDER", spare=3),
        Column("HOST", spare=1),
        Column("READY", right=True),
        Column("CONNS", right=True, late=1),
        Column("PER CONN", right=True, spare=4),
        Column("RATE", right=True, spare=2),
        Column("BINDS", flex=True),
    ]
    cells = []
    for host, row in rows:
        queue: QueueView = row
        cells.append(
            [
                queue.key,
                queue.provider,
                host,
                count(queue.ready),
                f"{queue.connections}/{queue.connection_limit or '∞'}",
                str(queue.messages_per_connection or "∞"),
                queue.rate_limit or "∞",
                binding(queue.binding),
            ]
        )
    return table(columns, cells, width=width) if cells else "no ready queues"


def group_table(groups: Sequence[FleetGroup], width: int | None) -> str:
    """Deferred groups."""
    now = datetime.now(UTC)
    columns = [
        Column("COUNT", right=True),
        Column("PROVIDER"),
        Column("MEANS"),
        Column("REPLY", flex=True),
        Column("OLDEST", right=True, late=2),
        Column("NEXT TRY", late=1),
        Column("HOSTS", spare=1),
        Column("GROUP", spare=2),
    ]
    cells = [
        [
            count(group.count),
            group.provider,
            group.category or "",
            f"{group.code or '---'} {group.enhanced} {group.text}".replace("  ", " "),
            ago(group.oldest_at, now),
            f"{count(group.held)} held" if group.held else until(group.next_try_at, now),
            " ".join(group.hosts),
            group.key,
        ]
        for group in groups
    ]
    return table(columns, cells, width=width) if cells else "nothing is deferred"


def message_table(rows: Rows, width: int | None) -> str:
    """Waiting recipients."""
    now = datetime.now(UTC)
    columns = [
        Column("MESSAGE"),
        Column("N", right=True, spare=2),
        Column("RECIPIENT", flex=True),
        Column("POOL", spare=5),
        Column("VMTA", late=1),
        Column("HOST", spare=4),
        Column("TRIES", right=True, spare=1),
        Column("AGE", right=True, spare=3),
        Column("NEXT TRY"),
        Column("LAST REPLY", flex=True),
    ]
    cells = []
    for host, row in rows:
        message: MessageSummary = row
        cells.append(
            [
                message.message_id,
                str(message.n),
                message.recipient,
                message.pool,
                message.vmta,
                host,
                str(message.attempts),
                ago(message.received_at, now),
                "held" if message.held else _next_try(message, now),
                message.reply.line() if message.reply else "",
            ]
        )
    return table(columns, cells, width=width) if cells else "no message waits"


def _next_try(message: MessageSummary, now: datetime) -> str:
    """When it is tried next, if anybody can tell."""
    return NOTHING if "next_try_at" in message.unknown else until(message.next_try_at, now)


def message_parts(found: MessageParts, width: int | None) -> str:
    """The parts of a message, or the text of the one that was asked for, harmless."""
    if found.part is not None:
        lines = [printable(line) for line in found.text.split("\n")]
        return "\n".join([*lines, *(["[cut here]"] if found.text_truncated else [])])
    columns = [Column("PART", right=True), Column("TYPE"), Column("SIZE", right=True), Column("NAME", flex=True)]
    cells = [[str(one.n), one.kind, size(one.octets), one.name] for one in found.parts]
    return table(columns, cells, width=width) + ("\n(only its start was looked at)" if found.truncated else "")


def _next_try_of(message: MessageSummary, now: datetime) -> str:
    """In words, with the moment."""
    if message.held:
        return "none while it is held"
    if "next_try_at" in message.unknown:
        return "its engine does not tell"
    return f"{until(message.next_try_at, now)} ({clock(message.next_try_at)})"


def message_detail(host: HostName, detail: MessageDetail, width: int | None) -> str:
    """One message in full: what an operator asks first stands first."""
    now = datetime.now(UTC)
    summary = detail.summary
    parts = [
        fields(
            [
                ("message", f"{summary.message_id} (recipient {summary.n} of {detail.recipients} still waiting)"),
                ("host", host),
                ("waits for", "\n".join(map(_reason, detail.reasons)) or "nothing: it is on its way"),
                ("next try", _next_try_of(summary, now)),
                ("expires", f"{until(summary.expires_at, now)} ({clock(summary.expires_at)})"),
                ("recipient", summary.recipient),
                *([("sent to", detail.original)] if detail.original not in ("", summary.recipient) else []),
                ("sender", summary.sender or "<>"),
                (
                    "arrived",
                    f"{clock(summary.received_at)} from {detail.client or 'this host'}, {size(summary.size_bytes)}",
                ),
                ("stream, pool", f"{summary.stream or NOTHING}, {summary.pool or NOTHING}"),
                ("site", f"{summary.site or 'not looked up yet'} ({summary.provider or summary.domain})"),
                *([("job", detail.job)] if detail.job else []),
                *([("in doubt", "yes: it may have arrived already")] if detail.in_doubt else []),
            ],
            width,
        )
    ]
    if detail.attempts:
        columns = [
            Column("TRY", right=True),
            Column("AT"),
            Column("VMTA"),
            Column("PEER"),
            Column("TOOK"),
            Column("MEANS"),
            Column("REPLY"),
        ]
        cells = [
            [
                str(attempt.number),
                clock(attempt.at),
                f"{attempt.vmta} {attempt.source}".rstrip(),
                f"{attempt.mx} {attempt.remote}".strip() or attempt.site,
                duration(attempt.duration_s),
                f"{attempt.verdict.category} ({attempt.verdict.rule})" if attempt.verdict is not None else "",
                f"{attempt.reply.verb} {attempt.reply.line()}{' (ours)' if attempt.reply.local else ''}",
            ]
            for attempt in detail.attempts
        ]
        parts.append(_whole(columns, cells, width))
    headers = detail.headers.replace("\r\n", "\n").rstrip("\n")
    parts.append(fields([("headers", headers + ("\n… (cut)" if detail.headers_truncated else ""))]))
    return "\n\n".join(parts)


def _whole(columns: Sequence[Column], rows: Sequence[Sequence[str]], width: int | None) -> str:
    """A table, or where it is wider than the terminal each row as lines, the last cell below the others."""
    text = table(columns, rows)
    if width is None or all(cells_of(line) <= width for line in text.split("\n")):
        return text
    lines = []
    for *cells, last in rows:
        lines += wrapped(printable("  ".join(filter(None, cells))), indent=0, width=width)
        lines += wrapped(printable(last), indent=4, width=width)
    return "\n".join(lines)


def operation_table(rows: Sequence[tuple[HostName, OperationRecord]], live: Collection[str], width: int | None) -> str:
    """Executed operations; one line for what is the same on several hosts. `live`: orders that stand."""
    now = datetime.now(UTC)
    columns = [
        Column("AGE", right=True, late=2),
        Column("OPERATION"),
        Column("VERB"),
        Column("TARGET", flex=True),
        Column("HOSTS", flex=True, spare=1),
        Column("BY", spare=2),
        Column("RESULT"),
        Column("UNDO", spare=3),
        Column("REASON", flex=True, late=1),
    ]
    cells = []
    for parts in by_operation(rows):
        record = parts[0][1]
        undo = " ".join(dict.fromkeys(undo_words(one, live) for _, one in parts))
        cells.append(
            [
                ago(record.at, now),
                operation_of(record),
                command(record.verb, record.target),
                _about(record, alone=len(parts) == 1),
                " ".join(sorted({host for host, _ in parts})),
                record.author,
                record.result,
                undo,
                record.reason,
            ]
        )
    return (
        table(columns, cells, width=width)
        if cells
        else "nobody ordered anything in the last 7 days; --all has what agents did by themselves"
    )


def _about(record: OperationRecord, *, alone: bool) -> str:
    """Its target; of several hosts' records, each about its own host, nothing."""
    if record.target is None:
        return _filter(record)
    return str(record.target) if alone or record.target.kind is not TargetKind.HOST else NOTHING


def record_table(
    rows: Sequence[tuple[HostName, OperationRecord]],
    without: Sequence[str],
    live: Collection[str],
    width: int | None,
) -> str:
    """What one operation did on each host; hosts without a record last."""
    columns = [
        Column("HOST"),
        Column("VERB"),
        Column("TARGET", flex=True),
        Column("RESULT"),
        Column("AT"),
        Column("BY", spare=1),
        Column("UNDO", spare=2),
        Column("DETAIL", flex=True),
    ]
    cells = [
        [
            host,
            command(record.verb, record.target),
            str(record.target) if record.target else _filter(record),
            record.result,
            f"{record.at:%Y-%m-%d %H:%M:%S} UTC",
            record.author,
            undo_words(record, live),
            record.detail,
        ]
        for host, record in rows
    ]
    cells += [[host, "", "", "not executed", "", "", "", ""] for host in without]
    return table(columns, cells, width=width)


def in_doubt_table(rows: Rows, width: int | None) -> str:
    """Possible duplicates."""
    columns = [
        Column("MESSAGE"),
        Column("N", right=True, spare=1),
        Column("RECIPIENT", flex=True),
        Column("AT"),
        Column("VMTA", spare=3),
        Column("SITE", spare=4),
        Column("PEER"),
        Column("HOST", spare=2),
        Column("SINCE THEN"),
    ]
    cells = []
    for host, row in rows:
        doubt: InDoubt = row
        cells.append(
            [
                doubt.message_id,
                str(doubt.n),
                doubt.recipient,
                clock(doubt.at),
                doubt.vmta,
                doubt.site,
                doubt.remote,
                host,
                doubt.resolution,
            ]
        )
    return table(columns, cells, width=width) if cells else "nothing is in doubt"


def _reason(reason: WaitReason) -> str:
    release = f"; released by {reason.release}" if reason.release else ""
    return binding(reason) + release


def _filter(record: OperationRecord) -> str:
    """The filter of a verb on messages as a selection."""
    if record.filter is None:
        return ""
    return described(record.filter) or "all deferred mail"


def act_table(rows: Rows, width: int | None) -> str:
    """What automation holds."""
    columns = [
        Column("ID"),
        Column("HOST", spare=3),
        Column("TARGET"),
        Column("ORDER", flex=True),
        Column("RULE", flex=True, spare=1),
        Column("AGE", right=True, spare=4),
        Column("ENDS", late=1),
        Column("REPLY", flex=True, spare=2),
    ]
    now = datetime.now(UTC)
    cells = []
    for host, row in rows:
        one: Directive = row
        order = f"{one.limit} {one.value}" + (f" of {one.base}" if one.base else "") if one.limit else str(one.kind)
        ends = until(one.expires_at, now) if one.expires_at else "by undo"
        mark = " (pinned)" if one.pinned else ""
        cells.append([one.id, host, str(one.target), order + mark, one.rule, ago(one.created_at, now), ends, one.reply])
    return table(columns, cells, width=width) if cells else "automation holds nothing"


def block_list_table(rows: Rows, width: int | None, *, asked: int) -> str:
    """Addresses and block lists; `asked`: how many pairs there are on these hosts in all."""
    if not asked:
        return "no list is asked: name some in reputation.block_lists of the fleet file"
    if not rows:
        return "on no list"
    columns = [
        Column("HOST", spare=3),
        Column("VIRTUAL MTA"),
        Column("ADDRESS", spare=2),
        Column("LIST"),
        Column("WEIGHT", spare=4),
        Column("STATE"),
        Column("SINCE", right=True, spare=1),
        Column("ASKED", right=True, spare=5),
        Column("DETAIL", flex=True),
    ]
    now = datetime.now(UTC)
    cells = [
        [
            host,
            one.vmta,
            one.address,
            one.zone,
            one.weight,
            one.state,
            ago(one.since, now) if one.since else "",
            ago(one.asked_at, now) if one.asked_at else "never",
            one.detail,
        ]
        for host, one in rows
    ]
    return table(columns, cells, width=width)


def identity_table(rows: Rows, width: int | None, *, asked: int) -> str:
    """What receivers find, what several hosts found alike in one line; `asked`: how much was looked up in all."""
    if not asked:
        return "nothing is looked up: no address here is seen by the world, and no domain of its mail is known"
    if not rows:
        return f"receivers mind nothing ({asked:,} looked up)"
    alike: dict[tuple[object, ...], list[str]] = {}
    checks: dict[tuple[object, ...], Any] = {}
    for host, one in rows:
        key = (one.kind, one.vmta, one.address, one.domain, one.state, one.detail)
        alike.setdefault(key, []).append(host)
        checks.setdefault(key, one)
    columns = [
        Column("HOST", flex=True, spare=3),
        Column("VIRTUAL MTA"),
        Column("ADDRESS", spare=2),
        Column("DOMAIN"),
        Column("CHECK"),
        Column("STATE"),
        Column("SINCE", right=True, spare=1),
        Column("ASKED", right=True, spare=4),
        Column("DETAIL", flex=True),
    ]
    now = datetime.now(UTC)
    cells = [
        [
            ", ".join(hosts),
            checks[key].vmta or "",
            checks[key].address,
            checks[key].domain,
            checks[key].kind,
            checks[key].state,
            ago(checks[key].since, now),
            ago(checks[key].asked_at, now),
            checks[key].detail,
        ]
        for key, hosts in alike.items()
    ]
    return table(columns, cells, width=width)


def rule_table(rows: Rows, width: int | None) -> str:
    """Rules of automation."""
    columns = [
        Column("RULE", flex=True),
        Column("HOST"),
        Column("ACT"),
        Column("MODE"),
        Column("THRESHOLD", right=True, late=3),
        Column("HITS", right=True, late=2),
        Column("LIVE", right=True, late=1),
    ]
    cells = []
    for host, row in rows:
        one: RuleView = row
        cells.append([one.name, host, one.act, one.mode, one.threshold, count(one.hits), str(one.live)])
    return table(columns, cells, width=width)


def would_table(rows: Rows, width: int | None) -> str:
    """What rules in dry-run mode would have done."""
    columns = [Column("AT"), Column("HOST"), Column("RULE"), Column("WOULD", flex=True)]
    cells = []
    for host, row in rows:
        one: WouldAct = row
        cells.append([clock(one.at), host, one.rule, one.detail])
    return table(columns, cells, width=width) if cells else "nothing so far"
