"""Lines of `postqueue -j`, as Postfix 3.5 and 3.11 wrote them."""

from pathlib import Path

import pytest

from mailagent.postfix.listing import Entry, ListingError, parse

SAMPLES = Path(__file__).parents[1] / "data" / "postfix"
OLD, NEW = "3.5", "3.11"


def lines(version: str) -> list[bytes]:
    return (SAMPLES / f"{version}.json").read_bytes().splitlines()


def listed(version: str) -> list[Entry]:
    return [parse(line) for line in lines(version)]


def of(entries: list[Entry], address: str) -> Entry:
    """The entry with this recipient, of the first one that waits where there are several."""
    return next(entry for entry in entries if any(one.address == address for one in entry.recipients))


@pytest.mark.parametrize("version", [OLD, NEW])
def test_every_entry_of_a_real_listing_is_understood(version: str) -> None:
    entries = listed(version)
    assert [entry.queue_name for entry in entries] == [
        "maildrop",
        "active",
        "active",
        *["deferred"] * 5,
        "hold",
        "hold",
    ]
    assert [entry.forced_expire for entry in entries[-2:]] == [True, False]
    requeued, full, world = entries[0], of(entries, "full@sink.test"), of(entries, "用户@down.test")
    assert (requeued.sender, requeued.mail_from) == ("MAILER-DAEMON", "")
    assert (full.mail_from, full.message_size, len(full.queue_id)) == ("news@example.test", 302, 15)
    assert 'The mailbox is "over\\quota" 452 4.2.2 see' in full.recipients[0].delay_reason
    assert world.mail_from == "jürgen@пример.test"
    assert {one.address for one in of(entries, "real@down.test").recipients} == {
        "real@down.test", "one@down.test", "two@down.test",
    }  # fmt: skip


@pytest.mark.parametrize("version", [OLD, NEW])
def test_a_recipient_that_was_refused_for_good_does_not_wait(version: str) -> None:
    """3.11 lists it until its sender is told; before that it was not listed any more."""
    entry = of(listed(version), "x@hang.test")
    assert [(one.address, one.delay_reason) for one in entry.waiting] == [("x@hang.test", "")]
    gone = [one for one in entry.recipients if one.bounce_reason]
    assert [one.address for one in gone] == (["nobody@sink.test"] if version == NEW else [])
    assert all("550 5.1.1 User unknown" in one.bounce_reason for one in gone)


def test_fields_that_are_not_known_are_passed_over() -> None:
    assert parse(lines(NEW)[0].replace(b'"sender"', b'"something": {"new": 1}, "sender"')) == listed(NEW)[0]


def test_bytes_that_are_no_text_do_not_lose_the_entry() -> None:
    line = next(line for line in lines(OLD) if b"greylisted" in line)
    assert parse(line.replace(b"greylisted", b"sp\xe4ter")).queue_id == parse(line).queue_id


@pytest.mark.parametrize("line", [b"", b"Mail queue is empty", b"[]", b'{"queue_id": 3}', lines(OLD)[0][:90]])
def test_what_is_no_entry_is_told(line: bytes) -> None:
    with pytest.raises(ListingError):
        parse(line)
