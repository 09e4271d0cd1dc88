"""Since when an address is silent."""

from datetime import UTC, datetime, timedelta
from pathlib import Path

from mailagent.api.ids import VmtaName
from mailagent.api.requests import HistoryScope
from mailagent.telemetry.archive import Archive
from mailagent.telemetry.history import Minute
from mailagent.telemetry.last_sent import LastSent

A1, A2 = VmtaName("a1"), VmtaName("a2")
T0 = 1_800_000_000 // 60 * 60
AT = datetime.fromtimestamp(T0, UTC)


def test_what_the_archive_knows_and_what_was_sent_since(tmp_path: Path) -> None:
    archive = Archive(tmp_path / "history.db")
    archive.add(T0, {(HistoryScope.VMTA, A1): (0, 1, 0, 0), (HistoryScope.POOL, A2): (1, 1, 0, 0)})
    last = LastSent(archive)
    assert (last.at(A1), last.at(A2)) == (AT, None)
    later = T0 + 86_400
    last.take(Minute(later, {(HistoryScope.VMTA, A2): (0, 0, 1, 0), (HistoryScope.VMTA, A1): (4, 0, 0, 0)}))
    assert (last.at(A1), last.at(A2)) == (AT, AT + timedelta(days=1))


def test_a_month_of_silence_is_a_doubt(tmp_path: Path) -> None:
    archive = Archive(tmp_path / "history.db")
    archive.add(T0, {(HistoryScope.VMTA, A1): (0, 1, 0, 0)})
    last = LastSent(archive)
    assert last.doubt(A1, AT + timedelta(days=29)) == ""
    assert last.doubt(A1, AT + timedelta(days=31)) == (
        "has sent nothing for 31 days: receivers will take it for new"
    )  # fmt: skip
    assert last.doubt(A2, AT + timedelta(days=29)) == ""
    assert last.doubt(A2, AT + timedelta(days=45)) == (
        "has sent nothing in the 45 days that are known: receivers will take it for new"
    )  # fmt: skip


def test_of_a_new_host_nothing_is_known(tmp_path: Path) -> None:
    last = LastSent(Archive(tmp_path / "history.db"))
    assert last.doubt(A1, AT) == ""
    last.take(Minute(T0, {}))
    assert last.doubt(A1, AT + timedelta(days=29)) == ""
    assert last.doubt(A1, AT + timedelta(days=30)) != ""
