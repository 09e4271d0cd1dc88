"""The `dsn` section: what senders are told of, unless they ask otherwise (NOTIFY, RFC 3461)."""

from datetime import timedelta

import msgspec


class Dsn(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Delivery status notifications."""

    delay: timedelta = timedelta(hours=4)  # age at which a delay is reported, once; 0: only to who asks; never for bulk
