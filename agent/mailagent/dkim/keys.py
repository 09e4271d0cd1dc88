"""What a private key is to the rest: an algorithm, a public half, and a way to sign."""

import base64
from collections.abc import Callable
from dataclasses import dataclass
from enum import StrEnum
from functools import cached_property


class Algorithm(StrEnum):
    """What a key signs with, as `k=` names it."""

    RSA = "rsa"
    ED25519 = "ed25519"


class KeyUnfit(ValueError):
    """A file that must not, or cannot, be used as a key."""


@dataclass(frozen=True)
class PrivateKey:
    """A key that signs."""

    algorithm: Algorithm
    bits: int
    public: bytes  # what `p=` says, before base64
    _sign: Callable[[bytes], bytes]

    def sign(self, digest: bytes) -> bytes:
        """The signature of a SHA-256 `digest`. Releases the interpreter lock while OpenSSL computes."""
        return self._sign(digest)

    @cached_property
    def record(self) -> str:
        """The TXT record that publishes it."""
        return f"v=DKIM1; k={self.algorithm}; p={base64.b64encode(self.public).decode()}"
