from hypothesis import given
from hypothesis import strategies as st

from mailagent.dns.cache import Cache, kept_s


@given(ttl_s=st.integers(0, 2**31), negative=st.booleans())
def test_time_kept_lies_within_the_bounds(ttl_s: int, negative: bool) -> None:
    assert 60 <= kept_s(ttl_s, negative=negative) <= (900 if negative else 86_400)


def test_an_answer_is_fresh_then_stale_then_gone() -> None:
    cache: Cache[str] = Cache(10)
    cache.put("a", "answer", fresh_until=100, stale_until=200)
    assert cache.fresh("a", 99.9) == "answer"
    assert cache.fresh("a", 100) is None
    assert cache.stale("a", 199.9) == ("answer", 200)
    assert cache.stale("a", 200) is None


@given(names=st.lists(st.sampled_from("abcdefgh"), max_size=50))
def test_the_least_recently_used_answer_gives_way(names: list[str]) -> None:
    cache: Cache[str] = Cache(3)
    recent: list[str] = []
    for name in names:
        if cache.fresh(name, 0) is None:
            cache.put(name, name, fresh_until=1, stale_until=1)
        recent = [*(n for n in recent if n != name), name][-3:]
    assert len(cache) == len(recent)
    assert all(cache.fresh(name, 0) == name for name in recent)
