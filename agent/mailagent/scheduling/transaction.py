"""A message in the form in which delivery sends it."""

from collections.abc import Sequence

from mailagent.delivery.transaction import Transaction
from mailagent.outcome.return_path import Envelopes
from mailagent.scheduling.item import Item
from mailagent.spool.records import Waiting


def transaction_of(item: Item, envelopes: Envelopes | None = None) -> Transaction:
    """The message in the form that delivery sends."""
    first = item.first
    rows = item.recipients
    return Transaction(
        sender=first.sender if envelopes is None else envelopes.sender(first),
        recipients=(first.address,) if len(rows) == 1 else tuple(row.address for row in rows),
        added=first.added,
        body=item.body or b"",
        eightbit=first.eightbit,
        plain=item.plain,
        token=item,
        utf8=first.utf8,
        mail_options=_options(RET=first.ret, ENVID=first.envid) if first.ret or first.envid else b"",
        rcpt_options=_rcpt_options(rows),
    )


def _rcpt_options(rows: Sequence[Waiting]) -> tuple[bytes, ...]:
    for row in rows:
        if row.notify or row.orcpt:
            return tuple(_options(NOTIFY=row.notify, ORCPT=row.orcpt) for row in rows)
    return ()


def _options(**values: str) -> bytes:
    return "".join(f" {name}={value}" for name, value in values.items() if value).encode("ascii")
