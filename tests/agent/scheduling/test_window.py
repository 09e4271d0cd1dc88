from hypothesis import given
from hypothesis import strategies as st

from mailagent.config.structs import Priority
from mailagent.scheduling.window import Window


def test_bulk_never_takes_the_places_kept_for_others() -> None:
    window = Window(1000)
    window.take(Priority.BULK, window.room(Priority.BULK))
    assert window.room(Priority.BULK) == 0
    assert window.room(Priority.HIGH) == 100


@given(st.lists(st.tuples(st.sampled_from(list(Priority)), st.integers(1, 400)), max_size=30))
def test_every_class_finds_its_own_tenth(wishes: list[tuple[Priority, int]]) -> None:
    window = Window(1000)
    for priority, count in wishes:
        window.take(priority, min(count, window.room(priority)))
    assert window.used <= window.limit
    for priority in Priority:
        assert window.room(priority) + window.used_by[priority] >= 100
