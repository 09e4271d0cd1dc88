"""Keys that tests share (making one takes a tenth of a second), and the look-up that dkimpy wants."""

from collections.abc import Callable
from functools import cache
from pathlib import Path

import dkim

from mailagent.dkim import Algorithm, PrivateKey, SigningKey
from mailagent.dkim.pem import new_key, parse_key
from mailagent.dkim.signature import DEFAULT_HEADERS

SIMPLE = b"From: Ann <ann@example.com>\r\nTo: b@example.net\r\nSubject: hello\r\n\r\nworld\r\n"


@cache
def pem(algorithm: Algorithm) -> bytes:
    return new_key(algorithm)


@cache
def private_key(algorithm: Algorithm) -> PrivateKey:
    return parse_key(pem(algorithm))


def signing_key(algorithm: Algorithm = Algorithm.RSA, headers: tuple[str, ...] = DEFAULT_HEADERS) -> SigningKey:
    return SigningKey("example.com", f"s-{algorithm}", private_key(algorithm), headers)


def key_file(folder: Path, name: str = "key.pem", data: bytes | None = None, mode: int = 0o600) -> Path:
    path = folder / name
    path.write_bytes(data if data is not None else pem(Algorithm.RSA))
    path.chmod(mode)
    return path


def lookup(*keys: SigningKey) -> Callable[..., bytes | None]:
    """The records of `keys`, as dkimpy asks for them."""
    records = {f"{key.selector}._domainkey.{key.domain}.".encode(): key.key.record.encode() for key in keys}

    def txt(name: bytes, timeout: float = 5) -> bytes | None:
        return records.get(name)

    return txt


def verified(message: bytes, key: SigningKey, index: int = 0) -> bool:
    """Whether dkimpy accepts signature number `index` of `message`."""
    try:
        return bool(dkim.DKIM(message).verify(idx=index, dnsfunc=lookup(key)))
    except dkim.ValidationError:
        return False
