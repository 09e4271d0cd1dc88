import base64
import re
from hashlib import sha256

import dkim
import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey
from hypothesis import given
from hypothesis import strategies as st

from mailagent.dkim import Algorithm, signatures
from mailagent.dkim.canonical import relaxed_value
from mailagent.dkim.signature import OVERSIGNED
from tests.agent.dkim.material import SIMPLE, signing_key, verified

NAMES = st.sampled_from(
    [b"From", b"from", b"To", b"Subject", b"Date", b"Received", b"List-Unsubscribe", b"Feedback-ID", b"X-Y", b"Cc"]
)
WORDS = st.sampled_from([b"a", b" ", b"\t", b"\r\n ", b"\r\n\t", b"; ", b":", b"=?utf-8?q?=C3=A4?=", b"<x@y.example>"])
VALUES = st.lists(WORDS, max_size=8).map(lambda parts: b"".join(parts) + b"z")
FIELDS = st.lists(st.tuples(NAMES, st.sampled_from([b":", b": ", b":\t"]), VALUES).map(b"".join), max_size=8)
BODIES = st.lists(
    st.sampled_from([b"\r\n", b" \r\n", b"  ", b"\t", b"text", b"\xc3\xa4\xff", b".", b"\r\n\r\n"]), max_size=30
).map(lambda parts: b"".join(parts) + b"\r\n")


def tags(field: bytes) -> dict[str, str]:
    """The tags of a DKIM-Signature field."""
    value = field.split(b":", 1)[1].decode()
    return {
        name.strip(): re.sub(r"\s", "", content)
        for name, _, content in (part.partition("=") for part in value.split(";"))
    }


def signed(message: bytes, **how: int) -> tuple[bytes, dict[str, str]]:
    field = signatures(message, [signing_key()], at=1_700_000_000, **how)
    return field, tags(field)


@given(FIELDS, BODIES)
def test_dkimpy_accepts_what_we_sign(fields: list[bytes], body: bytes) -> None:
    message = b"\r\n".join((b"From: Ann <ann@example.com>", *fields)) + b"\r\n\r\n" + body
    assert verified(signed(message)[0] + message, signing_key())


@pytest.mark.parametrize(
    "message",
    [
        SIMPLE,
        b"From: ann@example.com\r\n\r\n",  # an empty body
        b"From: ann@example.com\r\n\r\n\r\n\r\n",  # a body of empty lines
        b"From: ann@example.com\r\n",  # no body at all
        b"From:ann@example.com\r\nSubject:no space\r\n\r\nx\r\n",
        b"From: ann@example.com\r\nSubject:\r\nTo:  \r\n\r\nx\r\n",  # empty values
        b"From: ann@example.com\r\nSubject: a\r\n\tb\r\n  c\r\n\r\nx\r\n",  # folded
        b"From: ann@example.com\r\nTo: a@b\r\nTo: c@d\r\nTo: e@f\r\n\r\nx\r\n",  # duplicates
        b"FROM: ann@example.com\r\nsUBJECT: case\r\n\r\nx\r\n",
        b"From: ann@example.com\r\nSubject: \xc3\xa4\r\n\r\n8-bit \xe4\xf6\xfc\r\n",
        b"From: ann@example.com\r\n\r\ntrailing   \r\n blanks\t\t\r\n\r\n \r\n",
        b"From: ann@example.com\r\n\r\n.\r\n..dots\r\n",
    ],
)
def test_the_corners(message: bytes) -> None:
    whole = signed(message)[0] + message
    assert verified(whole if b"\r\n\r\n" in message else whole + b"\r\n", signing_key())


def test_a_changed_body_or_header_is_noticed() -> None:
    whole = signed(SIMPLE)[0] + SIMPLE
    assert not verified(whole.replace(b"world", b"World"), signing_key())
    assert not verified(whole.replace(b"hello", b"Hello"), signing_key())


@pytest.mark.parametrize("name", sorted(OVERSIGNED))
def test_nobody_can_add_another_one(name: bytes) -> None:
    whole = signed(SIMPLE)[0] + SIMPLE
    try:
        accepted = verified(name + b": another\r\n" + whole, signing_key())
    except dkim.DKIMException:  # a second From is refused before the signature is looked at
        accepted = False
    assert not accepted


def test_the_tags_of_a_signature() -> None:
    found = signed(SIMPLE)[1]
    assert (found["v"], found["a"], found["c"], found["d"], found["s"], found["t"]) == (
        "1", "rsa-sha256", "relaxed/relaxed", "example.com", "s-rsa", "1700000000"
    )  # fmt: skip
    assert not {"l", "x", "i", "z"} & found.keys()
    assert signed(SIMPLE, life_s=3600)[1]["x"] == "1700003600"


def test_the_list_of_a_key_and_both_list_unsubscribe_fields_are_covered() -> None:
    message = b"From: a@example.com\r\nX-Y: 1\r\nSubject: s\r\nList-Unsubscribe: <https://u.example/1>\r\n\r\nx\r\n"
    field = signatures(message, [signing_key(headers=("From", "X-Y", "Cc"))], at=1)
    assert tags(field)["h"] == "From:From:X-Y:List-Unsubscribe:List-Unsubscribe:List-Unsubscribe-Post"


def test_lines_are_short() -> None:
    assert max(map(len, signed(SIMPLE)[0].split(b"\r\n"))) <= 120


def test_ed25519_is_a_second_signature_over_the_same_body() -> None:
    keys = [signing_key(), signing_key(Algorithm.ED25519)]
    fields = signatures(SIMPLE, keys, at=1)
    first, second = re.split(rb"(?<=\r\n)(?=DKIM-Signature:)", fields)
    assert tags(first)["bh"] == tags(second)["bh"]
    assert verified(fields + SIMPLE, keys[0])
    # dkimpy wants another library for this one, so RFC 8463 section 3 by hand
    unfinished = second[: second.rindex(b"b=") + 2]
    listed = [(b"from", b"Ann <ann@example.com>"), (b"subject", b"hello"), (b"to", b"b@example.net")]
    data = b"".join(name + b":" + value + b"\r\n" for name, value in listed)
    data += b"dkim-signature:" + relaxed_value(unfinished.split(b":", 1)[1])
    public = Ed25519PublicKey.from_public_bytes(keys[1].key.public)
    public.verify(base64.b64decode(tags(second)["b"]), sha256(data).digest())


@pytest.mark.parametrize("size", [0, 1, 2046, 2047, 2048, 10_240, 262_143, 262_144, 300_000])
def test_a_body_of_any_size_has_the_right_hash(size: int) -> None:
    message = b"From: a@example.com\r\n\r\n" + b"x" * size + b"\r\n"
    assert verified(signed(message)[0] + message, signing_key())
