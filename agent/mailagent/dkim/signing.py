"""What of the mail on its way in is signed, and by whom."""

import logging
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import NamedTuple

from mailagent.config.dkim import Dkim
from mailagent.dkim.keys import Algorithm, KeyUnfit
from mailagent.dkim.ring import KeyRing, Place
from mailagent.dkim.signature import DEFAULT_HEADERS, SigningKey
from mailagent.dkim.signer import Done, Signer
from mailagent.dkim.store import KeyStore, broken

log = logging.getLogger(__name__)

FROM = b"from"


class Chosen(NamedTuple):
    """A selector that was switched to at run time."""

    place: Place
    algorithm: Algorithm
    selector: str


class Signing:
    """The keys in force and the threads that use them. Used on the loop thread."""

    def __init__(self, config: Dkim, ring: KeyRing, folder: Path) -> None:
        self.store = KeyStore(folder)
        self._signer = Signer(threads=config.threads)
        self._chosen: tuple[Chosen, ...] = ()
        self.configure(config, ring)

    def configure(self, config: Dkim, ring: KeyRing) -> None:
        """Use `config` and the keys of `ring` from now on."""
        self.config = config
        self.configured = ring
        self._signer.life_s = int(config.life.total_seconds()) if config.life is not None else None
        self._put_together()

    def choose(self, chosen: Iterable[Chosen]) -> None:
        """These selectors override the configured ones from now on."""
        chosen = tuple(chosen)
        if chosen != self._chosen:
            self._chosen = chosen
            self._put_together()

    def _put_together(self) -> None:
        ring = self.configured
        for one in self._chosen:
            ring = ring.with_key(one.place, self.key(one))
        self.ring = ring
        self.wanted_headers = frozenset((FROM,)) if ring else frozenset()

    def key(self, one: Chosen) -> SigningKey:
        """The key of a selector, configured or made here, with the header list of the one that it replaces."""
        domain = one.place[1]
        configured = self.configured.find(domain, one.selector)
        headers = next(
            (key.headers for key in self.configured.at(one.place) if key.key.algorithm is one.algorithm),
            DEFAULT_HEADERS,
        )
        try:
            key = configured.key if configured is not None else self.store.load(domain, one.selector)
        except KeyUnfit as exc:
            log.critical("selector=%s domain=%s pool=%s cannot sign: %s", one.selector, domain, one.place[0], exc)
            key = broken(one.algorithm, str(exc))
        return SigningKey(domain, one.selector, key, headers)

    @property
    def required(self) -> bool:
        """Whether mail that cannot be signed is refused."""
        return self.config.required

    def keys(self, pool: str, headers: Mapping[bytes, bytes]) -> tuple[SigningKey, ...]:
        """The keys for a message of `pool` with these header values."""
        return self.ring.of(pool, headers.get(FROM)) if self.ring else ()

    def signs(self, pool: str, author: bytes) -> bool | None:
        """Whether a key signs mail of `pool` with this From value; None: the pool has no keys."""
        if not any(place[0] == pool for place, _ in self.ring):
            return None
        return bool(self.ring.of(pool, author))

    def sign(self, message: bytes, keys: tuple[SigningKey, ...], priority: str, done: Done) -> None:
        """Make the fields to put in front of `message`; see `Signer.sign`."""
        self._signer.sign(message, keys, priority, done)

    def close(self) -> None:
        """End the threads."""
        self._signer.close()
