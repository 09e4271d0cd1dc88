"""Addresses as the suppression list knows them. Pure."""

from contextlib import suppress
from hashlib import blake2b

from mailagent.dns import ascii_domain

KEY_BITS = 60
"""With a reason beside it, a key is a positive number of 63 bits. Among a million keys, a wrong one is found once in a
million million questions."""
REASON_BITS = 3


def normal_address(address: bytes | str) -> str:
    """Small letters, the domain in A-labels without a last dot.

    Providers do not tell `Anna@` from `anna@`, whatever RFC 5321 section 2.4 allows; dots and plus tags stay.
    """
    text = address.decode("utf-8", "backslashreplace") if isinstance(address, bytes) else address
    local, at, domain = text.strip().lower().rpartition("@")
    domain = domain.rstrip(".")
    if not domain.isascii():
        with suppress(ValueError):  # it is no domain, and stays as it is
            domain = ascii_domain(domain)
    return f"{local}{at}{domain}"


def mailbox_key(address: bytes, stream: str = "") -> int:
    """The key of an address as it stands in an envelope, for all mail or for one stream."""
    plain = address.lower() if address.isascii() and not address.endswith(b".") else normal_address(address).encode()
    return _key(plain, stream)


def entry_key(address: str, stream: str) -> int:
    """The same of an address that is normal already."""
    return _key(address.encode(), stream)


def domain_key(address: bytes) -> int:
    """A key for what is counted about the domain of an address; no address has it."""
    return _key(b"@" + normal_address(address).rpartition("@")[2].encode(), "")


def _key(plain: bytes, stream: str) -> int:
    data = plain + b"\0" + stream.encode() if stream else plain
    return int.from_bytes(blake2b(data, digest_size=8).digest(), "big") >> 64 - KEY_BITS
