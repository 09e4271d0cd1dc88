"""TLS towards other servers: the `tls` section, and the levels that providers and routes ask for."""

from datetime import timedelta
from enum import StrEnum
from pathlib import Path

import msgspec


class TlsMode(StrEnum):
    """What a connection must be before mail goes over it."""

    OFF = "off"  # STARTTLS is never used
    OPPORTUNISTIC = "opportunistic"  # encrypted where it works, whoever the peer is; else in clear (RFC 7435)
    REQUIRED = "required"  # encrypted, whoever the peer is; else the mail waits
    VERIFY = "verify"  # encrypted, and the certificate names the host that we meant; else the mail waits
    IMPLICIT = "implicit"  # TLS from the first byte (RFC 8314), verified; routes only


class MtaSts(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Policies that recipient domains publish by HTTPS (RFC 8461)."""

    enabled: bool = True
    port: int = 443  # of policy hosts; another one is for tests and demonstrations
    ca_file: Path | None = None  # who may sign for policy hosts; None: the system's authorities
    timeout: timedelta = timedelta(seconds=30)  # for one policy


class TlsReports(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Daily reports to domains that ask for them (RFC 8460); none without both names."""

    organization: str = ""  # as the receivers see it: `Example Inc.`
    contact: str = ""  # mail address in the reports; also their sender
    stream: str = ""  # of the mails with reports; empty: by the usual rules


class Tls(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """STARTTLS on the way out (RFC 3207)."""

    mode: TlsMode = TlsMode.OPPORTUNISTIC  # where neither provider nor route says anything
    ca_file: Path | None = None  # who may sign for mail servers; None: the system's authorities
    remember_broken: timedelta = timedelta(days=3)  # after a failed handshake, opportunistic mail goes in clear so long
    mta_sts: MtaSts = MtaSts()
    reports: TlsReports = TlsReports()
