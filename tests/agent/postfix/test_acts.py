"""Queue ids, arguments and answers of Postfix's programs."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mailagent.postfix.acts import MOST_IDS, Act, checked, commands, is_id, is_long, last_words, said

LONG = "4jXnt21FWbzJMGw"


def test_both_forms_of_queue_ids_are_told_apart_from_everything_else() -> None:
    assert is_long(LONG)
    assert is_id("C0A81F2B3D4")
    assert not is_long("C0A81F2B3D4")
    for text in (
        "",
        "ALL",
        "-",
        "-d",
        f"{LONG}\n",
        f" {LONG}",
        f"../{LONG}",
        "4jXnt21FWbzJMGz",
        "c0a81f2b3d4",
        "ABCDE",
    ):
        assert not is_id(text), text


@given(st.text())
def test_no_id_has_anything_but_letters_and_digits(text: str) -> None:
    assert not is_id(text) or (text.isascii() and text.isalnum())


def test_ids_go_to_postsuper_on_standard_input_only() -> None:
    assert commands(Act.DELETE, [LONG, LONG]) == [("postsuper", ("-d", "-"), f"{LONG}\n".encode())]
    assert commands(Act.EXPIRE, [LONG])[0][1] == ("-f", "-")
    assert commands(Act.FLUSH, [LONG]) == [("postqueue", ("-i", LONG), b"")]


@pytest.mark.parametrize(
    "ids", [["ALL"], [LONG, "-d"], [f"{LONG};reboot"], [f"4jXnt2{n:05d}zJMG" for n in range(1001)]]
)
def test_what_is_no_id_or_too_many_is_run_for_none(ids: list[str]) -> None:
    with pytest.raises(ValueError, match=r"queue id"):
        commands(Act.HOLD, ids)
    assert MOST_IDS == 1000
    assert checked([]) == ()


OUTPUT = b"""\
postsuper: 4jXnt21G2mzJMMQ: released from hold
postfix-out/postsuper: 4jXnt21C0GzJMM3: expired
postsuper: warning: invalid mail queue id: bad id
postsuper: 4jXnt21GJPzJMMd: removed
postsuper: Force-expired: 1 message
postsuper: Released from hold: 1 message
"""


def test_what_was_done_is_known_by_id() -> None:
    assert said(Act.EXPIRE, OUTPUT) == {"4jXnt21G2mzJMMQ", "4jXnt21C0GzJMM3"}
    assert said(Act.DELETE, OUTPUT) == {"4jXnt21GJPzJMMd"}
    assert said(Act.HOLD, OUTPUT) == frozenset()
    assert said(Act.RELEASE, OUTPUT.replace(b"\n", b"\r\n")) == {"4jXnt21G2mzJMMQ"}


def test_a_failure_tells_its_last_complaint() -> None:
    assert last_words(69, b"postqueue: fatal: Cannot flush mail queue - mail system is down\nbye\n") == (
        "exit code 69: postqueue: fatal: Cannot flush mail queue - mail system is down"
    )
    assert last_words(1, b"") == "exit code 1"
