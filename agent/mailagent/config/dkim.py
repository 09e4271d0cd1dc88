"""The `dkim` section: which key signs what."""

from datetime import timedelta
from pathlib import Path

import msgspec

from mailagent.api.ids import PoolName


class DkimKey(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """One key under one selector, for mail of one pool whose From lies in `domain` or below.

    PowerMTA's `dkim-sign` has the same facts: domain, key-file, selector, header-list.
    """

    domain: str
    pool: PoolName
    selector: str
    file: Path  # PEM, on the sending host
    headers: tuple[str, ...] = ()  # none: the shipped list


class Dkim(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Signatures on the way in, once per message."""

    keys: tuple[DkimKey, ...] = ()
    required: bool = True  # mail that a key should sign and cannot is refused with 451; else it leaves unsigned
    threads: int = 2  # they sign at the same time; one does about 1,500 RSA-2048 signatures a second
    life: timedelta | None = None  # x= of signatures; None: no end
    rotate_after: timedelta = timedelta(days=365)  # age at which a key is due
