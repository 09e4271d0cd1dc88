"""DKIM keys on the wire: what a host signs with, and the steps from one key to the next.

The target of each verb is `dkim:DOMAIN/POOL`. A selector is prepared (key made, record to be published), then active
(proven by DNS and switched to), then kept (out of use, published as long as mail that it signed may be on its way).
"""

from datetime import datetime
from enum import StrEnum

import msgspec

from mailagent.api.requests import Mutation
from mailagent.api.targets import Target


class SelectorState(StrEnum):
    """Where a selector stands."""

    PREPARED = "prepared"
    ACTIVE = "active"
    KEPT = "kept"  # must stay published until a stated time
    IDLE = "idle"  # in the configuration, but another one was switched to


class DkimSelector(msgspec.Struct, frozen=True, kw_only=True):
    """One selector of one signing domain and pool."""

    domain: str
    pool: str
    selector: str
    algorithm: str  # rsa, ed25519
    bits: int
    state: SelectorState
    origin: str  # `agent.yaml:41`, or who prepared or switched it
    made_at: datetime | None  # of the key
    due: bool  # active, and old enough to be replaced
    name: str  # `mkt1._domainkey.example.com`
    record: str  # the TXT record to publish
    keep_until: datetime | None = None
    directive: str = ""
    problem: str = ""  # why the key cannot be used


class DkimSelectors(msgspec.Struct, frozen=True, kw_only=True):
    """All selectors of a host."""

    rows: tuple[DkimSelector, ...]


class DkimQuery(msgspec.Struct, frozen=True, kw_only=True):
    """Ask DNS about one selector."""

    target: Target
    selector: str = ""  # empty: the one that is prepared


class DkimProof(msgspec.Struct, frozen=True, kw_only=True):
    """What DNS says about one selector, asked now."""

    name: str
    proven: bool
    detail: str
    records: tuple[str, ...] = ()  # as published


class DkimPrepare(Mutation, frozen=True, kw_only=True):
    """Make a key and tell the record to publish; signs nothing yet."""

    target: Target
    algorithm: str = "rsa"
    selector: str = ""  # empty: one is made of pool, date and host


class DkimSwitch(Mutation, frozen=True, kw_only=True):
    """Sign with a prepared selector from now on; refused unless DNS proves it."""

    target: Target
    selector: str = ""  # empty: the one that is prepared


class DkimRetire(Mutation, frozen=True, kw_only=True):
    """Give up a prepared or kept selector: its record may go."""

    target: Target
    selector: str = ""  # empty: the one that is kept
