"""Parameters of MAIL and RCPT: SIZE (RFC 1870), BODY (6152), SMTPUTF8 (6531), AUTH (4954), RET, ENVID, NOTIFY and
ORCPT (3461, 6533).

A fault is returned as the reply that it deserves.
"""

import re
from typing import NamedTuple

import msgspec

MAX_ENVID = 100  # characters, encoded (RFC 3461 section 4.4)
MAX_ORCPT = 500  # characters, encoded (RFC 3461 section 4.2)

_BODY_TYPES = frozenset({b"7BIT", b"8BITMIME"})
_RETURNS = frozenset({b"FULL", b"HDRS"})
_EVENTS = frozenset({b"SUCCESS", b"FAILURE", b"DELAY"})
_XTEXT = re.compile(rb"(?:[!-*,-<>-~]|\+[0-9A-F]{2})*")  # RFC 3461 section 4
_ORIGINAL = re.compile(rb"([A-Za-z0-9-]+);(.+)", re.DOTALL)
_HEX = re.compile(rb"\+([0-9A-F]{2})")

_TWICE = b"501 5.5.4 Parameter given twice\r\n"
_UNKNOWN = b"555 5.5.4 Parameter not supported\r\n"


class MailParameters(msgspec.Struct, frozen=True):
    """What MAIL asked for."""

    utf8: bool = False
    ret: str = ""  # `FULL`, `HDRS`, or empty
    envid: str = ""  # xtext as given


PLAIN = MailParameters()


class RcptParameters(NamedTuple):
    """What RCPT asked for."""

    notify: str = ""  # `NEVER`, or of `SUCCESS,FAILURE,DELAY` what was given; empty: not said
    orcpt: str = ""  # `rfc822;xtext` as given, ASCII; empty: not said


NOTHING = RcptParameters()


def mail_parameters(text: bytes, max_bytes: int) -> MailParameters | bytes:
    """The parameters of MAIL, or the reply to a fault in them; SIZE above `max_bytes` is one."""
    utf8 = False
    ret = envid = b""
    seen = set()
    for parameter in text.split():
        name, equals, value = parameter.partition(b"=")
        name = name.upper()
        if name in seen:
            return _TWICE
        seen.add(name)
        if name == b"SIZE":
            if not value.isdigit() or len(value) > 20:
                return b"501 5.5.4 Bad SIZE\r\n"
            if int(value) > max_bytes:
                return b"552 5.3.4 Message larger than %d octets\r\n" % max_bytes
        elif name == b"BODY":
            if value.upper() not in _BODY_TYPES:
                return b"501 5.5.4 Bad BODY\r\n"
        elif name == b"SMTPUTF8":
            if equals:
                return b"501 5.5.4 SMTPUTF8 takes no value\r\n"
            utf8 = True
        elif name == b"RET":
            ret = value.upper()
            if ret not in _RETURNS:
                return b"501 5.5.4 Bad RET: FULL or HDRS\r\n"
        elif name == b"ENVID":
            envid = value
            if not 0 < len(value) <= MAX_ENVID or not _is_printable_xtext(value):
                return b"501 5.5.4 Bad ENVID\r\n"
        elif name == b"AUTH":  # who handed it in first: nobody whom we could trust to know (RFC 4954 section 5)
            if value != b"<>" and not (value and _XTEXT.fullmatch(value)):
                return b"501 5.5.4 Bad AUTH\r\n"
        else:
            return _UNKNOWN
    return MailParameters(utf8, ret.decode(), envid.decode()) if utf8 or ret or envid else PLAIN


def rcpt_parameters(text: bytes, *, utf8: bool) -> RcptParameters | bytes:
    """The parameters of RCPT, or the reply to a fault in them; `utf8`: the transaction has SMTPUTF8."""
    notify = orcpt = ""
    seen = set()
    for parameter in text.split():
        name, _, value = parameter.partition(b"=")
        name = name.upper()
        if name in seen:
            return _TWICE
        seen.add(name)
        if name == b"NOTIFY":
            events = value.upper().split(b",")
            if events != [b"NEVER"] and (len(set(events)) < len(events) or not _EVENTS.issuperset(events)):
                return b"501 5.5.4 Bad NOTIFY\r\n"
            notify = b",".join(events).decode()
        elif name == b"ORCPT":
            original = _original(value, utf8=utf8)
            if original is None:
                return b"501 5.5.4 Bad ORCPT\r\n"
            orcpt = original
        else:
            return _UNKNOWN
    return RcptParameters(notify, orcpt)


def _original(value: bytes, *, utf8: bool) -> str | None:
    """The original recipient in ASCII, None when it is none; RFC 6533 section 3 has type `utf-8` and its forms."""
    match = _ORIGINAL.fullmatch(value)
    if match is None or len(value) > MAX_ORCPT:
        return None
    kind, address = match[1].decode(), match[2]
    if kind.lower() == "utf-8":
        if not address.isascii() and not utf8:
            return None
        text = "".join(char if char.isascii() else f"\\x{{{ord(char):X}}}" for char in address.decode())
        return f"{kind};{text}"
    return f"{kind};{address.decode()}" if _is_printable_xtext(address) else None


def _is_printable_xtext(value: bytes) -> bool:
    return _XTEXT.fullmatch(value) is not None and all(
        32 <= int(code, 16) <= 126 for code in _HEX.findall(value)
    )  # RFC 3461 sections 4.2 and 4.4: printable ASCII before encoding


def xtext_decoded(text: str) -> str:
    """What xtext stands for: `a+2Bb` is `a+b`."""
    return _HEX.sub(lambda match: bytes.fromhex(match[1].decode()), text.encode()).decode()
