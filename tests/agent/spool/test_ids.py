import pytest
from hypothesis import given
from hypothesis import strategies as st

from mailagent.spool.ids import (
    MAX_RECIPIENTS,
    MessageIds,
    arrival_ms,
    at_ms,
    message_name,
    now_ms,
    parse_message_name,
    queue_id,
    recipient_id,
    reply_group,
    split,
)
from mailagent.spool.records import QueueName

MESSAGES = st.integers(0, (1 << 51) - 1)
TAGS = st.text("0123456789ABCDEFGHJKMNPQRSTVWXYZ", min_size=6, max_size=6)


@given(MESSAGES, TAGS)
def test_a_message_name_reads_back(message: int, tag: str) -> None:
    name = message_name(message, tag)
    assert len(name) == 17
    assert parse_message_name(name) == (message, tag)
    assert parse_message_name(f" {name.lower()}\n") == (message, tag)


@given(MESSAGES, MESSAGES, TAGS)
def test_names_sort_as_messages_arrived(one: int, other: int, tag: str) -> None:
    assert (message_name(one, tag) < message_name(other, tag)) == (one < other)


@pytest.mark.parametrize("name", ["", "x", "0" * 16, "0" * 18, "0" * 16 + "U", "0" * 16 + "é"])
def test_what_is_no_message_name_is_refused(name: str) -> None:
    with pytest.raises(ValueError, match="no message id"):
        parse_message_name(name)


@given(MESSAGES, st.integers(0, MAX_RECIPIENTS - 1))
def test_a_recipient_id_holds_message_and_number_in_63_bits(message: int, n: int) -> None:
    recipient = recipient_id(message, n)
    assert split(recipient) == (message, n)
    assert recipient < 1 << 63


def test_message_ids_grow_even_when_the_clock_does_not() -> None:
    source = MessageIds(at_ms(now_ms()) + 10**9)
    given_out = [source.new() for _ in range(1000)]
    assert given_out == sorted(set(given_out))


def test_an_id_tells_when_the_message_came() -> None:
    before = now_ms()
    assert before <= arrival_ms(recipient_id(MessageIds(0).new(), 5)) <= now_ms()


def test_queue_ids_depend_on_each_part_and_on_the_key() -> None:
    names = [
        QueueName("a", "b", "c", "d"),
        QueueName("ab", "", "c", "d"),
        QueueName("a", "b", "cd", ""),
        QueueName("a", "b", "c", "e"),
    ]
    found = {queue_id(name, key) for name in names for key in (b"k1", b"k2")}
    assert len(found) == 8
    assert all(0 <= queue < 1 << 63 for queue in found)


def test_replies_that_differ_in_addresses_only_are_one_group() -> None:
    one = reply_group("gmail", 550, "5.1.1", "<a@b.example> unknown")
    other = reply_group("gmail", 550, "5.1.1", "<c@d.example> unknown")
    assert one == other
    assert one[0] != reply_group("yahoo", 550, "5.1.1", "<a@b.example> unknown")[0]


@pytest.mark.parametrize("run", ["a_", "a-", "a.", "a1_", "<a", "a@"])
def test_a_hostile_reply_is_grouped_in_no_time(run: str) -> None:  # one of underscores took years
    key, text = reply_group("gmail", 550, "5.1.1", "id 1" + run * 900 + "- no")
    assert len(text) <= 200
    assert key


def test_a_dns_failure_is_one_group_for_all_domains() -> None:
    groups = {
        reply_group("", 451, "4.4.3", f"SERVFAIL from 127.0.0.53:53 about MX {domain}")
        for domain in ("gmail.com", "outlook.com")
    }
    ((_, text),) = groups
    assert text == "SERVFAIL from <ip>:53 about MX <domain>"
