"""Why mail of a Postfix queue waits, as far as Postfix tells. Pure."""

from datetime import UTC, datetime
from typing import Final

import msgspec

from mailagent.api.outcome import Attempt
from mailagent.api.reasons import ReasonKind, WaitReason
from mailagent.api.views import MessageSummary
from mailagent.postfix.instance import Instance
from mailagent.spool.mirror import HELD_BY
from mailagent.why import cause

EMULATED: Final = "emulated: each try is deferred here, counts as an attempt, and the mail still expires"


def reasons(
    summary: MessageSummary,
    folder: str,
    last: Attempt | None,
    instance: Instance,
    *,
    active: int,
    running: bool,
    held: WaitReason | None = None,
) -> list[WaitReason]:
    """Why a recipient of a message in `folder` waits. `active` messages are in the active queue, `held` has an order
    that maps obey."""
    found = []
    if not running:
        found.append(
            WaitReason(
                kind=ReasonKind.RESOURCE, detail="Postfix is not running: nothing is delivered", release="postfix start"
            )
        )
    if held is not None and folder != "hold":
        found.append(held)
    match folder:
        case "hold":
            found.append(
                WaitReason(
                    kind=ReasonKind.HELD,
                    detail="it is on hold in Postfix; there it does not expire",
                    key="" if summary.held == HELD_BY else summary.held,
                    origin="queue folder hold",
                    release=f"mailctl release message:{summary.message_id}",
                )
            )
        case "deferred":
            found.append(_schedule(summary, instance))
        case "active":
            found.append(
                WaitReason(
                    kind=ReasonKind.SENDING,
                    detail="it is in the active queue: being delivered, or waiting for a place among the connections"
                    " to its destination; Postfix does not tell which",
                    origin="queue folder active",
                )
            )
        case "incoming":
            found.append(
                WaitReason(
                    kind=ReasonKind.WINDOW,
                    detail=f"it waits for a place in the active queue, which holds {active:,} messages",
                    key="qmgr_message_active_limit",
                    value=str(instance.active_limit),
                    origin=f"{instance.config_dir}/main.cf",
                    release="mail that leaves the active queue",
                )
            )
        case "maildrop":
            found.append(
                WaitReason(
                    kind=ReasonKind.WINDOW,
                    detail="it was handed in by a local program, and pickup has not taken it yet",
                    origin="queue folder maildrop",
                )
            )
    if last is not None and folder in ("deferred", "hold"):
        found.append(_behind(last))
    return found


def emulated(block: WaitReason) -> WaitReason:
    """What holds mail by maps, in words that say so."""
    return msgspec.structs.replace(block, detail=f"{block.detail} (≈ {EMULATED})")


def _behind(last: Attempt) -> WaitReason:
    """What the last attempt met; one that only a listing tells of has no virtual MTA."""
    found, reply = cause(last), last.reply
    if last.vmta:
        return found
    return msgspec.structs.replace(found, detail=reply.text if reply.local else reply.line())


def _schedule(summary: MessageSummary, instance: Instance) -> WaitReason:
    settings = instance.settings
    known = "next_try_at" not in summary.unknown
    waits = f"{settings.get('minimal_backoff_time', '?')} to {settings.get('maximal_backoff_time', '?')}"
    detail = "its last attempt failed; Postfix tries again when the message has doubled its age"
    overdue = known and summary.next_try_at <= datetime.now(UTC)
    if overdue:
        scan = settings.get("queue_run_delay", "?")
        detail = f"it is due: the queue manager takes it with its next look at the deferred queue, every {scan}"
    return WaitReason(
        kind=ReasonKind.SCHEDULE,
        detail=detail if known else f"{detail}; when that is cannot be seen",
        key="minimal_backoff_time, maximal_backoff_time",
        value=waits,
        origin=f"{instance.config_dir}/main.cf",
        until=summary.next_try_at if known and not overdue else None,
        release=f"mailctl retry message:{summary.message_id}",
        reply=summary.reply,
    )
