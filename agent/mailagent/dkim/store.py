"""Keys that were made on this host: one file each under `state_dir/dkim`, mode 0600."""

import os
from datetime import UTC, datetime
from pathlib import Path

from mailagent.dkim.keys import Algorithm, KeyUnfit, PrivateKey


class KeyStore:
    """The folder of made keys. A key that was read is kept in memory."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._known: dict[Path, PrivateKey] = {}

    def path(self, domain: str, selector: str) -> Path:
        """Where the key of a selector lies."""
        return self._folder / domain / f"{selector}.pem"

    def load(self, domain: str, selector: str) -> PrivateKey:
        """The key of a selector.

        Raises:
            KeyUnfit: there is none that can be used.
        """
        from mailagent.dkim.pem import load_key

        path = self.path(domain, selector)
        if path not in self._known:
            self._known[path] = load_key(path)
        return self._known[path]

    def keep(self, domain: str, selector: str, pem: bytes) -> PrivateKey:
        """Write a new key to disk.

        Raises:
            KeyUnfit: there is one already, or it cannot be written.
        """
        path = self.path(domain, selector)
        try:
            path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
            descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
            with os.fdopen(descriptor, "wb") as file:
                file.write(pem)
                file.flush()
                os.fsync(file.fileno())
            folder = os.open(path.parent, os.O_RDONLY | os.O_DIRECTORY)
            try:
                os.fsync(folder)
            finally:
                os.close(folder)
        except OSError as exc:
            raise KeyUnfit(f"{path} cannot be written: {exc.strerror}") from exc
        return self.load(domain, selector)

    def has(self, domain: str, selector: str) -> bool:
        """Whether a key lies there."""
        return self.path(domain, selector).exists()


def made_at(path: Path) -> datetime | None:
    """When a key file was written; None when it is gone."""
    try:
        return datetime.fromtimestamp(path.stat().st_mtime, UTC)
    except OSError:
        return None


def broken(algorithm: Algorithm, problem: str) -> PrivateKey:
    """In place of a key that cannot be read: mail that it should sign is not signed by another one instead."""

    def refuse(_: bytes) -> bytes:
        raise KeyUnfit(problem)

    return PrivateKey(algorithm, 0, b"", refuse)
