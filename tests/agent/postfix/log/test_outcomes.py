"""Lines joined to what became of messages."""

from collections.abc import Iterable
from datetime import UTC, datetime
from pathlib import Path

import pytest

from mailagent.api.smtp import Verb
from mailagent.postfix.log.lines import Line, LineParser
from mailagent.postfix.log.outcomes import GivenUp, Gone, Held, Outcome, Outcomes, Received, Requeued
from mailagent.postfix.tables import HELD

SAMPLES = Path(__file__).parents[3] / "data" / "postfix"
NOW = datetime(2026, 11, 23, 12, tzinfo=UTC)
ID = "4jXnwf43Y2zJMHh"


def vmta_of(name: str) -> str:
    return name.partition("/")[2] if name in ("postfix/mkt-1", "postfix/mkt-2") else ""


def outcomes(*, max_open: int = 100) -> Outcomes:
    return Outcomes("postfix", vmta_of, max_open=max_open)


def parsed(raws: Iterable[bytes]) -> list[Line]:
    parser = LineParser(now=lambda: NOW, zone=UTC)
    return [line for raw in raws if (line := parser.syslog(raw)) is not None]


def lines(*texts: str, service: str = "postfix/qmgr") -> list[Line]:
    """Lines of `service`, or of the one that stands before `|`."""
    raws = []
    for text in texts:
        named, bar, rest = text.partition("|")
        name, text = (named, rest) if bar else (service, text)
        raws.append(f"Nov 23 01:12:18 mx1 {name}[7]: {text}".encode())
    return parsed(raws)


def sample(name: str) -> list[Line]:
    return parsed((SAMPLES / name).read_bytes().splitlines())


def attempt(id: str, status: str, text: str) -> str:
    return (
        f"postfix/mkt-1/smtp|{id}: to=<u@a.example>, relay=mx.a.example[192.0.2.9]:25, delay=5, delays=4/0.1/0.6/0.3,"
        f" dsn=4.7.1, status={status} ({text})"
    )


def test_a_real_log_adds_up() -> None:
    found = list(outcomes().events(sample("long-ids.log")))
    received = [event for event in found if isinstance(event, Received)]
    assert len(received) == len([event for event in found if isinstance(event, Gone)]) == 33
    assert len([event for event in received if event.message.sender == ""]) == 15  # bounces, and one from <>
    tries = [event for event in found if isinstance(event, Outcome)]
    assert {event.vmta for event in tries} == {"", "mkt-1", "mkt-2"}
    (unknown,) = [event for event in tries if event.tried.recipient == "unknown@a.example"]
    assert (unknown.vmta, unknown.tried.status, unknown.said.reply.code) == ("mkt-1", "bounced", 550)
    assert unknown.said.reply.verb is Verb.RCPT
    assert unknown.message.sender == "news@shop.example"
    assert unknown.message.client == "localhost[127.0.0.1]"
    assert unknown.message.message_id.endswith("@shop.example")
    assert unknown.duration_s == 0.02
    assert len([event for event in found if isinstance(event, GivenUp) and event.forced]) == 2
    assert [event.held for event in found if isinstance(event, Held)] == [True, False]
    assert [event.id for event in found if isinstance(event, Gone) and event.deleted] == ["4jXnwf48fczJMJl"]


def test_a_requeued_message_is_the_same_mail() -> None:
    found = list(outcomes().events(sample("long-ids.log")))
    (requeued,) = [event for event in found if isinstance(event, Requeued)]
    assert (requeued.before, requeued.id, requeued.message.recipients) == ("4jXnwf446ZzJLyr", "4jXnwy3tFlzJLvt", 1)
    assert requeued.id not in {event.id for event in found if isinstance(event, Received)}


def test_what_was_not_seen_to_come_is_not_received() -> None:
    again = lines(f"{ID}: from=<a@b.example>, size=10, nrcpt=1 (queue active)", attempt(ID, "deferred", "x"))
    (outcome,) = outcomes().events(again)
    assert isinstance(outcome, Outcome)
    assert outcome.message.sender == "a@b.example"
    assert not outcome.message.fresh


def test_context_says_nothing_twice() -> None:
    one = outcomes()
    one.context(
        lines(
            f"postfix/smtpd|{ID}: client=app[192.0.2.5]",
            f"postfix/cleanup|{ID}: message-id=<m@b.example>",
            f"{ID}: from=<a@b.example>, size=10, nrcpt=1 (queue active)",
        )
    )
    (outcome,) = one.events(lines(attempt(ID, "sent", "250 2.0.0 Ok")))
    assert isinstance(outcome, Outcome)
    assert outcome.message.fresh
    assert (outcome.message.client, outcome.message.message_id) == ("app[192.0.2.5]", "m@b.example")


