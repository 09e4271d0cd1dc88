import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mailagent.dkim.canonical import relaxed_body, relaxed_value

TEXT = st.lists(st.sampled_from([b" ", b"\t", b"a", b"\r\n", b" \r\n", b"\x0b", b"\xff"]), max_size=60).map(b"".join)


def naive_body(body: bytes) -> bytes:
    """RFC 6376 section 3.4.4, word for word."""
    lines = body.split(b"\r\n")
    if lines[-1] == b"":
        lines.pop()
    lines = [re.sub(rb"[ \t]+", b" ", line).rstrip(b" \t") for line in lines]
    while lines and not lines[-1]:
        lines.pop()
    return b"".join(line + b"\r\n" for line in lines)


@given(TEXT)
def test_a_body_is_what_the_rfc_says(body: bytes) -> None:
    assert relaxed_body(body) == naive_body(body)


@given(TEXT)
def test_a_value_is_what_the_rfc_says(value: bytes) -> None:
    assert relaxed_value(value) == re.sub(rb"[ \t]+", b" ", value.replace(b"\r\n", b"")).strip(b" \t")


def test_the_example_of_rfc_6376_section_3_4_5() -> None:
    assert relaxed_value(b" X \r\n\t") == b"X"
    assert relaxed_value(b" Y\t\r\n\tZ  ") == b"Y Z"
    assert relaxed_body(b" C \r\nD \t E\r\n\r\n\r\n") == b" C\r\nD E\r\n"


@pytest.mark.parametrize("body", [b"", b"\r\n", b"\r\n\r\n\r\n", b" \t\r\n \r\n"])
def test_nothing_but_empty_lines_is_nothing(body: bytes) -> None:
    assert relaxed_body(body) == b""


@pytest.mark.parametrize("run", [b" ", b"\t", b" \t", b"\r\n", b" \r\n"])
def test_runs_of_megabytes_take_linear_time(run: bytes) -> None:
    # a quadratic canonicaliser would need hours for each
    assert relaxed_body(b"a" + run * 4_000_000 + b"b\r\n").startswith(b"a")
    assert relaxed_body(b"a" + run * 4_000_000) == b"a\r\n"
