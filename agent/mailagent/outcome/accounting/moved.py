"""Accounting lines of mail that moved from host to host in a parcel. Called in the writer's thread."""

from datetime import UTC, datetime
from functools import partial

from mailagent.api.accounting import EventType
from mailagent.api.evacuation import ParcelHeader
from mailagent.api.ids import HostName
from mailagent.config.structs import AgentConfig
from mailagent.outcome.accounting.record import AccountingRecord, event_id, line
from mailagent.spool.content import PackedMessage
from mailagent.spool.ids import message_name
from mailagent.spool.parcels import Lines


def moved_lines(config: AgentConfig, tag: str, kind: EventType) -> Lines:
    """What makes the lines of one step, MOVED_OUT or MOVED_IN; of a spool with this `tag`."""
    letter = "mo" if kind is EventType.MOVED_OUT else "mi"
    if letter not in config.accounting.records:
        return _no_lines
    return partial(_moved, config.host, tag, kind)


def _no_lines(_header: ParcelHeader, _message: PackedMessage, _number: int) -> list[bytes]:
    return []


def _moved(
    host: HostName, tag: str, kind: EventType, header: ParcelHeader, message: PackedMessage, number: int
) -> list[bytes]:
    name = message_name(number, tag)
    out = kind is EventType.MOVED_OUT
    now = datetime.now(UTC)
    return [
        line(
            AccountingRecord(
                event=f"{event_id(name, one.n, one.attempts, kind)}-{header.id}",
                type=kind,
                time=now,
                host=host,
                message_id=name,
                n=one.n,
                sender=message.sender.decode("utf-8", "backslashreplace"),
                recipient=one.address.decode("utf-8", "backslashreplace"),
                stream=message.stream,
                pool=one.queue.pool,
                size_bytes=message.size,
                attempt=one.attempts,
                queued_s=round(max(0.0, now.timestamp() - message.received_at / 1000), 3),
                job=message.job,
                orcpt=one.orcpt,
                envid=message.envid,
                parcel=header.id,
                other_host=header.target if out else header.source,
                other_id="" if out else message_name(message.id, header.source_tag),
            )
        )
        for one in message.recipients
    ]
