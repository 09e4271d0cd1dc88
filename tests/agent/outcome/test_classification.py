"""What a reply means for a recipient."""

import csv
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mailagent.api.outcome import Bounced, Deferred, Delivered
from mailagent.api.smtp import SmtpReply, Verb
from mailagent.outcome.classification import is_greylisting, outcome_of, too_many_recipients

BEFORE_MAIL = (Verb.CONNECT, Verb.EHLO, Verb.STARTTLS)


def _rows() -> list[tuple[SmtpReply, str]]:
    """Replies of real servers, as an answer to RCPT, with their category."""
    with (Path(__file__).parent / "smtp-responses.csv").open(encoding="utf-8", newline="") as file:
        return [
            (
                SmtpReply(
                    code=int(row["smtp_code"] or 0),
                    enhanced=row["enhanced_code"],
                    text=row["text_sample"],
                    verb=Verb.RCPT,
                    local=row["provider"] == "local",
                ),
                row["category"],
            )
            for row in csv.DictReader(file)
        ]


ROWS = _rows()


@pytest.mark.parametrize(("reply", "category"), ROWS)
def test_real_replies_are_greylisting_exactly_when_their_category_says_so(reply: SmtpReply, category: str) -> None:
    assert is_greylisting(reply) == (category == "greylist")


@pytest.mark.parametrize(("reply", "category"), ROWS)
def test_real_replies_to_rcpt_bounce_when_permanent(reply: SmtpReply, category: str) -> None:
    outcome = outcome_of(reply)
    if reply.code >= 500 and reply.code != 552:
        assert isinstance(outcome, Bounced)
    else:
        assert isinstance(outcome, Deferred)


@pytest.mark.parametrize(("reply", "category"), [row for row in ROWS if row[1] == "too-many-recipients"])
def test_too_many_recipients_is_seen(reply: SmtpReply, category: str) -> None:
    assert too_many_recipients(reply)


@pytest.mark.parametrize(
    ("verb", "code", "kind"),
    [
        (Verb.DOT, 250, Delivered),
        (Verb.CONNECT, 0, Deferred),
        (Verb.DOT, 0, Deferred),
        *((verb, 554, Deferred) for verb in BEFORE_MAIL),
        *((verb, 421, Deferred) for verb in Verb),
        (Verb.CONNECT, 521, Deferred),
        (Verb.MAIL, 550, Bounced),
        (Verb.RCPT, 550, Bounced),
        (Verb.RCPT, 552, Deferred),
        (Verb.DATA, 554, Bounced),
        (Verb.DOT, 552, Bounced),
        (Verb.DOT, 550, Bounced),
        (Verb.DATA, 354, Deferred),  # out of place
    ],
)
def test_the_verb_guards_what_a_reply_may_mean(verb: Verb, code: int, kind: type) -> None:
    assert isinstance(outcome_of(SmtpReply(code=code, verb=verb)), kind)


def test_our_own_refusal_is_final_whatever_the_verb() -> None:
    assert isinstance(outcome_of(SmtpReply(code=556, enhanced="5.1.10", local=True)), Bounced)


def test_a_recipient_too_many_is_known_by_its_enhanced_code() -> None:
    assert isinstance(outcome_of(SmtpReply(code=550, enhanced="5.5.3", verb=Verb.RCPT)), Deferred)
    assert isinstance(outcome_of(SmtpReply(code=550, enhanced="5.5.3", verb=Verb.DOT)), Bounced)


def test_greylisting_is_said_in_the_outcome() -> None:
    outcome = outcome_of(SmtpReply(code=450, text="Greylisted, come back", verb=Verb.RCPT))
    assert isinstance(outcome, Deferred)
    assert outcome.greylisted


@given(
    st.builds(
        SmtpReply,
        code=st.just(0) | st.integers(200, 599),
        text=st.text(max_size=50),
        verb=st.sampled_from(Verb),
        local=st.booleans(),
    )
)
def test_every_reply_has_an_outcome_that_keeps_it(reply: SmtpReply) -> None:
    outcome = outcome_of(reply)
    assert outcome.reply is reply
    assert isinstance(outcome, Delivered) == reply.is_success
    if isinstance(outcome, Bounced):
        assert reply.is_permanent
