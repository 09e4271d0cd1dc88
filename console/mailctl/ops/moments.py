"""Times as operators type them: `14:00`, `2h`, `2026-07-01T09:00:00Z`."""

from datetime import UTC, datetime, time, timedelta

from mailagent.config.scalars import parse_duration

FORMS = "write 14:00 (UTC), 2h or 2026-07-01T09:00:00Z"


def past(text: str, now: datetime) -> datetime:
    """The moment before `now` that `text` names, in UTC: the last 14:00, so long ago, or a whole moment.

    Raises:
        ValueError: it is none of these.
    """
    try:
        if text[-1:].isalpha() and not text.endswith(("Z", "z")):
            return now - parse_duration(text)
        if ":" in text and "-" not in text:
            today = datetime.combine(now.date(), time.fromisoformat(text), UTC)
            return today if today <= now else today - timedelta(days=1)
        found = datetime.fromisoformat(text)
    except ValueError as exc:  # in Python's words: `Invalid isoformat string`
        raise ValueError(f"`{text}` is no time; {FORMS}") from exc
    if found.tzinfo is None:
        raise ValueError(f"{text} has no time zone; {FORMS}")
    return found.astimezone(UTC)
