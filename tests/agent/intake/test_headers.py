"""The header block: counting, extracting, stripping."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mailagent.intake.headers import MAX_BLOCK, HeadersTooLarge, scan


@pytest.mark.parametrize(
    ("message", "body"),
    [
        (b"", b""),
        (b"\r\nText\r\n\r\nMore\r\n", b"\r\nText\r\n\r\nMore\r\n"),
        (b"A: 1\r\n", b"A: 1\r\n"),
        (b"X-Job: 1\r\n", b""),
        (b"X-Job: 1\r\n\r\nText\r\n", b"\r\nText\r\n"),
        (b"A: 1\r\nX-Job: 1\r\n\r\n", b"A: 1\r\n\r\n"),
        (b"A: 1\r\nX-Job: 1\r\n", b"A: 1\r\n"),
        (b"X-Job: 1\r\nA: 1\r\n\r\nX-Job: 2\r\n", b"A: 1\r\n\r\nX-Job: 2\r\n"),
        (b"X-Job: 1\r\nX-Virtual-MTA: 2\r\nx-JOB\t :\r\n\t3\r\n 4\r\nA: 1\r\n\r\n", b"A: 1\r\n\r\n"),
        (b"X-Jobs: 1\r\nA:\r\n X-Job: 1\r\n\r\n", b"X-Jobs: 1\r\nA:\r\n X-Job: 1\r\n\r\n"),
    ],
)
def test_control_fields_and_nothing_else_are_removed(message: bytes, body: bytes) -> None:
    assert scan(message).body == body


def test_values_are_unfolded_and_the_first_one_counts() -> None:
    scanned = scan(
        b"X-Stream:\r\n news;\r\n\tdaily \r\nx-stream: other\r\nSubject: a\r\nX-JOB: j1\r\nX-Job: j2\r\n\r\n",
        frozenset({b"x-stream", b"list-id"}),
    )
    assert scanned.values == {b"x-stream": b"news;\tdaily"}
    assert scanned.job == "j1"


def test_a_wanted_control_field_is_given_and_still_removed() -> None:
    scanned = scan(b"X-Job: j1\r\nReceived: x\r\n\r\n", frozenset({b"x-job", b"received"}))
    assert scanned.values == {b"x-job": b"j1", b"received": b"x"}
    assert scanned.body == b"Received: x\r\n\r\n"


def test_control_values_are_harmless_text() -> None:
    scanned = scan(b"X-Job: a\x1b[31m\xff\r\nX-Virtual-MTA: " + b"m" * 900 + b"\r\n\r\n")
    assert scanned.job == "a[31m\\xff"
    assert len(scanned.virtual_mta) == 256


def test_only_received_fields_of_the_header_are_hops() -> None:
    block = b"Received: a\r\n\tReceived: b\r\nRECEIVED : c\r\nX-Received: d\r\nReceived-SPF: e\r\n\r\nReceived: f\r\n"
    assert scan(block).hops == 2


@pytest.mark.parametrize(("extra", "fits"), [(0, True), (1, False)])
def test_the_block_is_bounded_to_the_octet(extra: int, fits: bool) -> None:
    line = b"A: " + b"x" * 59 + b"\r\n"
    block = line * (MAX_BLOCK // len(line))
    assert len(block) == MAX_BLOCK
    folded = block.replace(b"\r\nA", b"\r\n ")
    message = b"y" * extra + folded + b"\r\n" + b"text\r\n" * 10_000
    if fits:
        assert scan(message).body == message
    else:
        with pytest.raises(HeadersTooLarge):
            scan(message)


def test_a_megabyte_of_subject_is_too_large() -> None:
    with pytest.raises(HeadersTooLarge):
        scan(b"Subject:" + b" x\r\n" * 250_000 + b"\r\n")


def test_folded_lines_are_no_fields() -> None:
    assert scan(b"A: 1\r\n" + b" 2\r\n" * 5000 + b"\r\n").hops == 0
    with pytest.raises(HeadersTooLarge):
        scan(b"A: 1\r\n" * 1001 + b"\r\n")


_FIELDS = st.lists(
    st.sampled_from(
        [
            b"A: 1",
            b"X-Job: 1",
            b"x-job:",
            b"X-Virtual-MTA: m\r\n fold",
            b"Received: x\r\n\ty",
            b"junk",
            b"X-Job",
            b": x",
        ]
    ),
    max_size=12,
)


@given(fields=_FIELDS, text=st.sampled_from([b"", b"\r\n", b"\r\nText\r\n", b"\r\nX-Job: no\r\n\r\n"]))
def test_what_is_kept_is_exactly_the_other_fields(fields: list[bytes], text: bytes) -> None:
    scanned = scan(b"".join(field + b"\r\n" for field in fields) + text)
    kept = [field for field in fields if not field.lower().startswith((b"x-job:", b"x-virtual-mta:"))]
    assert scanned.body == b"".join(field + b"\r\n" for field in kept) + text
    assert scanned.hops == sum(field.startswith(b"Received:") for field in fields)
