from collections import Counter

from hypothesis import given
from hypothesis import strategies as st

from mailagent.scheduling.selection import Rotation


@given(st.lists(st.integers(1, 9), min_size=1, max_size=6))
def test_shares_are_exact_after_a_full_round(weights: list[int]) -> None:
    rotation = Rotation()
    candidates = [(f"v{n}", weight) for n, weight in enumerate(weights)]
    counts = Counter(rotation.pick(candidates) for _ in range(sum(weights)))
    assert counts == dict(candidates)


def test_heavier_ones_do_not_go_twice_in_a_row_while_others_wait() -> None:
    rotation = Rotation()
    order = "".join(rotation.pick([("a", 2), ("b", 1)]) for _ in range(6))
    assert order == "abaaba"


def test_a_member_that_comes_back_does_not_catch_up() -> None:
    rotation = Rotation()
    for _ in range(50):
        rotation.pick([("a", 1)])
    counts = Counter(rotation.pick([("a", 1), ("b", 1)]) for _ in range(10))
    assert counts == {"a": 5, "b": 5}
