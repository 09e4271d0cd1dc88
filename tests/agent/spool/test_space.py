from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mailagent.spool.space import MIN_FREE_BYTES, Space, judge

GIB = 1024**3


@pytest.mark.parametrize(
    ("free", "total", "ok"),
    [
        (2 * GIB, 100 * GIB, True),  # the smaller bound is 2 GiB
        (2 * GIB - 1, 100 * GIB, False),
        (GIB, 10 * GIB, True),  # the smaller bound is 10 %
        (GIB - 1, 10 * GIB, False),
    ],
)
def test_the_smaller_bound_counts(free: int, total: int, ok: bool) -> None:
    view = judge(free_bytes=free, total_bytes=total, free_inodes=0, total_inodes=0)
    assert view.ok is ok
    assert bool(view.reason) is not ok


def test_inodes_count_where_there_are_any() -> None:
    view = judge(free_bytes=10 * GIB, total_bytes=20 * GIB, free_inodes=99, total_inodes=1000)
    assert not view.ok
    assert "inodes" in view.reason


@given(st.integers(MIN_FREE_BYTES, 1 << 60), st.integers(0, 1 << 60))
def test_enough_for_the_largest_bound_is_always_enough(free: int, total: int) -> None:
    assert judge(free_bytes=free, total_bytes=total, free_inodes=1, total_inodes=1).ok


def test_space_looks_at_a_real_file_system(tmp_path: Path) -> None:
    assert Space(tmp_path).view().free_bytes > 0
