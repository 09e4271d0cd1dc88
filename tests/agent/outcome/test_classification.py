"""What a reply means for a recipient."""

import csv
import subprocess
import sys
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mailagent.api.classification import Action, Category, Scope, Verdict
from mailagent.api.outcome import Bounced, Deferred, Delivered
from mailagent.api.smtp import SmtpReply, Verb
from mailagent.outcome.classification import Classifier, load_rules, outcome_of, too_many_recipients
from mailagent.outcome.classification.rules import ADDRESS_CATEGORIES

BEFORE_MAIL = (Verb.CONNECT, Verb.EHLO, Verb.STARTTLS)
CLASSIFIER = Classifier(load_rules())

with (Path(__file__).parent / "smtp-responses.csv").open(encoding="utf-8", newline="") as _file:
    ROWS = list(csv.DictReader(_file))


def _classified(row: dict[str, str], verb: Verb | None = None) -> Verdict:
    code = int(row["smtp_code"] or 0)
    return CLASSIFIER.classify(row["provider"], code, row["enhanced_code"], row["text_sample"], verb)


@pytest.mark.parametrize("row", ROWS, ids=lambda row: row["text_sample"][:40])
def test_real_replies_have_the_category_and_action_that_people_gave_them(row: dict[str, str]) -> None:
    verdict = _classified(row)
    assert (verdict.category, verdict.action) == (row["category"], row["action"])


@pytest.mark.parametrize("verb", [Verb.CONNECT, Verb.EHLO, Verb.STARTTLS, Verb.MAIL])
@pytest.mark.parametrize("row", [row for row in ROWS if row["provider"] != "local"], ids=lambda row: row["text_sample"])
def test_nothing_before_rcpt_is_about_an_address(row: dict[str, str], verb: Verb) -> None:
    verdict = _classified(row, verb)
    assert verdict.action is not Action.SUPPRESS
    assert verdict.category not in ADDRESS_CATEGORIES


def test_after_rcpt_a_code_alone_is_not_about_an_address() -> None:
    reply = SmtpReply(code=550, enhanced="5.1.1", text="Sorry", verb=Verb.DOT)
    assert CLASSIFIER.verdict(reply, "default").category is Category.OTHER
    reply = SmtpReply(code=550, enhanced="5.1.1", text="User unknown", verb=Verb.DOT)
    assert CLASSIFIER.verdict(reply, "default").action is Action.SUPPRESS


@pytest.mark.parametrize(
    "text",
    [
        "User unknown; too many spam reports from your server",
        "Mailbox does not exist in our policy",
        "No such user, your IP is blocked",
        "Recipient unknown, try again later",
    ],
)
def test_a_text_that_speaks_of_something_else_never_suppresses(text: str) -> None:
    for enhanced in ("", "5.7.1", "5.1.1"):
        assert CLASSIFIER.classify("default", 550, enhanced, text, Verb.RCPT).action is not Action.SUPPRESS


def test_552_to_rcpt_is_one_recipient_too_many_and_after_data_a_size() -> None:
    assert CLASSIFIER.classify("", 552, "", "Sorry", Verb.RCPT).category is Category.TOO_MANY_RECIPIENTS
    assert CLASSIFIER.classify("", 552, "", "Sorry", Verb.DOT).category is Category.MESSAGE_TOO_LARGE


def test_a_code_within_the_text_counts() -> None:
    verdict = CLASSIFIER.classify("", 553, "", "sorry, no idea (#5.7.1)", Verb.RCPT)
    assert verdict.category is Category.POLICY


def test_the_name_of_a_provider_in_the_configuration_is_as_good_as_that_in_the_rules() -> None:
    for name in ("google", "gmail"):
        assert CLASSIFIER.classify(name, 421, "4.7.28", "Whatever", Verb.DOT).rule == "google-rate-code"
    assert CLASSIFIER.classify("default", 421, "4.7.28", "Whatever", Verb.DOT).rule == "code-flood"


