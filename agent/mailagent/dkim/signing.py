"""What of the mail on its way in is signed, and by whom."""

from collections.abc import Mapping

from mailagent.config.dkim import Dkim
from mailagent.dkim.ring import KeyRing
from mailagent.dkim.signature import SigningKey
from mailagent.dkim.signer import Done, Signer

FROM = b"from"


class Signing:
    """The keys in force and the threads that use them. Used on the loop thread."""

    def __init__(self, config: Dkim, ring: KeyRing) -> None:
        self._signer = Signer(threads=config.threads)
        self.configure(config, ring)

    def configure(self, config: Dkim, ring: KeyRing) -> None:
        """Use `config` and the keys of `ring` from now on."""
        self.required = config.required
        self.ring = ring
        self.wanted_headers = frozenset((FROM,)) if ring else frozenset()
        self._signer.life_s = int(config.life.total_seconds()) if config.life is not None else None

    def keys(self, pool: str, headers: Mapping[bytes, bytes]) -> tuple[SigningKey, ...]:
        """The keys for a message of `pool` with these header values."""
        return self.ring.of(pool, headers.get(FROM)) if self.ring else ()

    def sign(self, message: bytes, keys: tuple[SigningKey, ...], priority: str, done: Done) -> None:
        """Make the fields to put in front of `message`; see `Signer.sign`."""
        self._signer.sign(message, keys, priority, done)

    def close(self) -> None:
        """End the threads."""
        self._signer.close()
