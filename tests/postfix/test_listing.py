"""Lines of `postqueue -j`, as Postfix 3.5 to 3.11 write them."""

import pytest

from mailagent.postfix.listing import ListingError, Recipient, parse

OLD = b"""{"queue_name": "deferred", "queue_id": "4XkZ0s1Qz9z9rXH", "arrival_time": 1732300000, "message_size": 1234, \
"forced_expire": false, "sender": "news@example.com", "recipients": [{"address": "a@example.net", \
"delay_reason": "host mx.example.net[192.0.2.1] said: 421 4.7.0 later (in reply to MAIL FROM command)"}, \
{"address": "b@example.net"}]}"""
NEW = b"""{"queue_name": "hold", "queue_id": "4XkZ0s1Qz9z9rXH", "arrival_time": 1732300000, "message_size": 1, \
"forced_expire": true, "sender": "MAILER-DAEMON", "recipients": [{"address": "a@example.net", \
"orig_address": "alias@example.net", "bounce_reason": "x"}], "something": {"new": 1}}"""


def test_an_entry_has_what_postfix_says() -> None:
    entry = parse(OLD)
    assert (entry.queue_name, entry.queue_id, entry.arrival_time) == ("deferred", "4XkZ0s1Qz9z9rXH", 1732300000)
    assert (entry.message_size, entry.mail_from) == (1234, "news@example.com")
    assert entry.recipients[0].delay_reason.startswith("host mx.example.net[192.0.2.1] said: 421")
    assert entry.recipients[1] == Recipient(address="b@example.net")


def test_fields_of_newer_versions_are_read_and_unknown_ones_passed_over() -> None:
    entry = parse(NEW)
    assert entry.forced_expire
    assert entry.mail_from == ""
    assert entry.recipients[0].orig_address == "alias@example.net"


def test_bytes_that_are_no_text_do_not_lose_the_entry() -> None:
    assert parse(OLD.replace(b"later", b"sp\xe4ter")).queue_id == "4XkZ0s1Qz9z9rXH"


@pytest.mark.parametrize("line", [b"", b"Mail queue is empty", b"[]", b'{"queue_id": 3}', OLD[:90]])
def test_what_is_no_entry_is_told(line: bytes) -> None:
    with pytest.raises(ListingError):
        parse(line)
