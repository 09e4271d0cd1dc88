"""Addresses of our own that mail comes back to, signed so that only what we sent can come back (VERP with a MAC).

    b+<key><tag><recipient id><address check><mac>@bounce.example.com    MAIL FROM of one recipient, 42 octets
    u+<key><address check><mac>@bounce.example.com                       mailto: of one subscriber, 27 octets

All of it is base32 (Crockford), and compared without case, since mailers change the case of local parts. `key` names
the key, so that old addresses stay good when keys change; `tag` is that of the spool that sent the message. The MAC
proves that we made the address. The check, a keyed digest of the recipient, lets a report's address be compared with it
without a look-up, on any host that has the keys.
"""

import hashlib
import hmac
import os
import secrets
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

import msgspec

from mailagent.spool.ids import EPOCH_US, RECIPIENT_BITS, TAG_CHARS, base32, message_name, parse_base32, split
from mailagent.spool.records import Waiting

BOUNCE = "b+"
UNSUBSCRIBE = "u+"
KEY_BYTES = 32
MAX_KEYS = 32
MAC_CHARS = 16  # 80 bits
FILE_NAME = "return-path.keys"

_ID_CHARS = 13  # 65 bits for the 63 of a recipient id
_BOUNCE_CHECK = 4  # 20 bits, on top of the MAC
_UNSUBSCRIBE_CHECK = 8  # 40 bits: here it is what binds the address


class KeysUnusable(OSError):
    """The key file cannot be used; says what to do."""


class BounceToken(msgspec.Struct, frozen=True, kw_only=True):
    """What a genuine return path says."""

    recipient: int  # recipient id
    tag: str  # of the spool that sent it
    key: int
    check: str

    @property
    def message_id(self) -> str:
        """The message's name."""
        return message_name(split(self.recipient)[0], self.tag)

    @property
    def n(self) -> int:
        """The recipient's number in its message."""
        return split(self.recipient)[1]

    def age_s(self, now: float) -> float:
        """Seconds since the message was accepted."""
        return now - ((self.recipient >> RECIPIENT_BITS) + EPOCH_US) / 1_000_000


class UnsubscribeToken(msgspec.Struct, frozen=True, kw_only=True):
    """A genuine unsubscribe address; which subscriber it is for, `ReturnPaths.is_for` tells."""

    key: int
    check: str


Token = BounceToken | UnsubscribeToken
Keys = Sequence[tuple[int, bytes]]
"""Numbered keys; the last one signs."""


class ReturnPaths:
    """Makes and reads our return addresses. The last key signs, all of them are good for reading."""

    def __init__(self, keys: Keys, tag: str) -> None:
        self._keys = dict(keys)
        self._key, _ = keys[-1]
        self._tag = tag

    def bounce(self, recipient: int, address: bytes) -> bytes:
        """The local part of the return path for one recipient."""
        content = (
            base32(self._key, 1)
            + self._tag
            + base32(recipient, _ID_CHARS)
            + self._check(self._key, address.decode("utf-8", "replace"), _BOUNCE_CHECK)
        )
        return (BOUNCE + content + self._mac(self._key, BOUNCE + content)).lower().encode("ascii")

    def unsubscribe(self, address: str, stream: str = "") -> str:
        """The local part of the address that unsubscribes `address`, from one stream or from all mail."""
        content = base32(self._key, 1) + self._check(self._key, address, _UNSUBSCRIBE_CHECK, stream)
        return (UNSUBSCRIBE + content + self._mac(self._key, UNSUBSCRIBE + content)).lower()

    def read(self, local: str) -> Token | None:
        """What `local` says, None when we did not make it."""
        kind, text = local[:2].lower(), local[2:].upper()
        length = {BOUNCE: 1 + TAG_CHARS + _ID_CHARS + _BOUNCE_CHECK, UNSUBSCRIBE: 1 + _UNSUBSCRIBE_CHECK}.get(kind)
        if length is None or len(text) != length + MAC_CHARS or not text.isascii():
            return None
        content, mac = text[:length], text[length:]
        try:
            key = parse_base32(content[:1])
            recipient = parse_base32(content[1 + TAG_CHARS : 1 + TAG_CHARS + _ID_CHARS]) if kind == BOUNCE else 0
        except ValueError:
            return None
        if key not in self._keys or not hmac.compare_digest(self._mac(key, kind + content), mac):
            return None
        if kind == UNSUBSCRIBE:
            return UnsubscribeToken(key=key, check=content[1:])
        return BounceToken(recipient=recipient, tag=content[1 : 1 + TAG_CHARS], key=key, check=content[-_BOUNCE_CHECK:])

    def is_for(self, token: Token, address: str, stream: str = "") -> bool:
        """Whether `token` was made for `address` (compared without case), and an unsubscribe for that stream."""
        return hmac.compare_digest(self._check(token.key, address, len(token.check), stream), token.check)

    def _mac(self, key: int, content: str) -> str:
        return self._digest(key, b"mac", content.encode(), MAC_CHARS)

    def _check(self, key: int, address: str, chars: int, stream: str = "") -> str:
        text = f"{address.strip().lower()}\0{stream}" if stream else address.strip().lower()
        return self._digest(key, b"address", text.encode("utf-8", "replace"), chars)

    def _digest(self, key: int, purpose: bytes, data: bytes, chars: int) -> str:
        digest = hashlib.blake2b(data, key=self._keys[key], person=purpose, digest_size=16).digest()
        return base32(int.from_bytes(digest, "big") >> (128 - 5 * chars), chars)


