"""A `MessageFilter` as a condition on waiting recipients (r), with their message (m) and scheduled queue (q)."""

from dataclasses import dataclass
from typing import Any

from mailagent.api.targets import MessageFilter
from mailagent.spool.ids import RECIPIENT_BITS, parse_message_name

JOINED = f"recipient AS r JOIN message AS m ON m.id = r.id >> {RECIPIENT_BITS} JOIN queue AS q ON q.id = r.queue"
SITE = "CASE r.site WHEN '' THEN q.site ELSE r.site END"
PROVIDER = "CASE r.provider WHEN '' THEN q.provider ELSE r.provider END"

_NOTHING = "FALSE"


@dataclass(frozen=True, slots=True)
class Selection:
    """A condition with named bindings, and the span of recipient ids outside which nothing can match."""

    condition: str
    bindings: dict[str, Any]
    candidates: str = ""  # a query of the ids among which an index finds the matches; empty: look at all rows
    first: int = 0
    last: int = (1 << 63) - 1


def selection(filter: MessageFilter, tag: str) -> Selection:
    """The rows that `filter` means on the spool with `tag`; an id that is none of ours means no row."""
    terms: list[str] = []
    bindings: dict[str, Any] = {}

    def equal(expression: str, name: str, value: str) -> None:
        if value:
            terms.append(f"{expression} = :{name}")
            bindings[name] = value

    candidates = ""
    equal("q.pool", "pool", filter.pool)
    equal("q.stream", "stream", filter.stream)
    equal("q.domain", "domain", filter.domain.lower())
    equal("q.job", "job", filter.job)
    equal("r.vmta", "vmta", filter.vmta)
    equal(SITE, "site", filter.site)
    equal(PROVIDER, "provider", filter.provider)
    equal("CAST(r.address AS TEXT) COLLATE NOCASE", "recipient", filter.recipient)
    equal("CAST(m.sender AS TEXT) COLLATE NOCASE", "sender", filter.sender)
    domain = (filter.domain or filter.recipient.rpartition("@")[2]).lower()
    if domain.isascii() and domain:  # a queue has the A-labels; an address may have been given otherwise
        candidates = "SELECT id FROM recipient WHERE queue IN (SELECT id FROM queue WHERE domain = :of)"
        bindings["of"] = domain
    elif filter.job:
        candidates = "SELECT id FROM recipient WHERE queue IN (SELECT id FROM queue WHERE job = :job AND job <> '')"
    if filter.deferred_only:
        terms.append("r.reply IS NOT NULL")
    if filter.group:
        try:
            bindings["reply"] = int(filter.group, 16)
            terms.append("r.reply = :reply")
            candidates = (
                "SELECT id FROM recipient WHERE provider = (SELECT provider FROM reply WHERE id = :reply)"
                " AND reply IS NOT NULL AND reply = :reply"
            )
        except ValueError:
            terms.append(_NOTHING)
    first, last = 0, (1 << 63) - 1
    if filter.message_id:
        try:
            message, its_tag = parse_message_name(filter.message_id)
        except ValueError:
            message, its_tag = 0, ""
        if its_tag == tag:
            first, last = message << RECIPIENT_BITS, ((message + 1) << RECIPIENT_BITS) - 1
        else:
            terms.append(_NOTHING)
    return Selection(" AND ".join(terms) or "TRUE", bindings, candidates, first, last)
