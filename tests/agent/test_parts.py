"""Parts of a message: listed and bounded, whatever it holds."""

from hypothesis import given
from hypothesis import strategies as st

from mailagent.parts import MOST_BYTES, parts_of

MIXED = (
    b"Subject: x\r\nContent-Type: multipart/mixed; boundary=b\r\n\r\n"
    b"--b\r\nContent-Type: text/plain; charset=utf-8\r\nContent-Transfer-Encoding: quoted-printable\r\n\r\n"
    b"gr=C3=BC=C3=9Fe\r\n"
    b"--b\r\nContent-Type: text/html\r\n\r\n<p>hello <b>you</b></p>\r\n"
    b'--b\r\nContent-Type: application/pdf; name="a.pdf"\r\nContent-Disposition: attachment; filename="b.pdf"\r\n'
    b"Content-Transfer-Encoding: base64\r\n\r\nAAECAwQ=\r\n--b--\r\n"
)


def test_leaves_have_type_name_and_decoded_size() -> None:
    found = parts_of(MIXED, None)
    assert found is not None
    assert [(one.n, one.kind, one.name) for one in found.parts] == [
        (0, "text/plain", ""),
        (1, "text/html", ""),
        (2, "application/pdf", "b.pdf"),
    ]
    assert found.parts[2].octets == 5
    assert (found.text, found.truncated) == ("", False)


def test_a_text_is_decoded_and_html_has_no_tags() -> None:
    plain, html = parts_of(MIXED, 0), parts_of(MIXED, 1)
    assert plain is not None
    assert html is not None
    assert plain.text.strip() == "grüße"
    assert html.text.strip() == "hello you"
    assert parts_of(MIXED, 3) is None


def test_a_large_message_is_looked_at_in_part() -> None:
    found = parts_of(b"Subject: x\r\n\r\n" + b"y" * (MOST_BYTES + 1), 0)
    assert found is not None
    assert found.truncated
    assert found.text_truncated
    assert len(found.text) <= 65_536


@given(st.binary(max_size=2000), st.integers(0, 3))
def test_nothing_that_a_message_holds_raises(body: bytes, n: int) -> None:
    assert parts_of(body, None) is not None
    parts_of(body, n)
