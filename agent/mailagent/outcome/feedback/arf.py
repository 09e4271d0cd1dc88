"""Complaints: ARF (RFC 5965) as Yahoo, Comcast, Validity and others send it, and the forms of loops that do not.

Microsoft's JMRP came as a mail with the message attached, its header beginning with X-HmXmrOriginalRecipient; since
2026 it sends ARF that returns the header only. Recipients are often hashed or left out everywhere.
"""

import re
from collections.abc import Sequence

from mailagent.outcome.feedback.delivery_status import address_of, original_fields
from mailagent.outcome.feedback.mime import Fields, Part, read_fields
from mailagent.outcome.feedback.reports import Complaint

MAX_RECIPIENTS = 100
REPORT_TYPE = "message/feedback-report"

_JMRP_RECIPIENT = "x-hmxmroriginalrecipient"
_ABOUT_IP = re.compile(r"complaint about message from (?:IP )?\[?([0-9A-Fa-f.:]{3,45})\]?", re.IGNORECASE)
_TYPE = re.compile(r"[a-z][a-z-]{0,30}")


def read_complaint(parts: Sequence[Part]) -> Complaint | None:
    """The complaint among `parts`, None when there is none."""
    for part in parts:
        if part.kind == REPORT_TYPE:
            return _arf(read_fields(part.content.lstrip(b"\r\n")), original_fields(parts))
    return _jmrp(parts)


def _arf(report: Fields, original: Fields) -> Complaint:
    kind = report.get("feedback-type").partition(";")[0].strip().lower()
    incidents = report.get("incidents").strip()
    return Complaint(
        form="arf",
        type=kind if _TYPE.fullmatch(kind) else "other",  # a type that is not known is `other` (section 3.1)
        user_agent=report.get("user-agent")[:200],
        reporting_mta=report.get("reporting-mta").rpartition(";")[2].strip()[:255],
        source_ip=report.get("source-ip").strip()[:45],
        original_sender=address_of(report.get("original-mail-from")),
        recipients=_addresses(
            (*report.all("original-rcpt-to"), *report.all("removal-recipient")) or original.all(_JMRP_RECIPIENT)
        ),
        domains=tuple(domain.strip().lower()[:255] for domain in report.all("reported-domain")[:MAX_RECIPIENTS]),
        envelope_id=report.get("original-envelope-id")[:255],
        incidents=max(1, int(incidents)) if incidents.isdecimal() and len(incidents) < 7 else 1,
        feedback_id=original.get("feedback-id")[:255],
        original=original,
    )


def _jmrp(parts: Sequence[Part]) -> Complaint | None:
    original = original_fields(parts)
    told = original.all(_JMRP_RECIPIENT)
    about = _ABOUT_IP.search(parts[0].fields.get("subject"))
    if not told and about is None:
        return None
    return Complaint(
        form="jmrp",
        type="abuse",
        source_ip=about[1] if about else "",
        original_sender=address_of(original.get("return-path")),
        recipients=_addresses(told),
        feedback_id=original.get("feedback-id")[:255],
        original=original,
    )


def _addresses(values: Sequence[str]) -> tuple[str, ...]:
    return tuple(address for value in values[:MAX_RECIPIENTS] if (address := address_of(value)))
