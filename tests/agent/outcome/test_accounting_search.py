"""Searching accounting files: the same answer as reading all lines, whatever the files look like."""

import gzip
import tempfile
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mailagent.api.accounting import EventType
from mailagent.config.accounting import Accounting
from mailagent.outcome.accounting import AccountingLog, AccountingRecord, finished_files
from mailagent.outcome.accounting import search as module
from mailagent.outcome.accounting.search import Wanted, search
from tests.agent.outcome.records import NOW, written

RECIPIENTS = ("bob@two.test", "Bob@Two.test", "eve@two.test.example", '"a,\\"b"@two.test', "josé@zwei.test", "")
JOBS = ("", "spring", "spring-2")


def record(number: int, recipient: str = "bob@two.test", job: str = "", kind: EventType = EventType.DELIVERED) -> bytes:
    return written(number, kind, recipient=recipient, job=job, text="line\nbreak and bob@two.test in a reply")


def numbers(found: Iterator[tuple[AccountingRecord, bytes]]) -> list[int]:
    return [int(one.message_id.removeprefix("0MSG")) for one, _ in found]


@given(
    lines=st.lists(
        st.tuples(st.sampled_from(RECIPIENTS), st.sampled_from(JOBS), st.sampled_from(EventType)), max_size=60
    ),
    rotate=st.integers(200, 3000),
    compress=st.booleans(),
    keep_live=st.booleans(),
    wanted=st.builds(
        Wanted,
        recipient=st.sampled_from((*RECIPIENTS, "@two.test", "@none.test")),
        message_id=st.sampled_from(("", "0msg7")),
        job=st.sampled_from(JOBS),
        types=st.frozensets(st.sampled_from(EventType), max_size=2),
        since=st.none() | st.integers(0, 60).map(lambda s: NOW + timedelta(seconds=s)),
        until=st.none() | st.integers(0, 60).map(lambda s: NOW + timedelta(seconds=s)),
    ),
    limit=st.integers(1, 20),
    block=st.integers(1, 4000),
)
def test_it_finds_what_reading_everything_finds(
    lines: list[tuple[str, str, EventType]],
    rotate: int,
    compress: bool,
    keep_live: bool,
    wanted: Wanted,
    limit: int,
    block: int,
) -> None:
    with tempfile.TemporaryDirectory() as name, pytest.MonkeyPatch.context() as patch:
        patch.setattr(module, "BLOCK_BYTES", block)
        directory = Path(name)
        now = NOW.timestamp()
        log = AccountingLog(directory, Accounting(rotate_bytes=rotate, compress=compress), clock=lambda: now)
        records = []
        for number, (recipient, job, kind) in enumerate(lines):
            now = NOW.timestamp() + number
            text = record(number, recipient, job, kind)
            records.append(module._decoder.decode(text))
            log.write([text])
        log.maintain()
        if not keep_live:
            log.close()
        expected = [number for number, one in enumerate(records) if wanted.matches(one)]
        assert numbers(search(directory, wanted)) == expected
        assert numbers(search(directory, wanted, limit=limit)) == expected[:limit]
        assert numbers(search(directory, wanted, newest_first=True, limit=limit)) == expected[::-1][:limit]
        if keep_live:
            log.close()


def test_a_file_finished_between_opening_and_listing_is_read_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    log = AccountingLog(tmp_path, Accounting())
    log.write([record(1)])

    def finish_first(directory: Path) -> object:
        log.close()
        return finished_files(directory)

    monkeypatch.setattr(module, "finished_files", finish_first)
    assert numbers(search(tmp_path, Wanted())) == [1]


def test_a_half_line_and_foreign_text_are_no_matches(tmp_path: Path) -> None:
    (tmp_path / "acct-20300101T000000Z-000001.jsonl").write_bytes(b"bob@two.test\n\n{}\n" + record(1))
    (tmp_path / "current.jsonl.part").write_bytes(record(2) + record(3)[:-1])
    assert numbers(search(tmp_path, Wanted(recipient="bob@two.test"))) == [1, 2]
    assert numbers(search(tmp_path, Wanted())) == [1, 2]


def test_a_damaged_file_is_read_up_to_its_damage(tmp_path: Path) -> None:
    packed = gzip.compress(record(1) + record(2))
    (tmp_path / "acct-20300101T000000Z-000001.jsonl.gz").write_bytes(packed[:-4])
    (tmp_path / "acct-20300101T000000Z-000002.jsonl.gz").write_bytes(b"junk")
    (tmp_path / "acct-20300101T000000Z-000003.jsonl").write_bytes(record(3))
    assert 3 in numbers(search(tmp_path, Wanted()))


def test_newest_first_wants_a_limit(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="limit"):
        next(search(tmp_path, Wanted(), newest_first=True))
