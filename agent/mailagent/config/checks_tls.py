"""What the words about TLS mean together."""

from datetime import timedelta

from mailagent.config.reading import Reader
from mailagent.config.structs import Shared
from mailagent.config.tls import TlsMode

MAX_REMEMBERED = timedelta(days=30)


def check_tls(config: Shared, report: Reader) -> None:
    """Report every mistake in `tls`, and in what providers say about it."""
    tls = config.tls
    if tls.mode is TlsMode.IMPLICIT:
        report.follow_up(("tls", "mode"), "`implicit` is for routes: MX hosts speak STARTTLS on port 25")
    for name, provider in config.providers.items():
        if provider.tls is TlsMode.IMPLICIT:
            report.follow_up(("providers", name, "tls"), "`implicit` is for routes: MX hosts speak STARTTLS on port 25")
    for domain, block in config.domains.items():
        if block.tls is TlsMode.IMPLICIT:
            report.follow_up(("domains", domain, "tls"), "`implicit` is for routes: MX hosts speak STARTTLS on port 25")
    if tls.remember_broken > MAX_REMEMBERED:
        report.follow_up(("tls", "remember_broken"), "is longer than 30 days")
    if not tls.mta_sts.port:
        report.follow_up(("tls", "mta_sts", "port"), "port 0 cannot be connected to")
