"""The set of keys in memory, the keys themselves, and the watch over providers."""

from datetime import timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mailagent.config.suppression import Incident
from mailagent.outcome.suppression import table as module
from mailagent.outcome.suppression.keys import KEY_BITS, domain_key, entry_key, mailbox_key, normal_address
from mailagent.outcome.suppression.table import Table
from mailagent.outcome.suppression.watch import Watch

KEYS = st.integers(0, 40)
CHANGES = st.lists(st.tuples(st.sampled_from(["put", "discard"]), KEYS, st.integers(0, 7)), max_size=60)


@given(first=st.dictionaries(KEYS, st.integers(0, 7)), changes=CHANGES)
def test_a_table_holds_what_a_dictionary_would(first: dict[int, int], changes: list[tuple[str, int, int]]) -> None:
    merge, module.MERGE = module.MERGE, 5
    try:
        table, wanted = Table(), dict(first)
        table.extend(sorted(key << 3 | number for key, number in first.items()))
        for what, key, number in changes:
            if what == "put":
                table.put(key, number)
                wanted[key] = number
            else:
                table.discard(key)
                wanted.pop(key, None)
            assert len(table) == len(wanted)
        assert {key: found for key in range(41) if (found := table.get(key)) is not None} == wanted
    finally:
        module.MERGE = merge


@pytest.mark.parametrize(
    ("one", "same"),
    [
        (b"Anna@Example.COM", b"anna@example.com"),
        (b"anna@example.com.", b"anna@example.com"),
        ("anna@b\u00fccher.example".encode(), b"anna@xn--bcher-kva.example"),
    ],
)
def test_an_address_has_one_key_however_it_is_written(one: bytes, same: bytes) -> None:
    assert mailbox_key(one) == mailbox_key(same) == entry_key(normal_address(one), "")


def test_streams_and_domains_have_keys_of_their_own() -> None:
    keys = {mailbox_key(b"a@b.example"), mailbox_key(b"a@b.example", "news"), domain_key(b"a@b.example")}
    assert len(keys) == 3
    assert domain_key(b"a@b.example") == domain_key(b"x@B.example")


@given(st.binary(max_size=60), st.text(max_size=5))
def test_any_address_has_a_key_that_fits_beside_a_reason(address: bytes, stream: str) -> None:
    assert 0 <= mailbox_key(address, stream) < 1 << KEY_BITS


class Host:
    """Outcomes of one provider, in seconds that pass when told."""

    def __init__(self, **config: object) -> None:
        self.config = Incident(**{"least": 20, "window": timedelta(minutes=10), **config})  # type: ignore[arg-type]
        self.now = 1000.0
        self.seen = 0
        self.watch = Watch(lambda _: self.seen)

    def outcomes(self, good: int, bad: int) -> bool:
        """So many within a minute; whether it was an incident at any point."""
        found = False
        for n in range(60):
            self.seen += good // 60 + (n < good % 60)
            for _ in range(bad // 60 + (n < bad % 60)):
                found = self.watch.saw("gmail", self.now, self.config) or found
                self.seen += 1
            self.now += 1
        return found


def test_many_unknown_addresses_at_once_are_an_incident_and_the_usual_few_are_not() -> None:
    host = Host()
    assert not any(host.outcomes(good=1000, bad=30) for _ in range(30))
    assert host.outcomes(good=300, bad=1200)


def test_a_small_number_says_nothing_and_share_0_never_freezes() -> None:
    assert not Host().outcomes(good=0, bad=15)
    assert not Host(share=0.0).outcomes(good=0, bad=6000)


def test_what_was_long_ago_does_not_count() -> None:
    host = Host(least=100)
    for _ in range(20):
        assert not host.outcomes(good=0, bad=9)  # nine a minute: never a hundred within ten minutes
