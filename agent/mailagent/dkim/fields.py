"""The header block of a message as fields, and the domain that its From names."""

from email.utils import getaddresses
from functools import lru_cache

from mailagent.dkim.canonical import relaxed_value
from mailagent.dns import ascii_domain

Fields = dict[bytes, list[bytes]]
"""Lower-case name -> values as they stand in the message, top down."""
MAX_REMEMBERED = 500
"""Octets of a From value that is remembered: longer ones, which clients choose, would fill the memory."""


def split(message: bytes) -> tuple[Fields, bytes]:
    """The fields and the body of a message of CRLF lines. What is no field belongs to neither."""
    if message.startswith(b"\r\n"):
        return {}, message[2:]
    end = message.find(b"\r\n\r\n")
    block, body = (message, b"") if end < 0 else (message[:end], message[end + 4 :])
    fields: Fields = {}
    values: list[bytes] = []
    for line in block.split(b"\r\n"):
        if line[:1] in (b" ", b"\t"):
            if values:
                values[-1] += b"\r\n" + line
            continue
        name, colon, value = line.partition(b":")
        values = fields.setdefault(name.rstrip(b" \t").lower(), []) if colon else []
        values.append(value)
    return fields, body


def author_domain(value: bytes) -> str:
    """Lower-case domain of the first address of a From value, empty when there is none that can be read."""
    return _remembered(value) if len(value) <= MAX_REMEMBERED else _domain_of(value)


@lru_cache(maxsize=4096)
def _remembered(value: bytes) -> str:
    return _domain_of(value)


def _domain_of(value: bytes) -> str:
    text = relaxed_value(value)
    if text.count(b"@") == 1 and text.endswith(b">") and text.count(b"<") == 1:
        address = text[text.index(b"<") + 1 : -1]
    else:
        try:
            found = getaddresses([text.decode("utf-8", "replace")])
        except RecursionError:  # comments in comments in comments
            return ""
        address = next((one for _, one in found if "@" in one), "").encode()
    try:
        return ascii_domain(address[address.rindex(b"@") + 1 :].decode().strip().rstrip("."))
    except ValueError:
        return ""
