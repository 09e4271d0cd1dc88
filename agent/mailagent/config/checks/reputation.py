"""What `reputation` means: lists that live, asked no more often than they bear."""

from datetime import timedelta
from ipaddress import AddressValueError, IPv4Address, IPv4Network

from mailagent.config.block_lists import not_to_ask, shipped_lists, zone_name
from mailagent.config.checks.words import known
from mailagent.config.reading import Reader
from mailagent.config.reputation import Reputation
from mailagent.config.scalars import is_host

SHORTEST = timedelta(minutes=1)
MAX_ZONE = 180
"""Characters: 64 of an IPv6 address stand before it, and a name has 253 (RFC 1035 section 2.3.4)."""
_ERRORS = IPv4Network("127.255.255.0/24")


def check_reputation(config: Reputation, report: Reader) -> None:
    """Report every mistake in `reputation`."""
    for name, one in config.block_lists.items():
        key = ("reputation", "block_lists", name)
        if (why := _not_to_ask(zone_name(name))) is not None:
            report.follow_up(key, f"is not to be asked: {why}")
        elif not is_host(name) or name.replace(".", "").isdigit() or "." not in name or len(name) > MAX_ZONE:
            report.follow_up(key, f"`{name}` is no DNS zone")
        if one.like and zone_name(one.like) not in shipped_lists():
            report.follow_up((*key, "like"), f"`{one.like}` is no shipped list{known(shipped_lists())}")
        if one.every is not None and one.every < SHORTEST:
            report.follow_up((*key, "every"), "is less than a minute; lists shut out who asks too often")
        for answer in one.answers:
            if not _is_answer(answer):
                message = f"`{answer}` is no listing: those are 127.0.0.0/8 without 127.0.0.1 and 127.255.255.0/24"
                report.follow_up((*key, "answers", answer), message)
    if config.identity.every < SHORTEST:
        report.follow_up(("reputation", "identity", "every"), "is less than a minute")


def _not_to_ask(name: str) -> str | None:
    """Why lists of that name, or under it, are a mistake."""
    return next((why for zone, why in not_to_ask().items() if name == zone or name.endswith(f".{zone}")), None)


def _is_answer(text: str) -> bool:
    try:
        address = IPv4Address(text)
    except AddressValueError:
        return False
    return address.is_loopback and address != IPv4Address("127.0.0.1") and address not in _ERRORS
