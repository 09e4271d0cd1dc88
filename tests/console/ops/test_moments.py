"""Times as they are typed."""

from datetime import UTC, datetime

import pytest

from mailctl.ops.moments import past

NOW = datetime(2026, 7, 1, 12, 30, tzinfo=UTC)


@pytest.mark.parametrize(
    ("text", "moment"),
    [
        ("12:00", "2026-07-01T12:00:00"),
        ("14:00", "2026-06-30T14:00:00"),
        ("2h", "2026-07-01T10:30:00"),
        ("1d", "2026-06-30T12:30:00"),
        ("2026-06-01T09:00:00Z", "2026-06-01T09:00:00"),
        ("2026-06-01T09:00:00+02:00", "2026-06-01T07:00:00"),
    ],
)
def test_a_time_is_the_last_one_or_so_long_ago(text: str, moment: str) -> None:
    assert past(text, NOW) == datetime.fromisoformat(moment).replace(tzinfo=UTC)


@pytest.mark.parametrize("text", ["", "14", "noon", "2026-06-01T09:00:00", "25:00", "2 hours", "9999999d"])
def test_anything_else_is_refused_with_the_forms(text: str) -> None:
    with pytest.raises(ValueError, match=f"^`?{text}`? (is no time|has no time zone); write 14:00"):
        past(text, NOW)
