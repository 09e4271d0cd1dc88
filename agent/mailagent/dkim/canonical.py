"""The relaxed forms of a header field and of a body (RFC 6376 sections 3.4.2 and 3.4.4), in linear time.

Bodies come from outside, so a run of a million blanks must cost what any million octets cost: runs are made one blank
first, and only then line ends are looked at.
"""

import re

_RUN = re.compile(rb"  +")


def relaxed_value(value: bytes) -> bytes:
    """The value of a field: unfolded, runs of white space as one blank, none at its ends."""
    return _one_blank(value.replace(b"\r\n", b"")).strip(b" ")


def relaxed_body(body: bytes) -> bytes:
    """A text of CRLF lines: no white space at the end of a line, no empty lines at the end, runs as one blank.

    A last line without its end gets one; nothing but empty lines is nothing.
    """
    text = _one_blank(body if body.endswith(b"\r\n") else body + b"\r\n")
    if b" \r\n" in text:
        text = text.replace(b" \r\n", b"\r\n")
    if text.endswith(b"\r\n\r\n") or text == b"\r\n":
        text = text.rstrip(b"\r\n")
        return text + b"\r\n" if text else b""
    return text


def _one_blank(text: bytes) -> bytes:
    if b"\t" in text:
        text = text.replace(b"\t", b" ")
    return _RUN.sub(b" ", text) if b"  " in text else text