def test_the_same_reply_is_decided_once_and_what_is_remembered_is_bounded() -> None:
    classifier = Classifier(load_rules())
    verdicts = [
        classifier.classify("", 550, "5.1.1", f"<{name}@example.org>: User unknown, id 0123456789abcd{name}", Verb.RCPT)
        for name in ("a", "b")
    ]
    assert verdicts[0] is verdicts[1]


def test_what_no_rule_knows_is_said_to_be_unmatched() -> None:
    assert CLASSIFIER.classify("", 550, "", "Qwerty", Verb.RCPT) == Verdict(
        category=Category.OTHER, action=Action.FAIL, scope=Scope.MESSAGE, rule="unmatched"
    )
    assert CLASSIFIER.classify("", 450, "", "Qwerty", Verb.RCPT).action is Action.RETRY


_PIECES = st.lists(st.sampled_from([row["text_sample"] for row in ROWS]) | st.text(max_size=80), max_size=3)


@given(
    provider=st.sampled_from(["", "default", "gmail", "outlook", "qq", "local"]),
    code=st.just(0) | st.integers(400, 599),
    enhanced=st.just("") | st.from_regex(r"[45]\.[0-7]\.[0-9]{1,2}", fullmatch=True),
    pieces=_PIECES,
    verb=st.sampled_from([None, *Verb]),
)
def test_any_reply_has_a_meaning_and_only_a_final_one_about_an_address_suppresses(
    provider: str, code: int, enhanced: str, pieces: list[str], verb: Verb | None
) -> None:
    verdict = CLASSIFIER.classify(provider, code, enhanced, " ".join(pieces), verb)
    if verdict.action is Action.SUPPRESS:
        assert verdict.category in ADDRESS_CATEGORIES
        assert code >= 500 or (code == 0 and not (enhanced.startswith("4")))
        assert verb in (None, Verb.RCPT, Verb.DATA, Verb.DOT) or provider == "local"


@given(before=_PIECES, after=_PIECES, word=st.sampled_from(["sender", "Return-Path", "MAIL FROM"]))
def test_a_text_about_senders_suppresses_nobody(before: list[str], after: list[str], word: str) -> None:
    text = " ".join([*before, word, *after])
    if word.lower() in text[:400].lower():  # what rules see
        assert CLASSIFIER.classify("gmail", 550, "5.1.1", text, Verb.RCPT).action is not Action.SUPPRESS


# --- outcomes ------------------------------------------------------------------------------------------------------


def _outcome(reply: SmtpReply, *, patient: bool = True) -> Delivered | Deferred | Bounced:
    verdict = None if reply.is_success else CLASSIFIER.verdict(reply, "default")
    return outcome_of(reply, verdict, patient=patient)


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
def test_the_verb_guards_what_a_reply_may_end(verb: Verb, code: int, kind: type) -> None:
    assert isinstance(_outcome(SmtpReply(code=code, verb=verb)), kind)


@pytest.mark.parametrize(
    "text",
    [
        "Ip frequency limited",
        "Too many connections",
        "Your IP is on our blacklist",
        "SPF check failed",
        "No PTR record",
    ],
)
def test_a_5yz_that_is_not_about_recipient_or_message_is_borne_for_a_while(text: str) -> None:
    reply = SmtpReply(code=550, text=text, verb=Verb.RCPT)
    assert isinstance(_outcome(reply), Deferred)
    assert isinstance(_outcome(reply, patient=False), Bounced)


@pytest.mark.parametrize("text", ["User unknown", "Message looks like spam", "Mailbox full", "Relay access denied"])
def test_a_5yz_about_recipient_or_message_bounces(text: str) -> None:
    assert isinstance(_outcome(SmtpReply(code=550, text=text, verb=Verb.RCPT)), Bounced)


@pytest.mark.parametrize("row", [row for row in ROWS if row["category"] == "too-many-recipients"])
def test_too_many_recipients_is_seen(row: dict[str, str]) -> None:
    code, enhanced = int(row["smtp_code"]), row["enhanced_code"]
    assert too_many_recipients(SmtpReply(code=code, enhanced=enhanced, text=row["text_sample"], verb=Verb.RCPT))


def test_our_own_refusal_is_final_whatever_the_verb() -> None:
    assert isinstance(_outcome(SmtpReply(code=556, enhanced="5.1.10", local=True)), Bounced)


