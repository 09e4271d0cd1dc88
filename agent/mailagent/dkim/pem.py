"""Key files: what one must be, and new ones. The door to `cryptography`, opened only where mail is signed."""

import stat
from functools import partial
from pathlib import Path

from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ed25519, padding, rsa
from cryptography.hazmat.primitives.asymmetric.utils import Prehashed

from mailagent.dkim.keys import Algorithm, KeyUnfit, PrivateKey

MIN_RSA_BITS = 2048
NEW_RSA_BITS = 2048
MAX_RSA_BITS = 4096
"""Verifiers need not handle more (RFC 8301 section 3.2)."""
MAX_FILE_BYTES = 65_536
_PADDING = padding.PKCS1v15()
_SHA256 = Prehashed(hashes.SHA256())


def load_key(path: Path) -> PrivateKey:
    """The key in a PEM file (PKCS #8, or PKCS #1 for RSA).

    Raises:
        KeyUnfit: it cannot be read, holds no key, one that is too short, or one that others can read.
    """
    try:
        mode = path.stat().st_mode
        with path.open("rb") as file:
            data = file.read(MAX_FILE_BYTES)
    except OSError as exc:
        raise KeyUnfit(f"{path} cannot be read: {exc.strerror}") from exc
    if mode & (stat.S_IRWXO | stat.S_IWGRP):
        raise KeyUnfit(
            f"{path} can be read or written by others (mode {stat.S_IMODE(mode):04o}); chmod 600, and take a new key"
            " when somebody may have read it"
        )
    try:
        return parse_key(data)
    except KeyUnfit as exc:
        raise KeyUnfit(f"{path} {exc}") from exc


def parse_key(data: bytes) -> PrivateKey:
    """The key in a PEM text.

    Raises:
        KeyUnfit: it holds none, or one that must not be used.
    """
    try:
        key = serialization.load_pem_private_key(data, password=None)
    except (ValueError, TypeError, UnsupportedAlgorithm) as exc:
        raise KeyUnfit("holds no private key in PEM form without a password") from exc
    if isinstance(key, rsa.RSAPrivateKey):
        if not MIN_RSA_BITS <= key.key_size <= MAX_RSA_BITS:
            raise KeyUnfit(f"holds an RSA key of {key.key_size} bits; {MIN_RSA_BITS} to {MAX_RSA_BITS} are wanted")
        public = key.public_key().public_bytes(
            serialization.Encoding.DER, serialization.PublicFormat.SubjectPublicKeyInfo
        )
        return PrivateKey(Algorithm.RSA, key.key_size, public, partial(_sign_rsa, key))
    if isinstance(key, ed25519.Ed25519PrivateKey):
        public = key.public_key().public_bytes_raw()
        # RFC 8463 section 3: the SHA-256 digest is what PureEdDSA signs
        return PrivateKey(Algorithm.ED25519, 256, public, key.sign)
    raise KeyUnfit("holds neither an RSA nor an Ed25519 key")


def new_key(algorithm: Algorithm) -> bytes:
    """A new key as a PEM text (PKCS #8). Takes up to a second."""
    key = (
        rsa.generate_private_key(public_exponent=65537, key_size=NEW_RSA_BITS)
        if algorithm is Algorithm.RSA
        else ed25519.Ed25519PrivateKey.generate()
    )
    return key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )


def _sign_rsa(key: rsa.RSAPrivateKey, digest: bytes) -> bytes:
    return key.sign(digest, _PADDING, _SHA256)
