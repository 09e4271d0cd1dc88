"""Checks that several sections share: names, lists of what there is, retry schedules."""

import re
from collections.abc import Iterable

from mailagent.config.nodes import Key
from mailagent.config.reading import Reader
from mailagent.config.structs import Retry

_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,62}")


MAILBOX = re.compile(r"[!-?A-~]+@[!-?A-~]+")


def is_name(text: str) -> bool:
    """Whether `text` may name an object."""
    return _NAME.fullmatch(text) is not None


def bad_name(name: str) -> str:
    """The complaint about one that may not."""
    return f"`{name}` is no name: letters, digits, dot, hyphen and underscore, at most 63"


def known(names: Iterable[str]) -> str:
    """`; there are a, b`, for the end of a complaint about a name that is not there."""
    listed = sorted(names)
    if not listed:
        return "; none is declared"
    return f"; there are {', '.join(listed[:8])}{' …' if len(listed) > 8 else ''}"


def check_retry(retry: Retry, key: Key, report: Reader) -> None:
    """Report what cannot be meant in a retry schedule."""
    for field in ("waits", "greylist", "dns"):
        if not getattr(retry, field):
            report.follow_up((*key, field), "has no wait")
    for name, waits in retry.classes.items():
        if not waits:
            report.follow_up((*key, "classes", name), "has no wait")
    if not 0 <= retry.jitter < 1:
        report.follow_up((*key, "jitter"), "must be from 0 to below 1: the part of a wait that chance may add or take")
