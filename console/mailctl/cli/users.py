"""What `mailctl credentials list` shows."""

from collections.abc import Mapping, Sequence
from datetime import UTC, datetime

from mailagent.api.credentials import CredentialList, CredentialView
from mailagent.api.ids import HostName
from mailagent.api.requests import Empty
from mailctl.cli.show import selected
from mailctl.fleet import Fleet
from mailctl.fleet.lists import reason as why_not
from mailctl.ops import Selection
from mailctl.output.human import ago
from mailctl.output.tables import Column, table

Found = Sequence[tuple[HostName, CredentialView]]


async def users_of(fleet: Fleet, selection: Selection, *, deadline_s: float) -> tuple[Found, Mapping[HostName, str]]:
    """Users by name, then host, and why hosts gave none."""
    names = [host.name for host in selected(fleet.state, selection)]
    answers = await fleet.ask_all("credentials", Empty(), hosts=names, deadline_s=deadline_s)
    rows = [(host, row) for host, one in answers.items() if isinstance(one, CredentialList) for row in one.rows]
    failed = {host: why_not(answer) for host, answer in answers.items() if isinstance(answer, Exception)}
    return sorted(rows, key=lambda found: found[1].user), failed


def user_table(rows: Found, width: int | None) -> str:
    """Users."""
    now = datetime.now(UTC)
    columns = [
        Column("USER"),
        Column("HOST"),
        Column("STATE"),
        Column("LAST USE"),
        Column("SCOPE", flex=True),
    ]
    cells = []
    for host, row in rows:
        used = f"{ago(row.last_used_at, now)} from {row.last_used_from}" if row.last_used_at is not None else "never"
        cells.append([row.user, host, _state(row, now), used, _scope(row)])
    return table(columns, cells, width=width) if cells else "no users"


def _state(row: CredentialView, now: datetime) -> str:
    if row.revoked_at is not None:
        return "revoked"
    if row.expires_at is not None and row.expires_at <= now:
        return "expired"
    if row.old_secret_until is not None and row.old_secret_until > now:
        return f"old secret until {row.old_secret_until:%m-%d %H:%M}"
    return f"until {row.expires_at:%Y-%m-%d}" if row.expires_at is not None else "good"


def _scope(row: CredentialView) -> str:
    scope = row.scope
    listed = (("streams", scope.streams), ("senders", scope.senders), ("networks", scope.networks))
    words = [f"{name} {', '.join(values)}" for name, values in listed if values]
    return "; ".join([*words, f"rate {scope.rate}"] if scope.rate else words) or "anything"
