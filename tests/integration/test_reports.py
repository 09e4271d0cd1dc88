"""What reports are made of, from a real run: sums of the history, and outcomes of the accounting files."""

from datetime import UTC, datetime, timedelta
from pathlib import Path

from mailagent.api.outcomes import Outcomes
from mailagent.api.requests import HistoryScope
from mailagent.api.sums import Sums
from tests.integration.processes import until
from tests.integration.rig import rig


async def test_sums_and_outcomes_say_what_was_sent(tmp_path: Path) -> None:
    async with rig(tmp_path) as one:
        deferred: set[str] = set()

        def once(_: object, recipient: str) -> bytes | None:
            if recipient in deferred or recipient.endswith("@b.example"):
                return None
            deferred.add(recipient)
            return b"451 4.7.1 come back, later\r\n"

        one.sink.refuse = once
        await one.accepted("a@a.example", "b@b.example")
        await one.delivered("a@a.example", "b@b.example")
        now = datetime.now(UTC)

        async def counted() -> bool:
            found: Outcomes = await one.call(
                "outcomes", since=now - timedelta(hours=1), until=datetime.now(UTC) + timedelta(seconds=1)
            )
            rows = {row.domain: (row.delivered, row.deferred) for row in found.domains}
            return rows == {"a.example": (1, 1), "b.example": (1, 0)} and not found.unwritten

        await until(counted, "both domains in the accounting files")
        await one.restart()

        async def summed() -> bool:
            sums: Sums = await one.call("sums", seconds=86_400)
            return {(row.scope, row.delivered, row.deferred) for row in sums.rows} == {
                (scope, 2, 1)
                for scope in (HistoryScope.HOST, HistoryScope.POOL, HistoryScope.STREAM, HistoryScope.PROVIDER)
            }

        await until(summed, "the minute before the restart")
