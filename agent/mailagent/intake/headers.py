"""The header block of a submitted message: one pass that counts, extracts and strips."""

import re
from functools import lru_cache

from mailagent.intake.scanned import ScannedMessage

MAX_BLOCK = 131_072  # octets
MAX_FIELDS = 1000
MAX_CONTROL_VALUE = 256  # octets of an X-Job or X-Virtual-MTA value that are kept

RECEIVED = b"received"
VIRTUAL_MTA = b"x-virtual-mta"
JOB = b"x-job"
CONTROL = frozenset({VIRTUAL_MTA, JOB})  # ours: never leave the host


class HeadersTooLarge(ValueError):
    """The header block is longer than MAX_BLOCK or has more than MAX_FIELDS fields."""


def scan(message: bytes, wanted: frozenset[bytes] = frozenset()) -> ScannedMessage:
    """Read and clean the header block of `message` (canonical CRLF, each line ended).

    The block ends at the first empty line; a message without one is all header. Field names compare without case,
    with white space before the colon as RFC 5322 section 4.5 (obsolete syntax) has it.

    Raises:
        HeadersTooLarge: see there.
    """
    if message.startswith(b"\r\n"):
        return ScannedMessage(body=message)
    end = message.find(b"\r\n\r\n", 0, MAX_BLOCK + 2)
    if end < 0:
        if len(message) > MAX_BLOCK:
            raise HeadersTooLarge
        end = len(message.removesuffix(b"\r\n"))
    block = b"\r\n" + message[:end]  # a line end in front makes the first field look like every other
    if len(block) > MAX_BLOCK or _field_count(block) > MAX_FIELDS:
        raise HeadersTooLarge

    hops = 0
    values: dict[bytes, bytes] = {}
    kept: list[bytes] = []
    kept_to = 0
    find = _pattern(wanted).search
    match = find(block)
    if match is None:  # most mail
        return ScannedMessage(body=message)
    while match is not None:
        name = match[1].lower()
        if name == RECEIVED:
            hops += 1
        if name in CONTROL:
            kept.append(block[kept_to : match.start()])
            kept_to = match.end()
        if name not in values:
            values[name] = match[2].replace(b"\r\n", b"").strip()
        match = find(block, match.end())
    if kept_to:
        kept.append(block[kept_to:])
        cleaned = b"".join(kept)
        rest = message[end:]  # the line end of the last field, the empty line, the text
        message = cleaned[2:] + rest if cleaned else rest[2:]
    return ScannedMessage(
        body=message,
        hops=hops,
        job=_text(values.get(JOB, b"")),
        virtual_mta=_text(values.get(VIRTUAL_MTA, b"")),
        values={name: value for name, value in values.items() if name in wanted},
    )


def block(message: bytes) -> bytes:
    """The header block of `message`, without the empty line at its end."""
    if message.startswith(b"\r\n"):
        return b""
    end = message.find(b"\r\n\r\n")
    return message if end < 0 else message[: end + 2]


@lru_cache(maxsize=16)
def _pattern(wanted: frozenset[bytes]) -> re.Pattern[bytes]:
    """Matches one interesting field with the line end before it: group 1 its name, group 2 its folded value.

    The literal line end in front lets the regex engine skip from line to line.
    """
    names = b"|".join(re.escape(name) for name in sorted(wanted | CONTROL | {RECEIVED}))
    return re.compile(rb"\r\n(" + names + rb")[ \t]*:([^\r]*(?:\r\n[ \t][^\r]*)*)", re.IGNORECASE)


def _field_count(block: bytes) -> int:
    lines = block.count(b"\r\n")
    if lines <= MAX_FIELDS:
        return lines
    return lines - block.count(b"\r\n ") - block.count(b"\r\n\t")


def _text(value: bytes) -> str:
    """A control value as text that is safe in logs and files."""
    text = value[:MAX_CONTROL_VALUE].decode("utf-8", "backslashreplace")
    return text if text.isprintable() else "".join(char for char in text if char.isprintable())
