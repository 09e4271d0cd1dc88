"""Credentials of clients that log in at intake: what verbs say about them, and how secrets are hashed.

Whoever makes a credential makes its secret too, prints it once, and tells hosts its digest only. So one secret serves
a whole fleet, and neither the wire nor a log ever holds it.
"""

import base64
import hashlib
import hmac
import secrets
from datetime import datetime
from typing import Final

import msgspec

from mailagent.api.requests import Mutation

SECRET_BYTES: Final = 24
_COST: Final = (2**14, 8, 1)  # 16 MiB, some 40 ms
_MAX_COST: Final = (2**17, 16, 4)
_LENGTH: Final = 32


class Scope(msgspec.Struct, frozen=True, kw_only=True):
    """What a user may do; an empty list or rate sets no bound."""

    streams: tuple[str, ...] = ()
    senders: tuple[str, ...] = ()  # domains of envelope senders; `<>` for the null sender
    networks: tuple[str, ...] = ()  # of clients
    rate: str = ""  # messages, `600/m`


class CredentialView(msgspec.Struct, frozen=True, kw_only=True):
    """One user."""

    user: str
    scope: Scope
    created_at: datetime
    created_by: str
    expires_at: datetime | None = None
    revoked_at: datetime | None = None
    old_secret_until: datetime | None = None  # after a rotation: the one before is good so long
    last_used_at: datetime | None = None
    last_used_from: str = ""


class CredentialList(msgspec.Struct, frozen=True, kw_only=True):
    """All users of a host, by name."""

    rows: tuple[CredentialView, ...]


class UserRequest(Mutation, frozen=True, kw_only=True):
    """A verb on one user."""

    user: str


class CreateCredential(UserRequest, frozen=True, kw_only=True):
    """Let `user` log in with the secret behind `digest`, for `ttl_s` seconds or until revoked."""

    digest: str
    scope: Scope = Scope()


class ScopeCredential(UserRequest, frozen=True, kw_only=True):
    """Replace what a user may do."""

    scope: Scope


class RotateCredential(UserRequest, frozen=True, kw_only=True):
    """Give a user a new secret; the one before is good for `overlap_s` more."""

    digest: str
    overlap_s: int = 0


class RevokeCredential(UserRequest, frozen=True, kw_only=True):
    """No secret of the user is good any more."""


def new_secret() -> str:
    """A secret that nobody guesses: 32 letters, digits, `-` and `_`."""
    return secrets.token_urlsafe(SECRET_BYTES)


def token(user: str, secret: str) -> str:
    """The bearer token of a user (OAUTHBEARER, XOAUTH2): its name, a dot, its secret."""
    return f"{user}.{secret}"


def digest(secret: str) -> str:
    """`scrypt$16384$8$1$SALT$HASH` of a secret (RFC 7914), with a salt of its own."""
    salt = secrets.token_bytes(16)
    n, r, p = _COST
    return f"scrypt${n}${r}${p}${_text(salt)}${_text(_scrypt(secret, salt, n, r, p))}"


def matches(secret: str, digest: str) -> bool:
    """Whether `digest` is one of `secret`. Takes some 40 ms; the interpreter is free meanwhile.

    Raises:
        ValueError: `digest` is none that we take.
    """
    n, r, p, salt, known = _parse(digest)
    return hmac.compare_digest(_scrypt(secret, salt, n, r, p), known)


def check_digest(digest: str) -> None:
    """Refuse what is no digest, or a cheaper or dearer one than is good.

    Raises:
        ValueError: see there.
    """
    _parse(digest)


def _parse(digest: str) -> tuple[int, int, int, bytes, bytes]:
    words = digest.split("$")
    try:
        kind, (n, r, p) = words[0], (int(word) for word in words[1:4])
        salt, known = (base64.b64decode(word, validate=True) for word in words[4:])
    except ValueError as exc:
        raise ValueError("digest: write scrypt$N$R$P$SALT$HASH, salt and hash in base64") from exc
    cheap = any(has < least for has, least in zip((n, r, p), _COST, strict=True))
    dear = any(has > most for has, most in zip((n, r, p), _MAX_COST, strict=True))
    if kind != "scrypt" or cheap or dear or n & (n - 1) or len(salt) < 16 or len(known) != _LENGTH:
        raise ValueError(
            f"digest: scrypt with N from {_COST[0]} to {_MAX_COST[0]}, 16 octets of salt and {_LENGTH} of hash"
        )
    return n, r, p, salt, known


def _scrypt(secret: str, salt: bytes, n: int, r: int, p: int) -> bytes:
    return hashlib.scrypt(secret.encode(), salt=salt, n=n, r=r, p=p, maxmem=256 * n * r, dklen=_LENGTH)


def _text(data: bytes) -> str:
    return base64.b64encode(data).decode("ascii")
