"""Envelope addresses and client names."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mailagent.intake.address import MAX_ADDRESS, MAX_LOCAL_PART, address_fault, is_helo_name


@pytest.mark.parametrize(
    "address",
    [
        b"a@b",
        b"first.last+tag@sub.example.com",
        b"a..b.@docomo.example",
        b"!#$%&'*+/=?^_`{|}~-@example.com",
        b'"a b@c\\"d"@example.com',
        b'""@example.com',
        b"a@[192.0.2.1]",
        b"a@[IPv6:2001:db8::1]",
        b"a@under_score.example.com",
        b"a@xn--bcher-kva.example",
        "ä@example.com".encode(),
        "a@bücher.example".encode(),
        "用户@例子.example".encode(),
        '"ö ß"@straße.example'.encode(),
        "ä@[192.0.2.1]".encode(),
        b"a" * MAX_LOCAL_PART + b"@example.com",
        b"a@" + b".".join([b"b" * 63] * 3) + b"." + b"c" * (MAX_ADDRESS - 2 - 3 * 64),
    ],
)
def test_mailboxes_are_accepted(address: bytes) -> None:
    assert address_fault(address) == ""


@pytest.mark.parametrize(
    ("address", "words"),
    [
        (b"", "syntax"),
        (b"a", "syntax"),
        (b"@example.com", "source routes"),
        (b"@x.test:a@example.com", "source routes"),
        (b"postmaster", "postmaster with its domain"),
        (b"a@", "syntax"),
        (b"a@b@c", "syntax"),
        (b"a b@example.com", "syntax"),
        (b'"a"b@example.com', "syntax"),
        (b'"a\\"@example.com', "syntax"),
        (b"a@-b.example", "syntax"),
        (b"a@b-.example", "syntax"),
        (b"a@b..example", "syntax"),
        (b"a@b.example.", "syntax"),
        (b"a@[192.0.2.1", "syntax"),
        (b"a@" + b"b" * 64, "syntax"),
        (b"a\r\n@example.com", "syntax"),
        (b"\xc3@example.com", "syntax"),
        ("ä@exa mple.com".encode(), "syntax"),
        ("a@bü★cher.example".encode(), "syntax"),
        ("ä@-b.example".encode(), "syntax"),
        ("ä".encode() * 33 + b"@example.com", "local part"),
        (b"a" * (MAX_LOCAL_PART + 1) + b"@example.com", "local part"),
        (b"a@" + b"b." * 130 + b"c", "254"),
    ],
)
def test_faults_are_named(address: bytes, words: str) -> None:
    assert words in address_fault(address)


@given(st.binary(max_size=300))
def test_an_accepted_address_never_holds_what_could_break_a_line_or_path(address: bytes) -> None:
    if not address_fault(address):
        assert address.decode().isascii() == address.isascii()
        assert not set(address) & set(b"\r\n\0")
        assert b"@" in address


@pytest.mark.parametrize(
    "name", [b"mx1.example.com", b"localhost", b"vm_1", b"example.com.", b"[192.0.2.1]", b"[IPv6:::1]"]
)
def test_client_names_are_accepted(name: bytes) -> None:
    assert is_helo_name(name)


@pytest.mark.parametrize("name", [b"", b"a b", b"a(b)", b"a;b", b"<a>", b"-a", b"a" * 300])
def test_client_names_that_would_spoil_a_trace_header_are_refused(name: bytes) -> None:
    assert not is_helo_name(name)
