"""Minutes and hours on disk: sums, ranges, bounds, restarts, damage."""

import random
import tempfile
import threading
import time
from array import array
from datetime import UTC, datetime
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mailagent.api.requests import HistoryRequest, HistoryScope
from mailagent.api.sums import SumsRequest
from mailagent.spool.bulk import fetch
from mailagent.telemetry import archive as module
from mailagent.telemetry.archive import HOUR, KEPT_S, MINUTE, SCOPE_LIMITS, SERIES_BYTES, Archive, Counts

T0 = 1_800_000_000 // HOUR * HOUR
HOST = (HistoryScope.HOST, "")


def minutes(archive: Archive, count: int, key: tuple[HistoryScope, str] = HOST, until: int | None = None) -> list[int]:
    request = HistoryRequest(
        scope=key[0],
        name=key[1],
        seconds=count * MINUTE,
        step_s=MINUTE,
        until=datetime.fromtimestamp(until, UTC) if until else None,
    )
    return list(archive.series(request).delivered)


def blocks(archive: Archive) -> list[int]:
    """Steps of the blocks that there are."""
    found = fetch(archive._reader, "SELECT id FROM block ORDER BY id")
    return [HOUR if number >= module._id(HOUR, 0) else MINUTE for (number,) in found]


def delivered(count: int) -> Counts:
    return (0, count, 0, 0)


def test_minutes_and_hours_survive_a_restart(tmp_path: Path) -> None:
    archive = Archive(tmp_path / "history.db")
    for n in range(90):
        archive.add(T0 + n * MINUTE, {HOST: (4, n, 2, 1)})
    archive.close()
    archive = Archive(tmp_path / "history.db")
    assert minutes(archive, 5) == [85, 86, 87, 88, 89]
    archive.add(T0 + 89 * MINUTE, {HOST: delivered(100)})  # the rest of the minute in which it was stopped
    assert minutes(archive, 2) == [88, 189]
    archive.add(T0 + 120 * MINUTE, {})
    series = archive.series(HistoryRequest(scope=HistoryScope.HOST, seconds=10 * HOUR, step_s=HOUR))
    assert series.start == datetime.fromtimestamp(T0, UTC)
    assert series.delivered == (sum(range(60)), sum(range(60, 90)) + 100)
    assert (series.received, series.deferred, series.bounced) == ((240, 120), (120, 60), (60, 30))
    assert minutes(archive, 2, until=T0 + 60 * MINUTE) == [58, 59]
    assert minutes(archive, 2, (HistoryScope.POOL, "absent")) == [0, 0]
    archive.close()


@settings(max_examples=30)
@given(
    st.lists(st.tuples(st.integers(1, 200), st.sampled_from("abc"), st.integers(0, 9)), min_size=1, max_size=30),
    st.integers(1, 2000),
    st.integers(0, 5000),
)
def test_sums_are_those_of_the_series(steps: list[tuple[int, str, int]], length: int, back: int) -> None:
    with tempfile.TemporaryDirectory() as directory:
        archive = Archive(Path(directory) / "history.db")
        at = T0
        for gap, name, count in steps:
            at += gap * MINUTE
            archive.add(at, {(HistoryScope.POOL, name): (count, count, 2, 1), HOST: delivered(1)})
        until = datetime.fromtimestamp(at + MINUTE - back * MINUTE, UTC)
        sums = archive.sums(SumsRequest(scopes=(HistoryScope.POOL,), seconds=length * MINUTE, until=until))
        step = MINUTE if length <= 1440 else HOUR
        for name in "abc":
            one = archive.series(
                HistoryRequest(scope=HistoryScope.POOL, name=name, seconds=length * MINUTE, step_s=step, until=until)
            )
            expected = (sum(one.received), sum(one.delivered), sum(one.deferred), sum(one.bounced))
            found = [(row.received, row.delivered, row.deferred, row.bounced) for row in sums.rows if row.name == name]
            assert found == ([expected] if any(expected) else [])
        archive.close()


