"""What TLS came to, per recipient domain and day: the counts of TLS reports (RFC 8460 section 4.3)."""

from collections.abc import Iterator
from typing import NamedTuple

import msgspec

from mailagent.delivery.tls import PolicyType, TlsResult

MAX_POLICIES = 50_000
"""Domains × policies counted in one day; further ones are not."""
MAX_FAILURES = 100
"""Kinds of failure kept of each; further ones count in the sum only."""


class Applied(msgspec.Struct, frozen=True):
    """The policy that a domain had, as it stands in reports."""

    type: PolicyType = PolicyType.NONE
    strings: tuple[str, ...] = ()  # lines of the MTA-STS policy, or TLSA records
    mx: tuple[str, ...] = ()  # patterns of the MTA-STS policy


NO_POLICY = Applied()


class Failure(NamedTuple):
    """One kind of failure."""

    result: TlsResult
    source: str  # our address, where known
    mx: str
    remote: str  # the peer's address
    reason: str


class Counts(msgspec.Struct):
    """One policy of one domain in one day."""

    domain: str
    policy: Applied
    successes: int = 0
    failures: int = 0
    kinds: list[tuple[Failure, int]] = []


class Tally:
    """The counts of one day."""

    def __init__(self, rows: tuple[Counts, ...] = ()) -> None:
        self._rows = {(row.domain, row.policy): row for row in rows}

    def __iter__(self) -> Iterator[Counts]:
        return iter(self._rows.values())

    def __bool__(self) -> bool:
        return bool(self._rows)

    def success(self, domain: str, policy: Applied) -> None:
        """A session with TLS as the policy wants it."""
        row = self._row(domain, policy)
        if row is not None:
            row.successes += 1

    def failure(self, domain: str, policy: Applied, failure: Failure) -> None:
        """A session that was not."""
        row = self._row(domain, policy)
        if row is None:
            return
        row.failures += 1
        for n, (kind, count) in enumerate(row.kinds):
            if kind == failure:
                row.kinds[n] = (kind, count + 1)
                return
        if len(row.kinds) < MAX_FAILURES:
            row.kinds.append((failure, 1))

    def _row(self, domain: str, policy: Applied) -> Counts | None:
        row = self._rows.get((domain, policy))
        if row is None and domain and len(self._rows) < MAX_POLICIES:
            row = self._rows[domain, policy] = Counts(domain, policy)
        return row
