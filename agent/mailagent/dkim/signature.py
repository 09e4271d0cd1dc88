"""DKIM-Signature fields (RFC 6376, RFC 8463): relaxed/relaxed, the whole body, one body hash for all keys."""

import base64
import hashlib
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import cached_property

from mailagent.dkim.canonical import relaxed_body, relaxed_value
from mailagent.dkim.fields import Fields, split
from mailagent.dkim.keys import Algorithm, PrivateKey

DEFAULT_HEADERS = (
    "From", "Sender", "Reply-To", "Subject", "Date", "Message-ID", "To", "Cc", "MIME-Version", "Content-Type",
    "Content-Transfer-Encoding", "In-Reply-To", "References", "List-Id", "Feedback-ID", "CFBL-Address",
    "CFBL-Feedback-ID",
)  # fmt: skip
"""Signed when a key does not say (RFC 6376 section 5.4.1)."""
ALWAYS = ("List-Unsubscribe", "List-Unsubscribe-Post")
"""Signed by every key: one-click needs both (RFC 8058 section 4)."""
OVERSIGNED = frozenset(
    name.lower().encode()
    for name in ("From", "To", "Subject", "Date", "Message-ID", "MIME-Version", "Content-Type", "Feedback-ID", *ALWAYS)
)
"""Named once more than they stand there, so that nobody can add another one (RFC 6376 section 8.15)."""
_FIELD = b"DKIM-Signature"
_LINE = 72
_LARGE = 262_144
_PIECE = 2047
"""The most octets that hashlib hashes without letting go of the interpreter lock."""
_HASHES = {Algorithm.RSA: b"rsa-sha256", Algorithm.ED25519: b"ed25519-sha256"}


@dataclass(frozen=True)
class SigningKey:
    """A key under its published name, and the fields that it covers."""

    domain: str
    selector: str
    key: PrivateKey
    headers: tuple[str, ...] = DEFAULT_HEADERS

    @property
    def record_name(self) -> str:
        """Where its record is published."""
        return f"{self.selector}._domainkey.{self.domain}"

    @cached_property
    def names(self) -> tuple[tuple[bytes, bytes], ...]:
        """The fields to cover, as written and in lower case, each once."""
        every = dict.fromkeys((*self.headers, *ALWAYS))
        return tuple({name.lower().encode(): (name.encode(), name.lower().encode()) for name in every}.values())


def signatures(message: bytes, keys: Sequence[SigningKey], *, at: int, life_s: int | None = None) -> bytes:
    """A field with its line end for each of `keys`, to stand in front of `message` (canonical CRLF).

    `at` is the time in seconds since 1970 for `t=`; with `life_s` the signatures end that much later (`x=`).
    """
    fields, body = split(message)
    body_hash = base64.b64encode(_digest(relaxed_body(body)))
    return b"".join(_signature(fields, body_hash, key, at, life_s) for key in keys)


def _digest(data: bytes) -> bytes:
    """SHA-256. A large body is left to hashlib whole, which lets go of the interpreter lock meanwhile; for a small one
    it takes longer to get the lock back from a busy loop than to hash, so it goes in pieces that hashlib keeps it for.
    """
    if len(data) >= _LARGE:
        return hashlib.sha256(data).digest()
    found = hashlib.sha256()
    for start in range(0, len(data), _PIECE):
        found.update(data[start : start + _PIECE])
    return found.digest()


def _signature(fields: Fields, body_hash: bytes, key: SigningKey, at: int, life_s: int | None) -> bytes:
    names, covered = _cover(fields, key.names)
    expires = b" x=%d;" % (at + life_s) if life_s is not None else b""
    value = b" v=1; a=%s; c=relaxed/relaxed; d=%s; s=%s;\r\n\tt=%d;%s h=%s;\r\n\tbh=%s;\r\n\tb=" % (
        _HASHES[key.key.algorithm],
        key.domain.encode(),
        key.selector.encode(),
        at,
        expires,
        _folded(names),
        body_hash,
    )
    covered.append(b"dkim-signature:" + relaxed_value(value))
    signed = base64.b64encode(key.key.sign(hashlib.sha256(b"\r\n".join(covered)).digest()))
    lines = (signed[start : start + _LINE] for start in range(0, len(signed), _LINE))
    return _FIELD + b":" + value + b"\r\n\t".join(lines) + b"\r\n"


def _cover(fields: Fields, wanted: Iterable[tuple[bytes, bytes]]) -> tuple[list[bytes], list[bytes]]:
    """What `h=` says, and the fields it covers in their relaxed form: instances from the bottom up."""
    names: list[bytes] = []
    covered: list[bytes] = []
    for name, lower in wanted:
        values = fields.get(lower, ())
        names += [name] * (len(values) + (lower in OVERSIGNED))
        covered += [lower + b":" + relaxed_value(value) for value in reversed(values)]
    return names, covered


def _folded(names: Sequence[bytes]) -> bytes:
    lines: list[bytes] = []
    line = b""
    for name in names:
        if line and len(line) + len(name) >= _LINE:
            lines.append(line)
            line = b""
        line = line + b":" + name if line else name
    return b":\r\n\t".join((*lines, line))
