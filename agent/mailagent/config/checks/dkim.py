"""What the `dkim` section means together. Key files are the host's own: the agent looks at them when it loads."""

import re
from datetime import timedelta

from mailagent.config.dkim import Dkim
from mailagent.config.nodes import Key
from mailagent.config.reading import Reader
from mailagent.config.scalars import is_host

MAX_THREADS = 64
_SELECTOR = re.compile(r"[A-Za-z0-9](?:[A-Za-z0-9-]{0,61}[A-Za-z0-9])?(?:\.[A-Za-z0-9](?:[A-Za-z0-9-]*[A-Za-z0-9])?)*")
_HEADER = re.compile(r"[!-9<-~]+")  # RFC 5322 section 3.6.8, without `;`, which would end h=


def check_dkim(dkim: Dkim, report: Reader) -> None:
    """Report every mistake of meaning in the `dkim` section."""
    if not 1 <= dkim.threads <= MAX_THREADS:
        report.follow_up(("dkim", "threads"), f"must be from 1 to {MAX_THREADS}")
    if dkim.life is not None and dkim.life < timedelta(hours=1):
        report.follow_up(
            ("dkim", "life"), "is shorter than an hour: mail that waits would arrive with a dead signature"
        )
    pools = report.names("pools")
    seen: dict[tuple[str, str, str], int] = {}
    files: dict[tuple[str, str], int] = {}
    for n, key in enumerate(dkim.keys):
        at: Key = ("dkim", "keys", n)
        name = (key.domain.lower(), key.selector.lower())
        if not is_host(key.domain):
            report.follow_up((*at, "domain"), f"`{key.domain}` is no domain")
        if not is_selector(key.selector):
            report.follow_up((*at, "selector"), f"`{key.selector}` is no selector: letters, digits, hyphens, dots")
        if key.pool not in pools and not report.lacks("pools"):
            report.follow_up((*at, "pool"), f"`{key.pool}` is no pool")
        if (first := seen.setdefault((*name, key.pool), n)) != n:
            report.follow_up((*at, "selector"), f"stands in dkim.keys[{first}] already")
        if dkim.keys[first := files.setdefault(name, n)].file != key.file:
            report.follow_up((*at, "file"), f"dkim.keys[{first}] has another file for the same selector and domain")
        if key.headers and "from" not in (header.lower() for header in key.headers):
            report.follow_up((*at, "headers"), "lacks From, which every signature covers (RFC 6376 section 5.4)")
        for place, header in enumerate(key.headers):
            if not _HEADER.fullmatch(header):
                report.follow_up((*at, "headers", place), f"`{header}` is no name of a header")


def is_selector(text: str) -> bool:
    """Whether `text` can stand in front of `._domainkey`."""
    return len(text) <= 63 and _SELECTOR.fullmatch(text) is not None
