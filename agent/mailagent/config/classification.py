"""The `classification` section: what is made of replies."""

from datetime import timedelta
from pathlib import Path

import msgspec


class Classification(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Rules of this installation, and how long a refusal that is not about the message is borne."""

    rules: Path | None = None  # a file like the shipped `rules.yaml`, asked before it; on the sending host
    patience: timedelta = timedelta(hours=4)  # a 5yz for limits, reputation, DNS or TLS is tried again in this age
