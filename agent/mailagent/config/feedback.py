"""What comes back: bounces, complaints, unsubscribes, reports. The `feedback` section and a stream's `bounces`."""

from datetime import timedelta
from pathlib import Path

import msgspec


class Bounces(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The return path of a stream: where its late bounces go."""

    domain: str  # `bounce.example.com`; its MX is a feedback listener
    verp: bool = True  # MAIL FROM of its own for each recipient, signed; one recipient per transaction


class Feedback(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Mail that anyone may send us: for which addresses, and how much of it."""

    domains: tuple[str, ...] = ()  # ours, besides the bounce domains of streams
    complaints: tuple[str, ...] = ("fbl",)  # local parts that feedback loops report to
    dmarc: tuple[str, ...] = ("dmarc",)  # local parts of `rua=` and `ruf=`
    tls: tuple[str, ...] = ("tlsrpt",)  # local parts of TLS-RPT's `rua=`
    postmaster: str = ""  # where mail for postmaster and abuse is passed on to; empty: it is kept in files
    forward_bounces: bool = False  # pass what comes to a return path on to the sender that the message had
    keys: Path | None = None  # of signed addresses, shared by the hosts; None: <state_dir>/return-path.keys
    token_age: timedelta = timedelta(days=60)  # a return path is refused after that
    keep: timedelta = timedelta(days=30)  # mail for people, and what could not be read
    keep_bytes: int = 104_857_600  # of all of it; the oldest goes
    max_message_bytes: int = 10_485_760
    max_recipients: int = 20
    max_connections: int = 200
    max_connections_per_client: int = 10
    rate_per_minute: int = 600  # recipients per client network (/24, /64)
    backlog: int = 100_000  # mails stored and not yet read; more are refused for now