def test_a_recipient_too_many_is_known_by_its_enhanced_code() -> None:
    assert isinstance(_outcome(SmtpReply(code=550, enhanced="5.5.3", verb=Verb.RCPT)), Deferred)


def test_greylisting_is_said_in_the_outcome() -> None:
    outcome = _outcome(SmtpReply(code=450, text="Greylisted, come back", verb=Verb.RCPT))
    assert isinstance(outcome, Deferred)
    assert outcome.greylisted


@given(
    st.builds(
        SmtpReply,
        code=st.just(0) | st.integers(200, 599),
        text=st.text(max_size=50),
        verb=st.sampled_from(Verb),
        local=st.booleans(),
    ),
    st.booleans(),
)
def test_every_reply_has_an_outcome_that_keeps_it(reply: SmtpReply, patient: bool) -> None:
    outcome = _outcome(reply, patient=patient)
    assert outcome.reply is reply
    assert isinstance(outcome, Delivered) == reply.is_success
    if isinstance(outcome, Bounced):
        assert reply.is_permanent


@pytest.mark.parametrize(
    ("code", "enhanced", "text"),
    [
        (550, "", "The address in your From: header does not exist"),
        (550, "", "This user does not accept mail from unknown addresses"),
        (550, "5.7.27", "<a@example.com>: Sender address rejected: Domain example.com does not accept mail (nullMX)"),
        (550, "5.1.0", "<a@example.com>: Sender address rejected: User unknown in virtual mailbox table"),
        (503, "", "No recipients specified"),
        (550, "", "Unknown user agent"),
        (550, "", "Your account has been disabled, contact support"),
        (550, "", "This server has moved"),
        (554, "", "Please remove the link from your message"),
        (550, "", "LDAP directory lookup failed, user not found"),
        (550, "", "Recipient not found in whitelist"),
        (521, "", "Host does not accept mail"),
        (550, "5.2.0", "Other or undefined mailbox status"),
        (535, "", "Invalid user or password"),
        (550, "5.1.1", "<nobody@example.org>: Recipient address rejected: Access denied"),
    ],
)
def test_texts_that_sound_like_a_mailbox_and_are_not_suppress_nobody(code: int, enhanced: str, text: str) -> None:
    for verb in (None, Verb.RCPT, Verb.DOT):
        assert CLASSIFIER.classify("", code, enhanced, text, verb).action is not Action.SUPPRESS


def test_our_own_replies_are_known_by_their_codes_whatever_the_domain_is_called() -> None:
    for code, enhanced, text, category in (
        (556, "5.1.10", "spam.example accepts no mail (null MX)", Category.BAD_DOMAIN),
        (550, "5.1.2", "blocked.example: no such domain", Category.BAD_DOMAIN),
        (451, "4.4.3", "quota.example: SERVFAIL", Category.DNS_TEMP),
        (0, "4.4.1", "mx.virus.example[192.0.2.1]:25: refused", Category.NETWORK),
        (0, "4.7.4", "the peer offers no STARTTLS", Category.TLS_REQUIRED),
    ):
        reply = SmtpReply(code=code, enhanced=enhanced, text=text, local=True)
        assert CLASSIFIER.verdict(reply, "").category is category


_HOSTILE = """
from mailagent.api.smtp import Verb
from mailagent.outcome.classification import Classifier, load_rules

rules = load_rules()
classifier = Classifier(rules)
units = ["1-", "1.", "a.", "a@", "<a@", "0f0f0f0f0f0f.", "a-", "9", "5.7.1.", "a "]
units += [text for rule in rules for text in (*rule.text, *rule.examples)]
for n in range(20):
    for unit in units[:10]:
        classifier.classify("gmail", 550, "", f"{n} " + unit * 1200, Verb.RCPT)
for unit in units:
    classifier.classify("gmail", 550, "", unit * 1200, Verb.RCPT)
"""


def test_no_text_of_a_peer_keeps_the_loop() -> None:
    # in a process of its own, for no thread can stop a regular expression; it took seconds for each text once
    subprocess.run([sys.executable, "-c", _HOSTILE], check=True, timeout=120)
