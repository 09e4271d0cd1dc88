"""Which log belongs to an instance."""

import time
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path

from mailagent.config.postfix import JOURNAL, Postfix
from mailagent.postfix.instance import DEFAULT_LOG, Instance
from mailagent.postfix.log import follow
from mailagent.postfix.log.changes import Changes
from mailagent.postfix.log.follow import FileTail
from mailagent.postfix.log.keeper import LogKeeper, stored_place
from mailagent.postfix.log.lines import LineParser
from mailagent.postfix.log.outcomes import Outcomes
from mailagent.postfix.log.sources import CommandSource, FileSource, JournalSource, Position, Source
from mailagent.spool.store import Spool
from mailagent.telemetry.counters import Counters

_MAIL = 2
_FACILITIES = {"user": 1, "mail": _MAIL, "daemon": 3, **{f"local{n}": 16 + n for n in range(8)}}
"""Of syslog(3), those that `syslog_facility` has in use."""
_KEPT_LINES = "10000"
"""Lines that a file in a container is read from its end: those of the time that the agent was not there."""


async def keeper_of(
    config: Postfix,
    instance: Instance,
    *,
    changes: Changes,
    spool: Spool,
    counters: Counters,
    gone: Callable[[str], None],
    now: Callable[[], Instance],
) -> LogKeeper:
    """What follows the log of `instance` from where the last run stopped; `now` has it as it was seen last."""
    place = await stored_place(spool)
    source = source_of(config, instance, place.position if place is not None else None)
    outcomes = Outcomes(
        instance.syslog_name or "postfix",
        changes.vmta_of,
        log_names=lambda: now().log_names,
        filters=lambda: now().filters,
    )
    return LogKeeper(source, outcomes, changes, spool, counters, place=place, gone=gone)


def log_file(config: Postfix, instance: Instance) -> str:
    """The file that the log is in, as Postfix's programs see it; empty where it is none."""
    if config.log_command or config.log == JOURNAL:
        return ""
    return config.log or instance.log_file or DEFAULT_LOG


def source_of(config: Postfix, instance: Instance, position: Position | None) -> Source:
    """`postfix.log_command`, else `postfix.log`, else the file that Postfix says, else where Debian has it.

    With `postfix.command` a file is one of the container's, and read through it.
    """
    parser = LineParser(now=lambda: datetime.now(UTC))
    if config.log_command:
        return CommandSource(config.log_command, parser, position, since=time.time())
    if config.log == JOURNAL:
        facility = _FACILITIES.get(instance.settings.get("syslog_facility", ""), _MAIL)
        return JournalSource(parser, position, since=time.time(), matches=(f"SYSLOG_FACILITY={facility}",))
    path = log_file(config, instance)
    if config.command:
        argv = (*config.command, "tail", "-n", _KEPT_LINES, "-F", path)
        return CommandSource(argv, parser, position, since=time.time())
    return FileSource(FileTail(Path(path), position if isinstance(position, follow.Position) else None), parser)
