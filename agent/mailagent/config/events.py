"""The `events` section: outcomes for the application."""

from datetime import timedelta
from pathlib import Path

import msgspec

from mailagent.api.ids import StreamName


class EventSink(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """One webhook or file that hears of accounting events, at least once and in order."""

    name: str
    url: str = ""  # POST there: https, or http on loopback
    file: Path | None = None  # or append lines here
    types: tuple[str, ...] = ("d", "b", "x", "rb", "rs", "f")  # letters of accounting.records
    streams: tuple[StreamName, ...] = ()  # none: all
    secret_file: Path | None = None  # on the sending host: what requests are signed with; a url needs it
    ca_file: Path | None = None  # who may sign for the url's host; None: the system's authorities
    batch: int = 500  # events in one request
    timeout: timedelta = timedelta(seconds=30)  # for one request
