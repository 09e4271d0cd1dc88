"""What is told of one finding: an event for operators, a record for accounting. Pure but for the clock of the lag."""

import time
from datetime import UTC, datetime

from mailagent.api.accounting import EventType
from mailagent.api.feedback import FeedbackEvent, FeedbackKind
from mailagent.outcome.accounting import AccountingRecord
from mailagent.returns.examination import Finding
from mailagent.returns.mailbox import Envelope

EVENT_TYPES = {
    FeedbackKind.BOUNCE: EventType.REMOTE_BOUNCED,
    FeedbackKind.STATUS: EventType.REMOTE_STATUS,
    FeedbackKind.COMPLAINT: EventType.FEEDBACK,
    FeedbackKind.UNSUBSCRIBE: EventType.FEEDBACK,
}


def event_of(envelope: Envelope, finding: Finding, *, suppressed: bool) -> FeedbackEvent:
    """The event, once its effect is on disk."""
    sent, status, complaint = finding.sent, finding.status, finding.complaint
    return FeedbackEvent(
        id=envelope.id,
        kind=finding.kind,
        at=datetime.fromtimestamp(envelope.at, UTC),
        lag_s=round(max(0.0, time.time() - envelope.at), 3),
        recipient=sent.recipient,
        message_id=sent.message_id,
        n=sent.n,
        sender=sent.sender,
        stream=sent.stream,
        pool=sent.pool,
        vmta=sent.vmta,
        provider=sent.provider,
        job=sent.job,
        type=complaint.type if complaint is not None else status.action.value if status is not None else "",
        form=finding.form,
        status=status.status if status is not None else "",
        category=finding.verdict.category.value if finding.verdict is not None else "",
        text=finding.keep or (status.diagnostic[:500] if status is not None else ""),
        suppressed=suppressed,
    )


def record_of(envelope: Envelope, finding: Finding, kind: EventType, n: int, host: str) -> AccountingRecord:
    """The record of finding number `n` of a mail; its event id is the same however often the mail is read."""
    sent, status, complaint, verdict = finding.sent, finding.status, finding.complaint, finding.verdict
    told = kind.value if complaint is not None or status is not None else finding.kind.value
    return AccountingRecord(
        event=f"{envelope.id}-{n}-{told}",
        type=kind,
        time=datetime.fromtimestamp(envelope.at, UTC),
        host=host,
        message_id=sent.message_id,
        n=sent.n,
        sender=sent.sender,
        recipient=sent.recipient,
        stream=sent.stream,
        pool=sent.pool,
        size_bytes=sent.size_bytes,
        vmta=sent.vmta,
        source=sent.source,
        site=sent.site,
        provider=sent.provider,
        job=sent.job,
        code=status.code if status is not None else 0,
        enhanced=status.status if status is not None else "",
        text=status.diagnostic if status is not None else "",
        category=verdict.category.value if verdict is not None else "",
        action=verdict.action.value if verdict is not None else "",
        rule_id=verdict.rule if verdict is not None else "",
        mx=status.remote_mta if status is not None else "",
        dsn_action=status.action.value if status is not None else "",
        reporting_mta=finding.reporting_mta,
        feedback_type=complaint.type if complaint is not None else "unsubscribe" if kind is EventType.FEEDBACK else "",
        feedback_format=finding.form if kind is EventType.FEEDBACK else "",
        user_agent=complaint.user_agent if complaint is not None else "",
        reported_domain=complaint.domains[0] if complaint is not None and complaint.domains else "",
        reported_source=complaint.source_ip if complaint is not None else "",
    )
