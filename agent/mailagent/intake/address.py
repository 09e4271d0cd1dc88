"""Syntax of envelope addresses and of the client's own name (RFC 5321 sections 4.1.2 and 4.1.3, RFC 6531)."""

import re

from mailagent.dns import ascii_domain

MAX_ADDRESS = 254  # octets; a path of 256 with its angle brackets (RFC 5321 section 4.5.3.1.3)
MAX_LOCAL_PART = 64

# Dots may stand anywhere in a local part: Japanese mobile carriers gave out addresses such as `a..b.@docomo.ne.jp`.
_ATOMS = rb"[A-Za-z0-9!#$%&'*+/=?^_`{|}~.-]+"
_QUOTED = rb'"(?:[ !#-\[\]-~]|\\[ -~])*"'
# Underscores are no host name syntax, but domains that use them receive mail.
_LABEL = rb"(?!-)[A-Za-z0-9_-]{1,63}(?<!-)"
_DOMAIN = rb"%s(?:\.%s)*" % (_LABEL, _LABEL)
_LITERAL = rb"\[[A-Za-z0-9:.-]+\]"

_ADDRESS = re.compile(rb"(?P<local>%s|%s)@(?:%s|%s)" % (_ATOMS, _QUOTED, _DOMAIN, _LITERAL))
_ADDRESS8 = re.compile(
    rb"(?P<local>[A-Za-z0-9!#$%&'*+/=?^_`{|}~.\x80-\xff-]+|\"(?:[ !#-\[\]-~\x80-\xff]|\\[ -~])*\")@(?P<domain>[^@ ]+)"
)
_HELO = re.compile(rb"(?:%s\.?|%s)" % (_DOMAIN, _LITERAL))


def address_fault(address: bytes) -> str:
    """Why `address` (without angle brackets) is no mailbox, in a few words; empty when it is one.

    One beyond ASCII must be UTF-8; whether the client may send it is for the caller to ask.
    """
    match = _ADDRESS.fullmatch(address)
    if match is None and not address.isascii():
        match = _international(address)
    if match is not None and len(address) <= MAX_ADDRESS and match.end("local") <= MAX_LOCAL_PART:
        return ""
    if address[:1] == b"@":
        return "source routes are not accepted"
    if len(address) > MAX_ADDRESS:
        return f"address longer than {MAX_ADDRESS} octets"
    if match is not None:
        return f"local part longer than {MAX_LOCAL_PART} octets"
    if address.lower() == b"postmaster":
        return "no mailbox here; give postmaster with its domain"
    return "bad address syntax"


def _international(address: bytes) -> re.Match[bytes] | None:
    match = _ADDRESS8.fullmatch(address)
    try:
        address.decode()
        if match is not None and not _ADDRESS.fullmatch(b"a@" + match["domain"]):
            ascii_domain(match["domain"].decode())
    except ValueError:
        return None
    return match


def is_helo_name(name: bytes) -> bool:
    """Whether `name` may follow EHLO or HELO: a domain or an address literal."""
    return len(name) <= 255 and _HELO.fullmatch(name) is not None
