"""History of a real run: every scope, over a restart, by the socket."""

from pathlib import Path

from mailagent.api.requests import HistoryScope
from mailagent.api.views import Series
from tests.integration.processes import until
from tests.integration.rig import rig


async def test_minutes_and_hours_stay_over_a_restart(tmp_path: Path) -> None:
    async with rig(tmp_path) as one:
        await one.accepted("a@a.example", "b@a.example", headers="X-Job: spring\r\n")
        await one.delivered("a@a.example", "b@a.example")
        await one.restart()

        async def delivered(scope: HistoryScope, name: str, step_s: int) -> int:
            series: Series = await one.call("history", scope=scope, name=name, seconds=86_400, step_s=step_s)
            return sum(series.delivered)

        async def kept() -> bool:
            return await delivered(HistoryScope.HOST, "", 60) == 2

        await until(kept, "the minute before the restart")
        assert await delivered(HistoryScope.JOB, "spring", 60) == 2
        assert await delivered(HistoryScope.STREAM, "marketing", 60) == 2
        paths = [f"default/marketing/{vmta}" for vmta in ("mkt-1", "mkt-2")]
        assert sum([await delivered(HistoryScope.PATH, path, 60) for path in paths]) == 2
        assert (await one.call("history", scope=HistoryScope.HOST, seconds=60)).step_s == 1


async def test_the_time_to_connect_is_known_once_there_was_a_connection(tmp_path: Path) -> None:
    async with rig(tmp_path) as one:
        await one.accepted("a@a.example")
        await one.delivered("a@a.example")
        snapshot = await one.shows(lambda now: any(row.connect_ms is not None for row in now.providers), "a time")
        assert [0 <= (row.connect_ms or 0) < 60_000 for row in snapshot.providers] == [True]
        snapshot = await one.shows(lambda now: any(row.answer_ms is not None for row in now.destinations), "a pace")
        assert [row.usual_ms for row in snapshot.destinations if row.answer_ms] == [None]  # not in the first minute
