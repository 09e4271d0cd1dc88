"""The `accounting` section: which events are written, and how long their files live."""

from datetime import timedelta

import msgspec


class AccountingCsv(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """PowerMTA's CSV beside the JSON lines, with the same rotation."""

    records: tuple[str, ...] = ("d", "b", "x", "t")  # x stands there as b


class Accounting(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """JSON lines, one per event; finished files appear by rename."""

    records: tuple[str, ...] = ("d", "b", "x", "k", "t", "tq", "rb", "rs", "f", "mo", "mi")
    rotate_bytes: int = 67_108_864
    rotate_after: timedelta = timedelta(hours=1)
    keep: timedelta = timedelta(days=30)
    keep_bytes: int | None = None  # of finished files together; None: no bound but their age
    compress: bool = False  # finished JSON lines with gzip
    csv: AccountingCsv | None = None  # None: no CSV
