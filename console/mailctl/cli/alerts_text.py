"""Alerts as rows and tables: what is open, and what a round told. Pure."""

from collections.abc import Iterable, Sequence
from datetime import datetime
from typing import Any

import msgspec

from mailctl.alerts.book import Alert
from mailctl.alerts.round import Sent
from mailctl.output.human import NOTHING, ago
from mailctl.output.tables import Column, table

Row = dict[str, Any]


def told_rows(sent: Iterable[Sent]) -> list[Row]:
    """A row for each receiver and alert."""
    return [
        {
            "receiver": one.receiver,
            "result": one.result,
            "event": telling.event,
            "id": telling.alert.id,
            "kind": telling.alert.signal.kind,
            "severity": telling.alert.signal.severity,
            "text": telling.alert.signal.text,
            "error": one.error,
        }
        for one in sent
        for telling in one.tellings
    ]


def told_table(rows: Sequence[Row], width: int | None) -> str:
    """These rows for people."""
    names = ("receiver", "result", "event", "severity", "text")
    head = [Column(name.upper(), flex=name == "text") for name in names]
    return table(head, [[row[name] for name in names] for row in rows], width=width)


def open_rows(alerts: Iterable[Alert]) -> list[Row]:
    """A row for each open alert: what it is about, and who knows of it."""
    rows = []
    for alert in alerts:
        row = msgspec.structs.asdict(alert)
        rows.append(msgspec.structs.asdict(row.pop("signal")) | row | {"state": _state(alert)})
    return rows


def open_table(alerts: Iterable[Alert], now: datetime, width: int | None) -> str:
    """The same for people."""
    head = [Column(name) for name in ("ID", "SEVERITY", "SINCE", "STATE")]
    head += [Column("TOLD TO", flex=True), Column("KNOWN TO"), Column("ALERT", flex=True)]
    return table(head, [_cells(alert, now) for alert in alerts], width=width)


def _cells(alert: Alert, now: datetime) -> list[str]:
    ack, silent = alert.acknowledged, ", ".join(alert.hidden_by)
    return [
        alert.id,
        alert.signal.severity,
        ago(alert.since, now),
        f"{_state(alert)}: no answer of {silent}" if silent else _state(alert),
        ", ".join(alert.told) or NOTHING,
        ack.by if ack is not None and alert.is_acknowledged(now) else NOTHING,
        alert.signal.text,
    ]


def _state(alert: Alert) -> str:
    if alert.is_over:
        return "over"
    if alert.hidden_by:
        return "not known"
    if alert.gone_at is not None:
        return "away"
    return "lasting" if alert.due_at is not None else "waiting"
