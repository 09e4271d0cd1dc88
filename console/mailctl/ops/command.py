"""The equivalent command of an operation, to be copied into a shell, a ticket or a runbook."""

import shlex
from datetime import timedelta
from pathlib import Path

from mailagent.config.scalars import format_duration
from mailctl.ops.plan import Options, Verb, as_arguments

DEFAULT_ALGORITHM = Options().algorithm


def line(verb: Verb, words: tuple[str, ...], options: Options, *, fleet_file: Path | None) -> str:
    """`mailctl drain pool:marketing --for 2h --reason 'Gmail throttles us'`; `words` are quoted already."""
    said = options.words or verb.words
    parts = [prefix(fleet_file), said, *as_arguments(said, words)]
    if options.filter:
        parts += ["--filter", shlex.quote(options.filter)]
    if options.everything and not words:
        parts.append("--all")
    if verb is Verb.LIMIT:
        parts.append(shlex.quote(f"{options.limit}={options.value}"))
    if options.pool:
        parts += ["--to", shlex.quote(options.pool)]
    if options.standby:
        parts += ["--standby", shlex.quote(options.standby)]
    if options.selector:
        parts += ["--selector", shlex.quote(options.selector)]
    if verb is Verb.DKIM_PREPARE and options.algorithm != DEFAULT_ALGORITHM:
        parts += ["--algorithm", options.algorithm]
    if options.refuse:
        parts.append("--refuse")
    for name, moment in (("--start", options.start), ("--end", options.end)):
        if moment is not None:
            parts += [name, moment.isoformat()]
    if options.rate:
        parts += [options.rate] if said == "job limit" else ["--rate", options.rate]
    if options.bounce:
        parts.append("--bounce")
    if verb is Verb.RETRY:
        parts += ["--spread", _duration(options.spread_s)]
    if options.max_affected is not None:
        parts += ["--max-affected", str(options.max_affected)]
    if options.pin is not None:
        parts.append("--pin" if options.pin else "--unpin")
    if options.ttl_s is not None:
        parts += ["--for", _duration(options.ttl_s)]
    if options.override:
        parts.append("--force" if verb in (Verb.CONFIG_APPLY, Verb.CONFIG_UNDO) else "--override")
    if options.break_lock:
        parts.append("--break-lock")
    if options.key:
        parts += ["--key", options.key]
    if options.reason:
        parts += ["--reason", shlex.quote(options.reason)]
    return " ".join(parts)


def prefix(fleet_file: Path | None) -> str:
    """`mailctl`, with the fleet file when it was named by hand."""
    return f"mailctl --fleet {shlex.quote(str(fleet_file))}" if fleet_file else "mailctl"


def _duration(seconds: int) -> str:
    return format_duration(timedelta(seconds=seconds))
