"""What the names of queue files say."""

from mailagent.postfix.next_tries import NextTries
from mailagent.postfix.queue_ids import made_at_us

FIRST, SECOND = "4jXq4p740lzPQy7", "4jXq4p75DgzPQy8"


def names(*lines: str) -> NextTries:
    found = NextTries()
    for line in lines:
        found.add(line.encode())
    found.sort()
    return found


def test_names_count_and_tell_next_tries() -> None:
    found = names(
        f"/var/spool/postfix/deferred {SECOND} 1700000100.5",
        f"/var/spool/postfix/deferred {FIRST} 1700000200.25",
        "/var/spool/postfix/hold 4jXq4p75DgzPQz9 1700000000.0",
        "/a directory with blanks/active 4jXq4p75DgzPQzB 1700000000.0",
    )
    assert found.folders == {"deferred": 2, "hold": 1, "active": 1}
    assert found.due_ms(FIRST) == 1_700_000_200_250
    assert found.due_ms(SECOND) == 1_700_000_100_500
    assert found.due_ms("4jXq4p75DgzPQz9") is None
    assert found.oldest_us == made_at_us(FIRST)


def test_short_ids_have_next_tries_but_no_age() -> None:
    found = names("/q/deferred 3E21B2A0D1 1700000100.0")
    assert found.due_ms("3E21B2A0D1") == 1_700_000_100_000
    assert found.oldest_us is None


def test_nothing_is_known_of_an_empty_queue() -> None:
    assert names().due_ms(FIRST) is None
    assert names().folders == {}
