"""All keys of a host, by pool and domain."""

from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path

from mailagent.config import AgentConfig, ConfigError, Origins, Problem
from mailagent.dkim.fields import author_domain
from mailagent.dkim.keys import Algorithm, KeyUnfit, PrivateKey
from mailagent.dkim.signature import DEFAULT_HEADERS, SigningKey

Place = tuple[str, str]
"""(pool, signing domain)."""


class KeyRing:
    """Which keys sign a message: those of its pool for the domain of its From, or for the nearest one above."""

    def __init__(self, keys: Mapping[Place, Iterable[SigningKey]]) -> None:
        self._keys = {place: tuple(sorted(found, key=_rsa_first)) for place, found in keys.items()}

    def __bool__(self) -> bool:
        return bool(self._keys)

    def __iter__(self) -> Iterator[tuple[Place, tuple[SigningKey, ...]]]:
        return iter(self._keys.items())

    def at(self, place: Place) -> tuple[SigningKey, ...]:
        """The keys of exactly this place."""
        return self._keys.get(place, ())

    def find(self, domain: str, selector: str) -> SigningKey | None:
        """The key under a selector, of whichever pool."""
        every = (key for (_, at), keys in self._keys.items() if at == domain for key in keys)
        return next((key for key in every if key.selector == selector), None)

    def with_key(self, place: Place, key: SigningKey) -> "KeyRing":
        """The same with `key` in place of the one of its algorithm."""
        others = (one for one in self.at(place) if one.key.algorithm is not key.key.algorithm)
        return KeyRing({**self._keys, place: (*others, key)})

    def of(self, pool: str, author: bytes | None) -> tuple[SigningKey, ...]:
        """The keys for mail of `pool` with this From value, RSA first; none: the message stays unsigned."""
        domain = author_domain(author) if author else ""
        while domain:
            found = self._keys.get((pool, domain))
            if found is not None:
                return found
            domain = domain.partition(".")[2]
        return ()


def load_ring(config: AgentConfig, origins: Origins) -> KeyRing:
    """The keys that the configuration names.

    Raises:
        ConfigError: a file cannot or must not be used, or keys do not go together; with every mistake.
    """
    if not config.dkim.keys:
        return KeyRing({})
    from mailagent.dkim.pem import load_key  # a host that signs nothing does not carry the library

    problems: list[Problem] = []
    files: dict[Path, PrivateKey] = {}
    found: dict[Place, list[SigningKey]] = {}
    for n, entry in enumerate(config.dkim.keys):
        at = f"dkim.keys[{n}]"
        try:
            key = files[entry.file] = files.get(entry.file) or load_key(entry.file)
        except KeyUnfit as exc:
            problems.append(_problem(origins, f"{at}.file", str(exc)))
            continue
        keys = found.setdefault((entry.pool, entry.domain.lower()), [])
        if any(other.key.algorithm is key.algorithm for other in keys):
            problems.append(
                _problem(
                    origins, at, f"pool {entry.pool} has an {key.algorithm} key for {entry.domain} already; one signs"
                )
            )
        keys.append(SigningKey(entry.domain.lower(), entry.selector, key, entry.headers or DEFAULT_HEADERS))
    for (pool, domain), keys in found.items():
        if all(key.key.algorithm is Algorithm.ED25519 for key in keys) and not problems:
            place = next(
                n for n, key in enumerate(config.dkim.keys) if (key.pool, key.domain.lower()) == (pool, domain)
            )
            problems.append(
                _problem(
                    origins,
                    f"dkim.keys[{place}]",
                    "an Ed25519 key signs beside an RSA key only: large providers verify RSA alone",
                )
            )
    if problems:
        raise ConfigError(problems)
    return KeyRing(found)


def _problem(origins: Origins, key: str, message: str) -> Problem:
    file, _, line = origins.find(key).rpartition(":")
    return Problem(file, int(line), key, message)


def _rsa_first(key: SigningKey) -> bool:
    return key.key.algorithm is not Algorithm.RSA