@settings(max_examples=30)
@given(
    st.lists(st.tuples(st.integers(1, 400), st.integers(0, 9)), min_size=1, max_size=40),
    st.integers(1, 1000),
    st.integers(0, 12_000),
)
def test_any_range_is_what_was_added(steps: list[tuple[int, int]], length: int, back: int) -> None:
    with tempfile.TemporaryDirectory() as name:
        archive = Archive(Path(name) / "history.db")
        at, expected = T0, dict[int, int]()
        for gap, count in steps:
            at += gap * MINUTE
            archive.add(at, {HOST: delivered(count)})
            expected[at] = count
        end = at + MINUTE - back * MINUTE
        found = minutes(archive, length, until=end)
        start = end - len(found) * MINUTE
        assert found == [expected.get(start + n * MINUTE, 0) for n in range(len(found))]
        assert len(found) == max(0, min(length, (end - min(expected)) // MINUTE))
        archive.close()


def test_what_is_past_its_time_goes(tmp_path: Path) -> None:
    archive = Archive(tmp_path / "history.db")
    archive.add(T0, {HOST: delivered(1)})
    later = T0 + KEPT_S[MINUTE] + 4 * HOUR
    archive.add(later, {HOST: delivered(2)})
    archive.add(later + HOUR, {})
    assert blocks(archive) == [MINUTE, HOUR, HOUR]
    archive.add(T0 + KEPT_S[HOUR] + 300 * HOUR, {})
    assert blocks(archive) == [HOUR]
    archive.close()


def test_a_new_series_takes_the_place_of_the_one_that_is_silent_longest(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(SCOPE_LIMITS, HistoryScope.JOB, 3)
    archive = Archive(tmp_path / "history.db")
    for n, name in enumerate(("a", "b", "c")):
        archive.add(T0 + n * MINUTE, {(HistoryScope.JOB, name): delivered(1)})
    archive.add(T0 + 3 * MINUTE, {(HistoryScope.JOB, "a"): delivered(1), (HistoryScope.JOB, "d"): delivered(1)})
    assert sorted(archive.names(HistoryScope.JOB)) == ["a", "c", "d"]
    assert minutes(archive, 4, (HistoryScope.JOB, "a")) == [1, 0, 0, 1]
    archive.close()


@pytest.mark.parametrize("damage", [b"no database", b"SQLite format 3\x00" + b"\xff" * 5000])
def test_a_file_that_cannot_be_read_is_put_aside(tmp_path: Path, damage: bytes) -> None:
    path = tmp_path / "history.db"
    path.write_bytes(damage)
    archive = Archive(path)
    archive.add(T0, {HOST: delivered(1)})
    assert minutes(archive, 1) == [1]
    assert (tmp_path / "history.bad").read_bytes() == damage
    archive.close()


def test_what_cannot_be_opened_is_kept_in_memory(tmp_path: Path) -> None:
    path = tmp_path / "history.db"
    path.mkdir()
    archives = [Archive(path), Archive(path)]
    for archive, count in zip(archives, (1, 2), strict=True):
        archive.add(T0, {HOST: delivered(count)})
        assert minutes(archive, 1) == [count]
        archive.close()
    assert not any(path.iterdir())


@pytest.mark.parametrize("damage", [b"junk", b""])
def test_a_damaged_block_begins_anew(tmp_path: Path, damage: bytes) -> None:
    archive = Archive(tmp_path / "history.db")
    archive.add(T0, {HOST: (0, 1, 0, 0)})
    archive._writer.execute("UPDATE block SET data = ?", (damage,))
    assert minutes(archive, 1) == [0]
    archive.add(T0 + MINUTE, {HOST: (0, 2, 0, 0)})
    assert minutes(archive, 2) == [0, 2]
    archive.close()


def test_readers_and_the_writer_do_not_wait_for_each_other(tmp_path: Path) -> None:
    archive = Archive(tmp_path / "history.db")
    done: list[int] = []

    def read() -> None:
        for _ in range(100):
            minutes(archive, 1000)
        done.append(1)

    threads = [threading.Thread(target=read) for _ in range(3)]
    for thread in threads:
        thread.start()
    for n in range(50):
        archive.add(T0 + n * MINUTE, {HOST: delivered(1), (HistoryScope.POOL, "p"): delivered(1)})
    for thread in threads:
        thread.join()
    assert done == [1, 1, 1]
    archive.close()


def test_a_series_that_never_rests_stays_within_its_bytes(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    rng = random.Random(1)
    path = tmp_path / "history.db"
    archive = Archive(path)
    points = {MINUTE: KEPT_S[MINUTE] // MINUTE, HOUR: KEPT_S[HOUR] // HOUR}
    with archive._writer:
        for step, count in points.items():
            for start in range(T0, T0 + count * step, step * module.POINTS[step]):
                columns = [
                    array("I", (rng.randrange(500, 4000) * step // MINUTE for _ in range(module.POINTS[step])))
                    for _ in range(4)
                ]
                row = (module._id(step, start) + 1, module._pack(columns))
                archive._writer.execute("INSERT INTO block VALUES (?, ?)", row)
        archive._writer.execute("INSERT INTO series VALUES (1, 'host', '', ?)", (T0 + KEPT_S[MINUTE] - MINUTE,))
        archive._writer.execute("INSERT INTO meta VALUES ('first', ?)", (T0,))
    archive.close()
    size = path.stat().st_size
    archive = Archive(path)
    took = []
    for step in points:
        started = time.perf_counter()
        series = archive.series(HistoryRequest(scope=HistoryScope.HOST, seconds=KEPT_S[step], step_s=step))
        took.append(time.perf_counter() - started)
    assert len(series.delivered) == KEPT_S[MINUTE] // HOUR
    archive.close()
    with capsys.disabled():
        print(f"\nhistory: a busy series takes {size} bytes; queries took {[round(one * 1000, 1) for one in took]} ms")
    assert size < SERIES_BYTES * 1.3  # pages are not filled to the last byte
