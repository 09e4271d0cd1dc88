"""What we know of mail that has left: from the accounting files, so that sending costs nothing for it."""

import re
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path

import msgspec

from mailagent.api.accounting import EventType
from mailagent.outcome.accounting import AccountingRecord
from mailagent.outcome.accounting.search import Wanted, search
from mailagent.outcome.feedback.mime import Fields
from mailagent.outcome.return_path import BounceToken
from mailagent.spool.ids import arrival_ms, parse_message_name, recipient_id

LATEST = timedelta(days=10)
"""After its arrival a recipient has an outcome; accounting is not searched beyond."""
MOST_LINES = 100_000

_OF_RECIPIENT = frozenset({EventType.DELIVERED, EventType.BOUNCED, EventType.EXPIRED, EventType.DEFERRED})
_ID = re.compile(r"\bid\s+([0-9A-Za-z]{17})\b")


class Sent(msgspec.Struct, frozen=True, kw_only=True):
    """Where a recipient's mail went. Empty: not known."""

    recipient: str = ""
    sender: str = ""
    message_id: str = ""
    n: int = 0
    stream: str = ""
    pool: str = ""
    vmta: str = ""
    source: str = ""
    site: str = ""
    provider: str = ""
    job: str = ""
    size_bytes: int = 0


class SentMail:
    """Looks mail up in one host's accounting files. Blocks on the disk."""

    def __init__(self, accounting: Path, tag: str) -> None:
        self._directory = accounting
        self._tag = tag
        self._gathered: dict[int, Sent | None] = {}  # by recipient id

    def gather(self, tokens: Sequence[BounceToken]) -> None:
        """Look these up together, in one pass over the files, for the questions that follow.

        One pass costs about 1 ms for a megabyte of accounting; a look-up by itself costs the same.
        """
        self._gathered = {}
        own = [token for token in tokens if token.tag == self._tag]
        if own:
            names = frozenset(token.message_id for token in own)
            wanted = Wanted(
                message_ids=names, types=_OF_RECIPIENT, since=min(map(_arrival, names)), until=max(map(_end, names))
            )
            found = self._search(wanted)
            self._gathered = {token.recipient: found.get((token.message_id, token.n)) for token in own}

    def of_token(self, token: BounceToken) -> Sent:
        """What a return path says, and what accounting adds to it if this host sent the mail."""
        known = Sent(message_id=token.message_id, n=token.n)
        if token.tag != self._tag:
            return known
        if token.recipient not in self._gathered:
            self.gather([token])
        return self._gathered[token.recipient] or known

    def of_header(self, original: Fields, addresses: tuple[str, ...]) -> Sent | None:
        """The recipient of ours that a returned header is about: by our Received field, then by its address.

        Without an address, or with one that is hashed, a message to one recipient tells it.
        """
        for value in original.all("received"):
            match = _ID.search(value)
            if match is None:
                continue
            name = match[1].upper()
            try:
                _, tag = parse_message_name(name)
            except ValueError:
                continue
            if tag == self._tag:
                return self._of_message(name, frozenset(address.lower() for address in addresses))
        return None

    def _of_message(self, name: str, addresses: frozenset[str]) -> Sent | None:
        found = self._search(Wanted(message_id=name, types=_OF_RECIPIENT, since=_arrival(name), until=_end(name)))
        for sent in found.values():
            if sent.recipient.lower() in addresses:
                return sent
        return next(iter(found.values())) if len(found) == 1 else None

    def _search(self, wanted: Wanted) -> dict[tuple[str, int], Sent]:
        """By recipient; a delivery counts more than an attempt, a later one more than an earlier one."""
        found: dict[tuple[str, int], Sent] = {}
        delivered: set[tuple[str, int]] = set()
        for record, _ in search(self._directory, wanted, limit=MOST_LINES):
            key = record.message_id, record.n
            if key not in delivered:
                found[key] = _sent(record)
            if record.type is EventType.DELIVERED:
                delivered.add(key)
        return found


def _sent(record: AccountingRecord) -> Sent:
    return Sent(**{name: getattr(record, name) for name in Sent.__struct_fields__})


def _arrival(name: str) -> datetime:
    message, _ = parse_message_name(name)
    return datetime.fromtimestamp(arrival_ms(recipient_id(message, 0)) / 1000, UTC) - timedelta(seconds=2)


def _end(name: str) -> datetime:
    return _arrival(name) + LATEST
