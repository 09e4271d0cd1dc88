"""What `reputation` means: lists that live, asked no more often than they bear."""

from datetime import timedelta
from ipaddress import AddressValueError, IPv4Address

from mailagent.config.block_lists import dead_lists, shipped_lists
from mailagent.config.checks.words import known
from mailagent.config.reading import Reader
from mailagent.config.reputation import Reputation
from mailagent.config.scalars import is_host

SHORTEST = timedelta(minutes=1)


def check_reputation(config: Reputation, report: Reader) -> None:
    """Report every mistake in `reputation`."""
    for name, one in config.block_lists.items():
        key = ("reputation", "block_lists", name)
        if (why := dead_lists().get(name)) is not None:
            report.follow_up(key, f"this list is no more ({why}): it would answer nothing, or list everybody")
        elif not is_host(name) or "." not in name:
            report.follow_up(key, f"`{name}` is no DNS zone")
        if one.like and one.like not in shipped_lists():
            report.follow_up((*key, "like"), f"`{one.like}` is no shipped list{known(shipped_lists())}")
        if one.every is not None and one.every < SHORTEST:
            report.follow_up((*key, "every"), "is less than a minute; lists shut out who asks too often")
        for answer in one.answers:
            if not _is_answer(answer):
                report.follow_up((*key, "answers", answer), f"`{answer}` is no address of 127.0.0.0/8")


def _is_answer(text: str) -> bool:
    try:
        return IPv4Address(text).is_loopback
    except AddressValueError:
        return False