class Envelopes:
    """Which streams send with a return path of their own, and the MAIL FROM of each recipient of theirs."""

    def __init__(self, paths: ReturnPaths, domains: Mapping[str, str]) -> None:
        """`domains`: stream -> bounce domain, for the streams that do."""
        self._paths = paths
        self._domains = {stream: b"@" + domain.encode("ascii") for stream, domain in domains.items()}

    def is_own(self, stream: str) -> bool:
        """Whether each recipient of `stream` gets a MAIL FROM of its own, so that it travels alone."""
        return stream in self._domains

    def sender(self, row: Waiting) -> bytes:
        """MAIL FROM for `row`; notifications keep the null sender."""
        domain = self._domains.get(row.stream)
        if domain is None or not row.sender:
            return row.sender
        return self._paths.bounce(row.id, row.address) + domain


def load_keys(path: Path) -> list[tuple[int, bytes]]:
    """The keys of a file, the one that signs last; makes a file with one key when there is none.

    Raises:
        KeysUnusable: others may read it, or it holds no keys.
        OSError: it cannot be read or made.
    """
    try:
        stat = path.stat()
    except FileNotFoundError:
        add_key(path)
        stat = path.stat()
    if stat.st_mode & 0o077:
        raise KeysUnusable(f"{path}: others may read the keys of our return addresses; chmod 600 {path}")
    keys = []
    for line in path.read_text(encoding="ascii", errors="replace").splitlines():
        number, _, secret = line.partition(" ")
        try:
            keys.append((int(number), bytes.fromhex(secret.partition(" ")[0])))
        except ValueError as exc:
            raise KeysUnusable(f"{path}: `{number[:20]} …` is no key; a line is `number hex-key time`") from exc
    if not keys or any(len(secret) != KEY_BYTES or not 0 <= number < MAX_KEYS for number, secret in keys):
        raise KeysUnusable(f"{path}: keys are numbered 0 to {MAX_KEYS - 1} and have {KEY_BYTES} bytes; there is none")
    return keys


def add_key(path: Path, clock: Callable[[], float] = time.time) -> int:
    """Put a new key behind the others, from the next load on the one that signs; the number of keys.

    The file is replaced as a whole. The oldest of MAX_KEYS keys goes.

    Raises:
        KeysUnusable, OSError: as `load_keys`.
    """
    lines = []
    number = 0
    owner = None
    if path.exists():
        owner = path.stat()
        number = (load_keys(path)[-1][0] + 1) % MAX_KEYS
        lines = path.read_text(encoding="ascii").splitlines()[-(MAX_KEYS - 1) :]
    made = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(clock()))
    lines.append(f"{number} {secrets.token_hex(KEY_BYTES)} {made}")
    fresh = path.with_name(f"{path.name}.new")
    fresh.unlink(missing_ok=True)
    fd = os.open(fresh, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
    with os.fdopen(fd, "w", encoding="ascii") as file:
        if owner is not None and os.geteuid() == 0:  # who puts in a key as root must not lock the agent out
            os.fchown(fd, owner.st_uid, owner.st_gid)
        file.write("".join(f"{line}\n" for line in lines))
        file.flush()
        os.fsync(fd)
    fresh.replace(path)
    return len(lines)
