"""Checks of one message: headers (RFC 5322, 8058), MIME (RFC 2045, 2046), From."""

from contextlib import suppress

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mailagent.config.streams import Check, Checks
from mailagent.intake.checks import BrokenMessage, domains_of, fields_of, findings, lies_in, looks_like_bulk

ALL = Checks(
    aligned=Check.REFUSE, unsubscribe=Check.REFUSE, date=Check.REFUSE, message_id=Check.REFUSE,
    plain_text=Check.REFUSE, mime=Check.REFUSE,
)  # fmt: skip
HEADER = (
    "From: News <news@one.test>\nDate: Tue, 01 Jan 2030 00:00:00 +0000\nMessage-ID: <1@one.test>\n"
    "List-Unsubscribe: <mailto:u@one.test>,\n <https://one.test/u?x=1>\n"
    "List-Unsubscribe-Post: List-Unsubscribe=One-Click\n"
)
BOTH = (
    'Content-Type: multipart/alternative; charset=utf-8;\n boundary="b=_1"\n\npreamble\n'
    "--b=_1\nContent-Type: text/plain\n\nhello\n--b=_1\nContent-Type: text/html\n"
    "Content-Transfer-Encoding: base64\n\nPGI+aGk8L2I+\n--b=_1--\nepilogue\n"
)


def wire(text: str) -> bytes:
    return text.replace("\n", "\r\n").encode()


def found(text: str, checks: Checks = ALL, *, aligned: bool = True) -> list[str]:
    return [finding.check for finding in findings(wire(text), checks, lambda value: aligned)]


def told(text: str, checks: Checks = ALL) -> str:
    (finding,) = findings(wire(text), checks, lambda value: True)
    return finding.text


def test_a_good_message_passes() -> None:
    assert found(HEADER + BOTH) == []
    assert found(HEADER + "\nplain text\n") == []
    assert found(HEADER) == []


def test_an_empty_message_fails_what_it_must_have() -> None:
    assert found("\nText\n", aligned=False) == ["aligned", "unsubscribe", "date", "message_id"]
    assert found("\nText\n", Checks()) == []


@pytest.mark.parametrize(
    ("old", "new", "check"),
    [
        ("https://", "http://", "unsubscribe"),
        ("List-Unsubscribe=One-Click", "yes", "unsubscribe"),
        ("List-Unsubscribe-Post", "X-Other", "unsubscribe"),
        ("Tue, 01 Jan", "soon", "date"),
        ("<1@one.test>", "1", "message_id"),
        ("Message-ID: <1@one.test>", "Message-ID:", "message_id"),
    ],
)
def test_each_field_is_looked_at(old: str, new: str, check: str) -> None:
    assert found(HEADER.replace(old, new, 1) + "\nText\n") == [check]


@pytest.mark.parametrize(
    ("message", "why"),
    [
        (HEADER + "no field\n\nText\n", "line 7 of the header"),
        ("From me Tue Jan  1\n" + HEADER + "\nText\n", "line 1 of the header"),
        (HEADER + "Subject: a\nsubject: b\n\nText\n", "subject stands twice"),
        (HEADER + "Content-Type: text\n\nText\n", "Content-Type cannot be read"),
        (HEADER + "Content-Type: multipart/mixed\n\nText\n", "no boundary"),
        (HEADER + "Content-Type: multipart/mixed; boundary=x\n\nText\n", "no part"),
        (HEADER + "Content-Type: multipart/mixed; boundary=x\n\n--x--\n", "no part"),
        (HEADER + "Content-Type: multipart/mixed; boundary=x\n\n--x\n\nText\n", "does not end"),
        (HEADER + "Content-Type: multipart/mixed; boundary=x\n\n--xy\n\nText\n--x--\n", "no part"),
        (HEADER + "Content-Type: multipart/mixed; boundary=x\nContent-Transfer-Encoding: base64\n\n--x\n\nT\n--x--\n",
         "encoded as a whole"),
        (HEADER + "Content-Transfer-Encoding: rot13\n\nText\n", "rot13 is no Content-Transfer-Encoding"),
        (HEADER + "Content-Transfer-Encoding: base64\n\nno base64!\n", "not base64"),
        (HEADER + BOTH.replace("Content-Type: text/html", "no field"), "header is no field"),
    ],
)  # fmt: skip
def test_what_is_broken_is_named(message: str, why: str) -> None:
    assert why in told(message)


def test_html_alone_wants_plain_text() -> None:
    assert found(HEADER + "Content-Type: text/html\n\n<b>hi</b>\n") == ["plain_text"]
    attached = BOTH.replace("text/plain\n", "text/plain\nContent-Disposition: attachment; filename=a.txt\n")
    assert found(HEADER + attached) == ["plain_text"]


def test_parts_in_parts_are_bounded() -> None:
    text = "\nText\n"
    for n in range(12):
        text = f"Content-Type: multipart/mixed; boundary=b{n}\n\n--b{n}\n{text.lstrip()}\n--b{n}--\n"
    assert "in each other" in told(HEADER + text)


@pytest.mark.parametrize(
    "field", ["List-Id: <x>", "list-unsubscribe: <https://x>", "Precedence: Bulk", "List-Help: <x>"]
)
def test_list_headers_look_like_bulk(field: str) -> None:
    assert looks_like_bulk(wire(f"Subject: x\n{field}\n\nText\n"))
    assert not looks_like_bulk(wire(f"Subject: x\n\n{field}\n"))


def test_domains_of_from_are_compared_with_zones() -> None:
    assert domains_of(b'"A, B" <a@News.one.test>, b@two.test') == ["news.one.test", "two.test"]
    assert domains_of(b"undisclosed") == []
    assert lies_in("news.one.test", ("one.test",))
    assert lies_in("one.test", ("one.test",))
    assert not lies_in("someone.test", ("one.test",))


@pytest.mark.parametrize(
    "header",
    [
        "From: " + ("(" * 900 + "\n ") * 100,
        "From: " + "a:" * 400 + "\n",
        "From: a@b.example\n" + ("a" * 990 + "\n") * 130,
        "Message-ID: <" + "@" * 900 + "\n",
    ],
    ids=["comments in comments", "groups in groups", "lines without a colon", "at signs"],
)
def test_headers_meant_to_break_the_reader_do_not(header: str) -> None:
    assert "date" in [finding.check for finding in findings(wire(header), ALL, lambda value: bool(domains_of(value)))]


@given(st.text('ab:-=;/ \n\t"<>@multipart/mixed boundary', max_size=200))
def test_any_text_is_judged(text: str) -> None:
    for finding in findings(wire(text), ALL, lambda value: bool(domains_of(value))):
        assert finding.code in (550, 552)
        assert finding.text


@given(st.binary(max_size=100))
def test_any_header_block_is_fields_or_broken(block: bytes) -> None:
    with suppress(BrokenMessage):
        assert all(name == name.lower() for name, _ in fields_of(block))
