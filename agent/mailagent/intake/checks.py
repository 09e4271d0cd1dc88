"""Checks of one message before it is queued. Pure; read only for streams that ask."""

import re
from collections.abc import Callable, Iterator
from email.utils import getaddresses, parsedate_tz
from typing import NamedTuple

from mailagent.config.streams import Check, Checks
from mailagent.intake.headers import block as header_block

MAX_DEPTH = 10
MAX_PARTS = 1000

_FIELD = re.compile(rb"^([!-9;-~]++)[ \t]*+:((?:[^\r]|\r\n[ \t])*)\r\n", re.MULTILINE)
_TYPE = re.compile(rb"\s*([\w!#$&^.+-]+)/([\w!#$&^.+-]+)\s*(?:;|$)")
_BOUNDARY = re.compile(rb';\s*boundary\s*=\s*(?:"((?:[^"\\]|\\.)+)"|([^\s;"]+))', re.IGNORECASE)
_MESSAGE_ID = re.compile(rb"<[^<>\s]+@[^<>\s]+>")
_HTTPS = re.compile(rb"<\s*https://[^<>\s]+\s*>", re.IGNORECASE)
_BASE64 = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/=\r\n \t"
_ENCODINGS = frozenset({b"7bit", b"8bit", b"binary", b"quoted-printable", b"base64"})
_ONCE = frozenset(
    {b"from", b"sender", b"reply-to", b"to", b"cc", b"bcc", b"message-id", b"in-reply-to", b"references", b"subject",
     b"date"}
)  # fmt: skip
_LIST_FIELDS = frozenset({b"list-unsubscribe", b"list-id", b"list-post", b"list-help"})
_BULK = frozenset({b"bulk", b"list", b"junk"})

Fields = list[tuple[bytes, bytes]]  # lower-cased names and unfolded values, in order


class Finding(NamedTuple):
    """A check that failed, and what to do about it."""

    check: str
    code: int
    enhanced: str
    text: str


class BrokenMessage(ValueError):
    """The header block or the MIME structure cannot be read."""


def fields_of(block: bytes) -> Fields:
    """The fields of a header block (canonical CRLF).

    Raises:
        BrokenMessage: a line is no field (RFC 5322 section 2.2).
    """
    found: Fields = []
    position = 0
    while match := _FIELD.match(block, position):
        found.append((match[1].lower(), match[2].replace(b"\r\n", b"").strip()))
        position = match.end()
    if position < len(block):
        line = block.count(b"\r\n", 0, position) + 1
        raise BrokenMessage(f"line {line} of the header is no field")
    return found


def looks_like_bulk(body: bytes) -> str:
    """The header field that says so, in words; empty when there is none."""
    try:
        fields = fields_of(header_block(body))
    except BrokenMessage:
        return ""
    for name, value in fields:
        if name in _LIST_FIELDS or (name == b"precedence" and value.lower() in _BULK):
            return f"the header has {name.decode()}"
    return ""


def findings(body: bytes, checks: Checks, aligned: Callable[[bytes], bool]) -> Iterator[Finding]:
    """What is wrong with a message (canonical CRLF) by the checks that are on, in the order of the file.

    `aligned` says whether a From value may stand in this stream.
    """
    block = header_block(body)
    broken = ""
    try:
        fields = fields_of(block)
    except BrokenMessage as exc:
        broken, fields = str(exc), [(match[1].lower(), match[2].strip()) for match in _FIELD.finditer(block)]
    first: dict[bytes, bytes] = {}
    for name, value in fields:
        first.setdefault(name, value)
    if checks.aligned is not Check.OFF and not aligned(first.get(b"from", b"")):
        yield Finding(
            "aligned",
            550,
            "5.7.1",
            "From is in no domain of this stream or its keys; send from one of them",
        )
    if checks.unsubscribe is not Check.OFF and not _can_unsubscribe(first):
        yield Finding(
            "unsubscribe", 550, "5.7.1",
            "add List-Unsubscribe with an https link and List-Unsubscribe-Post: List-Unsubscribe=One-Click (RFC 8058)",
        )  # fmt: skip
    if checks.date is not Check.OFF and parsedate_tz(first.get(b"date", b"").decode("latin-1")) is None:
        yield Finding("date", 550, "5.6.0", "Date is missing or cannot be read; add one (RFC 5322 section 3.6.1)")
    if checks.message_id is not Check.OFF and not _MESSAGE_ID.fullmatch(first.get(b"message-id", b"")):
        yield Finding("message_id", 550, "5.6.0", "Message-ID is missing or cannot be read; add <unique@your.domain>")
    if checks.plain_text is Check.OFF and checks.mime is Check.OFF:
        return
    kinds: set[bytes] = set()
    try:
        _scan(fields, body[len(block) + 2 :], kinds, 0)
    except BrokenMessage as exc:
        broken = broken or str(exc)
    names = [name for name, _ in fields if name in _ONCE]
    twice = next((name for name in names if names.count(name) > 1), b"")
    if checks.mime is not Check.OFF and (broken or twice):
        text = broken or f"{twice.decode()} stands twice in the header"
        yield Finding("mime", 550, "5.6.0", f"{text}; mend the message")
    if checks.plain_text is not Check.OFF and b"text/html" in kinds and b"text/plain" not in kinds:
        yield Finding("plain_text", 550, "5.6.0", "HTML without plain text; send multipart/alternative with both")


