"""What the words about feedback mean together."""

import re
from datetime import timedelta

from mailagent.config.checks.words import MAILBOX
from mailagent.config.reading import Reader
from mailagent.config.scalars import is_host
from mailagent.config.structs import Shared

MAX_DOMAIN = 200
"""Characters; with the local part a path has at most 256 (RFC 5321 section 4.5.3.1.3)."""
LONGEST = timedelta(days=400)
_LOCAL = re.compile(r"[A-Za-z0-9!#$%&'*/=?^_`{|}~.-]{1,64}")  # no `+`: what stands behind one is a tag


def check_feedback(config: Shared, report: Reader) -> None:
    """Report every mistake in `feedback` and in the `bounces` of streams."""
    feedback = config.feedback
    for n, domain in enumerate(feedback.domains):
        if not is_host(domain):
            report.follow_up(("feedback", "domains", n), f"`{domain}` is no domain; write bounce.example.com")
    for name, stream in config.streams.items():
        if stream.bounces is None:
            continue
        if len(stream.bounces.domain) > MAX_DOMAIN:
            report.follow_up(
                ("streams", name, "bounces", "domain"), f"is longer than {MAX_DOMAIN}: a return path would not fit"
            )
        elif not is_host(stream.bounces.domain):
            message = f"`{stream.bounces.domain}` is no domain; write bounce.example.com"
            report.follow_up(("streams", name, "bounces", "domain"), message)
    taken: dict[str, str] = {"postmaster": "postmaster", "abuse": "postmaster", "b": "bounces", "u": "unsubscribes"}
    for field in ("complaints", "dmarc", "tls"):
        for n, local in enumerate(getattr(feedback, field)):
            key = ("feedback", field, n)
            if not _LOCAL.fullmatch(local):
                report.follow_up(
                    key, f"`{local}` is no local part of an address; write it without domain and without +"
                )
            elif local.lower() in taken:
                report.follow_up(key, f"`{local}` is for {taken[local.lower()]} already")
            taken.setdefault(local.lower(), f"feedback.{field}")
    if feedback.postmaster and not MAILBOX.fullmatch(feedback.postmaster):
        report.follow_up(("feedback", "postmaster"), f"`{feedback.postmaster}` is no mail address")
    elif feedback.postmaster.rpartition("@")[2].lower() in feedback_domains(config):
        report.follow_up(("feedback", "postmaster"), "lies in a domain that comes back here: mail would go in circles")
    for field in ("token_age", "keep"):
        if getattr(feedback, field) > LONGEST:
            report.follow_up(("feedback", field), "is longer than 400 days")
    for field in ("max_message_bytes", "max_recipients", "max_connections", "max_connections_per_client", "backlog"):
        if getattr(feedback, field) < 1:
            report.follow_up(("feedback", field), "must be 1 or more")


def feedback_domains(config: Shared) -> frozenset[str]:
    """Domains whose mail comes back to us, lower case."""
    bounces = (stream.bounces.domain for stream in config.streams.values() if stream.bounces is not None)
    return frozenset(domain.lower() for domain in (*config.feedback.domains, *bounces))
