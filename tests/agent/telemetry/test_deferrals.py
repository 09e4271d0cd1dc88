"""What most deferrals of the last minute were."""

from mailagent.api.smtp import SmtpReply
from mailagent.telemetry.deferrals import SPAN_S, Deferrals

FULL = SmtpReply(code=452, enhanced="4.2.2", text="inbox is full")
BUSY = SmtpReply(code=421, enhanced="4.7.28", text="unusual rate")
SERVFAIL = SmtpReply(code=451, enhanced="4.4.3", text="SERVFAIL", local=True)
CELL = ("gmail", "mkt-1")
NOW = 1_700_000_000.0


def kind(deferrals: Deferrals, now_s: float) -> str:
    most = deferrals.most(CELL, now_s)
    assert most is not None
    return most.category


def test_one_of_another_kind_between_many_changes_nothing() -> None:
    deferrals = Deferrals()
    assert deferrals.most(CELL, NOW) is None
    for second in range(40):
        deferrals.add(CELL, "mailbox-full" if second % 4 == 3 else "rate-limit", FULL, NOW + second)
        assert kind(deferrals, NOW + second) == "rate-limit"


def test_two_kinds_that_are_level_do_not_take_turns() -> None:
    deferrals = Deferrals()
    kinds = ("rate-limit", "mailbox-full")
    for second in range(600):
        more = [kinds[second // 20 % 2]] if second % 3 == 0 else []
        for category in (*kinds, *more):
            deferrals.add(CELL, category, BUSY, NOW + second)
        assert kind(deferrals, NOW + second) == "rate-limit"


def test_another_kind_is_told_when_the_minute_is_its_own_and_its_last_reply_with_it() -> None:
    deferrals = Deferrals()
    for _ in range(30):
        deferrals.add(CELL, "mailbox-full", FULL, NOW)
    for second in range(SPAN_S + 10):
        deferrals.add(CELL, "rate-limit", BUSY, NOW + second)
    most = deferrals.most(CELL, NOW + SPAN_S + 10)
    assert most is not None
    assert (most.category, most.reply) == ("rate-limit", BUSY)
    assert deferrals.last[CELL] == BUSY


def test_what_was_told_last_stays_while_nothing_is_deferred() -> None:
    deferrals = Deferrals()
    deferrals.add(CELL, "mailbox-full", FULL, NOW)
    assert kind(deferrals, NOW + 10 * SPAN_S) == "mailbox-full"


def test_a_clock_that_is_set_back_loses_no_deferral() -> None:
    deferrals = Deferrals()
    deferrals.add(CELL, "rate-limit", BUSY, NOW)
    for _ in range(9):
        deferrals.add(CELL, "mailbox-full", FULL, NOW)
        deferrals.add(CELL, "mailbox-full", FULL, NOW - 30)
    assert kind(deferrals, NOW) == "mailbox-full"


def test_what_has_no_provider_yet_counts_for_the_host() -> None:
    deferrals = Deferrals()
    deferrals.add(("", ""), "dns-temp", SERVFAIL, NOW)
    most = deferrals.most_of_all(NOW)
    assert most is not None
    assert most.reply == SERVFAIL
    assert not deferrals.last