def domains_of(value: bytes) -> list[str]:
    """The domains of the addresses in a From value, lower case; none when it cannot be read."""
    try:
        found = getaddresses([value.decode("utf-8", "replace")])
    except RecursionError:  # comments in comments in comments
        return []
    return [address.rpartition("@")[2].lower().rstrip(".") for _, address in found if "@" in address]


def lies_in(domain: str, zones: tuple[str, ...]) -> bool:
    """Whether `domain` is one of `zones` (lower case), or below one."""
    return any(domain == zone or domain.endswith(f".{zone}") for zone in zones)


def _can_unsubscribe(first: dict[bytes, bytes]) -> bool:
    """RFC 8058 section 3.1, but for the signature that must cover both fields."""
    click = first.get(b"list-unsubscribe-post", b"").replace(b" ", b"").lower() == b"list-unsubscribe=one-click"
    return click and _HTTPS.search(first.get(b"list-unsubscribe", b"")) is not None


def _scan(fields: Fields, content: bytes, kinds: set[bytes], depth: int, count: int = 0) -> int:
    """Collect the content types of the leaves below one part; how many parts were seen by now."""
    values = dict(reversed(fields))
    if count > MAX_PARTS or depth > MAX_DEPTH:
        raise BrokenMessage(f"more than {MAX_PARTS} parts, or {MAX_DEPTH} of them in each other")
    described = values.get(b"content-type", b"text/plain")
    match = _TYPE.match(described)
    if match is None:
        raise BrokenMessage("a Content-Type cannot be read")
    encoding = values.get(b"content-transfer-encoding", b"7bit").lower()
    if encoding not in _ENCODINGS and not encoding.startswith(b"x-"):
        raise BrokenMessage(f"{encoding[:40].decode('ascii', 'replace')} is no Content-Transfer-Encoding")
    kind = b"%b/%b" % (match[1].lower(), match[2].lower())
    if not kind.startswith(b"multipart/"):
        if not values.get(b"content-disposition", b"").lower().startswith(b"attachment"):
            kinds.add(kind)
        if encoding == b"base64" and content.translate(None, _BASE64):
            raise BrokenMessage(f"a {kind.decode()} part is not base64 as it says")
        return count + 1
    if encoding in (b"base64", b"quoted-printable"):
        raise BrokenMessage("a multipart is encoded as a whole (RFC 2045 section 6.4)")
    boundary = _BOUNDARY.search(described)
    if boundary is None:
        raise BrokenMessage("a multipart has no boundary")
    for part in _parts(content, re.sub(rb"\\(.)", rb"\1", boundary[1]) if boundary[1] else boundary[2]):
        block = header_block(part)
        count = _scan(fields_of(block), part[len(block) + 2 :], kinds, depth + 1, count + 1)
    return count


def _parts(content: bytes, boundary: bytes) -> Iterator[bytes]:
    """The parts of a multipart (RFC 2046 section 5.1.1)."""
    text = b"\r\n" + content
    delimiter = b"\r\n--" + boundary
    start = -1
    at = text.find(delimiter)
    while at >= 0:
        after = at + len(delimiter)
        end = text.find(b"\r\n", after)
        rest = text[after : end if end >= 0 else len(text)]
        closes = rest.startswith(b"--")
        if closes or not rest.strip():  # else a longer boundary that begins like this one
            if start >= 0:
                yield text[start : at + 2]
            if closes:
                if start < 0:
                    raise BrokenMessage("a multipart has no part")
                return
            start = end + 2 if end >= 0 else len(text)
        at = text.find(delimiter, after)
    raise BrokenMessage("a multipart does not end" if start >= 0 else "a multipart has no part")
