"""What the agent puts into a Postfix: the names of its services and map files, and their texts. Pure.

A folder `mailagent` beside main.cf holds the maps. Postfix's own look-up chain uses them (docs/decisions/0011):

    held             recipient domain -> the waiting transport and why
    routes           recipient domain -> a fixed next hop
    STREAM.senders   patterns of the envelope sender (regexp)
    STREAM.slots     number of a slot -> transport of the virtual MTA that has it
    helper.json      what the helper may write; Postfix does not read it

Standard library only: the helper that runs as root reads maps by this.
"""

import re
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from typing import Final

from mailagent.api.ids import StreamName, VmtaName

FOLDER: Final = "mailagent"
"""Beside main.cf."""
PREFIX: Final = "vmta-"
"""Of the services of virtual MTAs."""
WAIT: Final = "mailagent-wait"
"""The service that defers what it is given. A copy of Postfix's `retry` under another name: smtpd refuses recipients
that go to `retry` itself, and mail of a suspended provider is to be taken and to wait."""
HELD: Final = "held by mailagent"
"""Begins the text of an emulated deferral, in the log and in the queue."""
SLOTS: Final = 100
"""Parts that a pool's mail is dealt out in: a weight counts in percent."""
HELD_MAP: Final = "held"
ROUTES_MAP: Final = "routes"
SENDERS: Final = ".senders"
SLOTS_OF: Final = ".slots"
ALLOWED: Final = "helper.json"
_HEAD: Final = "# Written by mailagent; changes are lost. `mailagent postfix remove` takes it away.\n"
_MAX_WORDS: Final = 200
_WAITING: Final = re.compile(rf"{WAIT}:4\.3\.2 {HELD}(?:: [ -~]{{0,{_MAX_WORDS - len(HELD) - 3}}}[!-~])?", re.ASCII)
_MAX_DOMAIN: Final = 255
_DOMAIN: Final = re.compile(r"[a-z0-9_-]+(?:\.[a-z0-9_-]+)*|\[[0-9a-z.:]+\]", re.ASCII)
_SPECIAL: Final = re.compile(r"[][\\.^$*+?(){}|/]")


def transport_of(vmta: VmtaName) -> str:
    """Name of the service of a virtual MTA."""
    return f"{PREFIX}{vmta}"


def vmta_of(syslog_name: str) -> str:
    """The virtual MTA whose service logs under this name (`postfix/vmta-mkt-1`); empty: none of ours."""
    return syslog_name.partition(f"/{PREFIX}")[2]


def waiting(words: str) -> str:
    """A value that has mail deferred, with why: one line of printable ASCII."""
    clean = "".join(char if " " <= char <= "~" else "?" for char in " ".join(words.split()))
    text = f"{HELD}: {clean}" if clean else HELD
    return f"{WAIT}:4.3.2 {text[:_MAX_WORDS].rstrip()}"


def is_waiting(value: str) -> bool:
    """Whether `value` is one of `waiting`."""
    return _WAITING.fullmatch(value) is not None


def is_destination(key: str) -> bool:
    """Whether `key` is a recipient domain, as Postfix looks it up: no pattern, and no address."""
    return len(key) <= _MAX_DOMAIN and _DOMAIN.fullmatch(key) is not None


def way(vmta: str, nexthop: str) -> str:
    """A value that has mail leave from a virtual MTA."""
    return f"{PREFIX}{vmta}:{nexthop}"


def slot_names() -> tuple[str, ...]:
    """The keys of a map of slots, as randmap has them."""
    return tuple(f"{number:02}" for number in range(SLOTS))


def dealt(weights: Mapping[VmtaName, int]) -> list[VmtaName]:
    """A virtual MTA for each slot: its share by weight, by largest remainder, at least one; nothing for nobody."""
    if not weights:
        return []
    total = sum(weights.values())
    exact = {name: SLOTS * weight / total for name, weight in weights.items()}
    share = {name: max(1, int(part)) for name, part in exact.items()}
    by_rest = sorted(exact, key=lambda name: share[name] - exact[name])
    while (short := SLOTS - sum(share.values())) != 0:
        for name in by_rest[:short] if short > 0 else [max(share, key=lambda one: share[one])]:
            share[name] += 1 if short > 0 else -1
    return [name for name in weights for _ in range(share[name])]


def slots_text(weights: Mapping[VmtaName, int], nexthop: str, why_none: str) -> str:
    """The map of a stream's slots. Without anybody who may send, its mail waits."""
    values = [way(name, nexthop) for name in dealt(weights)] or [waiting(why_none)] * SLOTS
    return map_text(zip(slot_names(), values, strict=True))


def map_text(rows: Iterable[tuple[str, str]]) -> str:
    """A table as postmap reads it."""
    return _HEAD + "".join(f"{key}\t{value}\n" for key, value in rows)


def rows_of(text: str) -> dict[str, str]:
    """What stands in `map_text`."""
    lines = (line.partition("\t") for line in text.splitlines() if not line.startswith("#"))
    return {key: value for key, _, value in lines}


def tables(value: str) -> list[str]:
    """The tables of a list: commas and blanks separate, except in braces."""
    found, depth, current = [], 0, ""
    for char in value:
        depth += {"{": 1, "}": -1}.get(char, 0)
        if depth <= 0 and (char == "," or char.isspace()):
            found.append(current)
            current = ""
        else:
            current += char
    return [table for table in (*found, current) if table]


def shown(name: str, text: str | None) -> str:
    """A map for people: of slots, how many each value has."""
    if text is None or not name.endswith(SLOTS_OF):
        return text or ""
    counts = Counter(rows_of(text).values())
    return "".join(f"{count:3} of {SLOTS} slots  {value}\n" for value, count in counts.items())


def senders_text(patterns: Sequence[str]) -> str:
    """A regexp table that knows the senders of a stream; `*` and `?` in patterns, no case."""
    return _HEAD + "".join(f"/^{_posix(pattern)}$/ found\n" for pattern in patterns)


def _posix(pattern: str) -> str:
    """A pattern as POSIX extended expression, in which `/` ends the pattern."""
    return "".join({"*": ".*", "?": "."}.get(char) or _SPECIAL.sub(r"\\\g<0>", char) for char in pattern)


def senders_map(stream: StreamName) -> str:
    """File name of a stream's patterns."""
    return f"{stream}{SENDERS}"


def slots_map(stream: StreamName) -> str:
    """File name of a stream's slots."""
    return f"{stream}{SLOTS_OF}"
