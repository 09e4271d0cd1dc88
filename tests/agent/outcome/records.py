"""Accounting lines for tests."""

from datetime import UTC, datetime, timedelta
from typing import Any

from mailagent.api.accounting import EventType
from mailagent.outcome.accounting import AccountingRecord, event_id, line

NOW = datetime(2030, 1, 1, tzinfo=UTC)


def written(number: int, kind: EventType = EventType.DELIVERED, **more: Any) -> bytes:
    """The line of message `number`, as many seconds after NOW; `more` are fields that differ."""
    usual: dict[str, Any] = {
        "time": NOW + timedelta(seconds=number),
        "recipient": f"r{number}@two.test",
        "stream": "news",
        "pool": "marketing",
    }
    return line(
        AccountingRecord(
            event=event_id(f"0MSG{number}", 0, 1, kind),
            type=kind,
            host="mx1",
            message_id=f"0MSG{number}",
            n=0,
            sender="news@one.test",
            size_bytes=1,
            **(usual | more),
        )
    )
