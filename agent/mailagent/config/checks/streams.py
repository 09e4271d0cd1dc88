"""What the words of a stream mean together, and which streams should not share a pool."""

from collections.abc import Iterator

from mailagent.config.nodes import Key
from mailagent.config.reading import Reader
from mailagent.config.scalars import format_duration, is_host
from mailagent.config.streams import Check, Protect
from mailagent.config.structs import Shared


def check_stream_rules(config: Shared, report: Reader) -> None:
    """Report every mistake in kinds, checks and protection."""
    for name, stream in config.streams.items():
        key: Key = ("streams", name)
        protect = stream.protect
        if protect.action is Protect.MOVE and protect.move_to is None:
            report.follow_up((*key, "protect", "action"), "`move` wants `move_to`, the stream that such mail goes to")
        if protect.move_to is not None:
            if protect.move_to == name:
                report.follow_up((*key, "protect", "move_to"), "is the stream itself")
            elif protect.move_to not in report.names("streams"):
                report.follow_up((*key, "protect", "move_to"), f"`{protect.move_to}` is no stream")
        for n, domain in enumerate(stream.from_domains):
            if not is_host(domain):
                report.follow_up((*key, "from_domains", n), f"`{domain}` is no domain")


def mixed_pools(config: Shared) -> Iterator[tuple[Key, str]]:
    """Warnings: a pool whose streams belong to different isolation groups shares their reputation."""
    groups: dict[str, dict[str, str]] = {}  # pool -> isolation group -> first stream of it
    for name, stream in config.streams.items():
        if stream.isolation:
            groups.setdefault(stream.pool, {}).setdefault(stream.isolation, name)
    for pool, found in groups.items():
        if len(found) > 1:
            (_, first), *others = found.items()
            for group, other in others:
                message = (
                    f"shares pool {pool} with stream {first}, and so its reputation;"
                    f" mail of group {group} should have a pool of its own"
                )
                yield ("streams", other, "isolation"), message


def stream_lines(config: Shared) -> list[str]:
    """A line for each stream with a kind, with everything that holds for it."""
    lines = []
    for name, stream in config.streams.items():
        if stream.kind is None:
            continue
        checks = [
            f"{check} {value}"
            for check in stream.checks.__struct_fields__
            if (value := getattr(stream.checks, check)) is not Check.OFF
            and (check != "size" or stream.max_message_bytes is not None)
        ]
        latency = f", latency {format_duration(stream.latency)}" if stream.latency is not None else ""
        lines.append(
            f"stream {name}: {stream.kind}, pool {stream.pool}, priority {stream.priority}{latency},"
            f" isolation {stream.isolation or 'none'}, checks {', '.join(checks) or 'none'},"
            f" bulk-looking mail {stream.protect.action}"
        )
    return lines
