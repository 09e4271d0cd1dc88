"""What the words about TLS mean together."""

import re
from datetime import timedelta

from mailagent.config.nodes import Key
from mailagent.config.reading import Reader
from mailagent.config.structs import Endpoint, RouteAuth, Shared
from mailagent.config.tls import TlsMode

_MAILBOX = re.compile(r"[!-?A-~]+@[A-Za-z0-9.-]+")
MAX_REMEMBERED = timedelta(days=30)


def check_tls(config: Shared, report: Reader) -> None:
    """Report every mistake in `tls`, and in what providers say about it."""
    tls = config.tls
    if tls.mode is TlsMode.IMPLICIT:
        report.follow_up(("tls", "mode"), "`implicit` is for routes: MX hosts speak STARTTLS on port 25")
    for name, provider in config.providers.items():
        if provider.tls is TlsMode.IMPLICIT:
            report.follow_up(("providers", name, "tls"), "`implicit` is for routes: MX hosts speak STARTTLS on port 25")
    first: dict[Endpoint, int] = {}
    for n, route in enumerate(config.routes):
        other = first.setdefault(route.to, n)
        if (route.tls, route.auth) != (config.routes[other].tls, config.routes[other].auth):
            message = (
                f"says other things about {route.to} than routes[{other}]: mail to one next hop shares connections"
            )
            report.follow_up(("routes", n, "auth" if route.auth is not None else "tls"), message)
        if route.auth is not None:
            _check_auth(route.auth, route.tls, ("routes", n), report)
    for domain, block in config.domains.items():
        if block.tls is TlsMode.IMPLICIT:
            report.follow_up(("domains", domain, "tls"), "`implicit` is for routes: MX hosts speak STARTTLS on port 25")
    if tls.remember_broken > MAX_REMEMBERED:
        report.follow_up(("tls", "remember_broken"), "is longer than 30 days")
    if not tls.mta_sts.port:
        report.follow_up(("tls", "mta_sts", "port"), "port 0 cannot be connected to")
    reports = tls.reports
    if bool(reports.organization) != bool(reports.contact):
        report.follow_up(("tls", "reports"), "wants both `organization` and `contact`, or neither")
    if reports.contact and not _MAILBOX.fullmatch(reports.contact):
        report.follow_up(("tls", "reports", "contact"), f"`{reports.contact}` is no mail address")
    if not (reports.organization.isascii() and reports.organization.isprintable()):
        report.follow_up(("tls", "reports", "organization"), "wants ASCII letters")
    if reports.stream and reports.stream not in report.names("streams"):
        report.follow_up(("tls", "reports", "stream"), f"`{reports.stream}` is no stream")


def _check_auth(auth: RouteAuth, mode: TlsMode | None, key: Key, report: Reader) -> None:
    if mode in (TlsMode.OFF, TlsMode.OPPORTUNISTIC):
        report.follow_up((*key, "tls"), f"with `{mode}` the credential could be read on the way; leave `tls` out")
    if not auth.user or any(ord(char) < 0x20 for char in auth.user):
        report.follow_up((*key, "auth", "user"), "is no user name")
    if (auth.password_file is None) == (auth.token_file is None):
        report.follow_up((*key, "auth"), "wants either `password_file` or `token_file`")