@pytest.mark.parametrize(
    "begin", ["postfix/smtpd|9D1A32E1B: client=app[192.0.2.5]", "postfix/cleanup|9D1A32E1B: message-id=<2@b>"]
)
def test_a_queue_id_that_comes_again_is_another_message(begin: str) -> None:
    one = outcomes()
    new = "9D1A32E1B: from=<{}>, size=10, nrcpt=1 (queue active)"
    first = [*lines("postfix/smtpd|9D1A32E1B: client=old[192.0.2.5]"), *lines(new.format("old@b.example"))]
    second = [*lines(begin), *lines(new.format("new@b.example"))]  # that the first was removed is lost
    received = [event for event in one.events(first + second) if isinstance(event, Received)]
    assert [event.message.sender for event in received] == ["old@b.example", "new@b.example"]


def test_memory_is_bounded_and_what_came_last_stays() -> None:
    one = outcomes(max_open=10)
    for n in range(100):
        list(one.events(lines(f"postfix/cleanup|{n:08X}: message-id=<{n}@b.example>")))
    assert len(one) == 10
    (outcome,) = one.events(lines(attempt(f"{99:08X}", "sent", "250 Ok")))
    assert isinstance(outcome, Outcome)
    assert outcome.message.message_id == "99@b.example"


def test_other_instances_in_the_same_log_are_passed_over() -> None:
    one = outcomes()
    removed = f"{ID}: removed"
    found = list(
        one.events(lines(f"postfix-in/qmgr|{removed}", f"postfixes/qmgr|{removed}", f"postfix/qmgr|{removed}"))
    )
    assert len(found) == 1
    assert one.foreign == 2


def test_a_virtual_mta_of_the_same_name_in_another_instance_is_that_one_s() -> None:
    def by_last_part(name: str) -> str:  # as `Changes.vmta_of` does it
        return name.rpartition("/")[2].removeprefix("vmta-")

    one = Outcomes("postfix", by_last_part)
    tried = attempt(ID, "sent", "250 2.0.0 Ok")
    theirs, ours, by_hand = (
        tried.replace("postfix/mkt-1", name) for name in ("postfix-out/vmta-mkt-1", "postfix/vmta-mkt-1", "mkt-1")
    )
    found = list(one.events(lines(theirs, ours, by_hand)))
    assert [event.vmta for event in found if isinstance(event, Outcome)] == ["mkt-1", "mkt-1"]
    assert one.foreign == 1


def test_a_service_that_logs_under_a_name_of_its_own_is_ours_for_mail_of_ours() -> None:
    one = Outcomes("postfix", lambda _: "", log_names=lambda: frozenset(("relay", "intake")))
    theirs = "4jXnwf446ZzJLyr"
    tried = attempt(ID, "sent", "250 2.0.0 Ok").replace("postfix/mkt-1", "relay")
    found = list(
        one.events(
            lines(
                f"intake/smtpd|{ID}: client=app[192.0.2.5]",
                f"{ID}: from=<a@b.example>, size=10, nrcpt=1 (queue active)",
                f"postfix-out/qmgr|{theirs}: from=<a@b.example>, size=10, nrcpt=1 (queue active)",
                tried,
                tried.replace(ID, theirs),
            )
        )
    )
    assert [(event.id, event.message.client) for event in found if isinstance(event, Outcome)] == [
        (ID, "app[192.0.2.5]")
    ]  # fmt: skip
    assert one.foreign == 2


def test_an_emulated_deferral_is_marked() -> None:
    (outcome,) = outcomes().events(lines(attempt(ID, "deferred", f"{HELD}: gmail").replace("mkt-1/smtp", "error")))
    assert isinstance(outcome, Outcome)
    assert outcome.said.emulated
    assert outcome.vmta == ""


def test_probes_are_no_outcomes() -> None:
    assert (
        list(outcomes().events(lines(attempt(ID, "undeliverable", "no"), attempt(ID, "deliverable", "250 ok")))) == []
    )


def test_what_was_handed_back_is_the_mail_of_before_whoever_filters() -> None:
    back = "4jXnwf446ZzJLyr"
    active = "from=<a@b.example>, size=10, nrcpt=1 (queue active)"
    found = list(
        outcomes().events(
            lines(
                f"postfix/submission/smtpd|{ID}: client=app[192.0.2.5], sasl_method=PLAIN, sasl_username=shop",
                f"{ID}: {active}",
                f"postfix/smtpd|{back}: client=localhost[127.0.0.1], orig_queue_id={ID}, orig_client=app[192.0.2.5]",
                f"{back}: {active}",
                attempt(ID, "sent", "250 2.0.0 from MTA(smtp:[127.0.0.1]:10025): 250 2.0.0 Ok").replace("mkt-1/", ""),
                attempt(back, "sent", "250 2.0.0 Ok"),
            )
        )
    )
    received = [event.message for event in found if isinstance(event, Received)]
    assert [(one.is_back, one.client, one.user) for one in received] == [
        (False, "app[192.0.2.5]", "shop"), (True, "app[192.0.2.5]", "shop")
    ]  # fmt: skip
    assert [(event.id, event.filtered) for event in found if isinstance(event, Outcome)] == [(ID, True), (back, False)]
