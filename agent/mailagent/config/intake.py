"""Words of the `intake` section: TLS and logging in at a listener."""

from enum import StrEnum
from pathlib import Path

import msgspec


class ListenerKind(StrEnum):
    """Who may hand in what."""

    SUBMISSION = "submission"  # our applications: anything
    FEEDBACK = "feedback"  # anyone: bounces, complaints, reports, for addresses of ours only


class ListenerTls(StrEnum):
    """Whether a listener speaks TLS."""

    OFF = "off"
    STARTTLS = "starttls"
    IMPLICIT = "implicit"


class ListenerAuth(StrEnum):
    """Where a listener lets clients log in."""

    TLS = "tls"  # once TLS is on; nowhere on a listener without it
    LOCAL = "local"  # without TLS too: a loopback address
    OFF = "off"


class Certificate(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """PEM files: the certificate with its chain, and its key. Read again at each reload."""

    cert: Path
    key: Path
