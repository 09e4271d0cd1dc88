"""The host's file: replaced whole, the one before kept, edits noticed."""

import os
import stat
from datetime import UTC, datetime
from pathlib import Path

import pytest

from mailagent.api.errors import InvalidRequest, NotFound, Refused
from mailagent.api.ids import OpId
from mailagent.api.rollout import MAX_FILE_BYTES, MOST_EDITS, AppliedFile, pack, unpack
from mailagent.rollout.file import KEPT, ConfigFile, difference, digest


@pytest.fixture
def path(tmp_path: Path) -> Path:
    (tmp_path / "state").mkdir()
    (tmp_path / "etc").mkdir()
    found = tmp_path / "etc/agent.yaml"
    found.write_text("old\n")
    found.chmod(0o640)
    return found


def file(path: Path) -> ConfigFile:
    return ConfigFile(path, path.parents[1] / "state")


def entry(op_id: str, text: bytes) -> AppliedFile:
    return AppliedFile(
        op_id=OpId(op_id),
        at=datetime(2026, 7, 1, tzinfo=UTC),
        author="alice",
        reason="",
        before="",
        after=digest(text),
    )


def test_a_file_is_replaced_with_its_mode_and_the_old_one_stands_beside_it(path: Path) -> None:
    one = file(path)
    one.put(b"new\n", entry("op-1", b"new\n"))
    assert path.read_text() == "new\n"
    assert stat.S_IMODE(path.stat().st_mode) == 0o640
    assert sorted(one.name for one in path.parent.iterdir()) == ["agent.yaml", "agent.yaml.before-op-1"]
    assert one.before(OpId("op-1")) == b"old\n"
    assert [applied.op_id for applied in file(path).applied()] == ["op-1"]


def test_the_same_apply_again_keeps_the_file_before_it(path: Path) -> None:
    one = file(path)
    one.put(b"new\n", entry("op-1", b"new\n"))
    one.put(b"new\n", entry("op-1", b"new\n"))
    assert one.before(OpId("op-1")) == b"old\n"
    assert len(one.applied()) == 1


def test_a_crash_before_the_book_is_written_is_mended_by_the_same_apply(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Crash(BaseException):
        pass

    def crash(*_: object) -> None:
        raise Crash

    one = file(path)
    with monkeypatch.context() as patched:
        patched.setattr(ConfigFile, "_note", crash)
        with pytest.raises(Crash):
            one.put(b"new\n", entry("op-1", b"new\n"))
    assert path.read_text() == "new\n"
    assert one.applied() == ()
    one.put(b"new\n", entry("op-1", b"new\n"))
    assert [applied.op_id for applied in one.applied()] == ["op-1"]
    assert one.before(OpId("op-1")) == b"old\n"


def test_a_link_stays_a_link(path: Path, tmp_path: Path) -> None:
    link = tmp_path / "agent.yaml"
    link.symlink_to(path)
    file(path).put(b"x\n", entry("op-0", b"x\n"))
    ConfigFile(link, tmp_path / "state").put(b"new\n", entry("op-1", b"new\n"))
    assert link.is_symlink()
    assert path.read_text() == "new\n"


def test_edits_since_the_last_apply_are_told(path: Path) -> None:
    one = file(path)
    assert one.edits(one.read()) == ()
    one.put(b"a\nb\n", entry("op-1", b"a\nb\n"))
    path.write_text("a\nc\n")
    assert [line for line in one.edits(one.read()) if line[0] in "+-"] == ["--- applied", "+++ on the host", "-b", "+c"]


def test_copies_of_old_applies_go(path: Path) -> None:
    one = file(path)
    for n in range(KEPT + 2):
        text = b"%d\n" % n
        one.put(text, entry(f"op-{n}", text))
    assert len(one.applied()) == KEPT
    assert len(list(path.parent.glob("*.before-*"))) == KEPT
    with pytest.raises(NotFound, match=r"before-op-0 cannot be read"):
        one.before(OpId("op-0"))


def test_a_directory_that_cannot_be_written_refuses_and_leaves_nothing(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def denied(*_: object) -> None:
        raise PermissionError(1, "Operation not permitted")

    monkeypatch.setattr(os, "fchmod", denied)
    with pytest.raises(Refused, match="cannot be replaced: Operation not permitted"):
        file(path).put(b"new\n", entry("op-1", b"new\n"))
    assert path.read_text() == "old\n"
    assert [one.name for one in path.parent.iterdir()] == ["agent.yaml"]
    assert file(path).applied() == ()


def test_a_long_difference_is_cut() -> None:
    lines = difference(b"", b"x\n" * 1000)
    assert len(lines) == MOST_EDITS + 1
    assert "more lines" in lines[-1]


def test_text_travels_compressed_and_bounded() -> None:
    assert unpack(pack("host: mx1\n")) == b"host: mx1\n"
    for bad in (b"plain", pack("x" * 100)[:-3], pack("x" * (MAX_FILE_BYTES + 1))):
        with pytest.raises(InvalidRequest):
            unpack(bad)
