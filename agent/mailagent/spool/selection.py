"""A `MessageFilter` as a condition on waiting recipients (r), with their message (m) and scheduled queue (q)."""

from dataclasses import dataclass
from typing import Any

from mailagent.api.domains import folded_domain, spellings
from mailagent.api.targets import MessageFilter
from mailagent.api.terms import Field
from mailagent.spool.ids import RECIPIENT_BITS, at_ms, now_ms, parse_message_name
from mailagent.spool.records import HELD_DUE
from mailagent.spool.terms import NAMES, PROVIDER, SITE, conditions, domains, of_address

JOINED = f"recipient AS r JOIN message AS m ON m.id = r.id >> {RECIPIENT_BITS} JOIN queue AS q ON q.id = r.queue"

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
    """The rows that `filter` means on the spool with `tag`; an id that is none of ours means no row.

    Raises:
        InvalidRequest: terms that cannot be evaluated.
    """
    terms: list[str] = []
    bindings: dict[str, Any] = {}

    def equal(expression: str, name: str, value: str) -> None:
        if value:
            terms.append(f"{expression} = :{name}")
            bindings[name] = value

    def named(value: str) -> str:
        name = f"a{len(bindings)}"
        bindings[name] = value
        return f":{name}"

    candidates = ""
    equal("q.pool", "pool", filter.pool)
    equal("q.stream", "stream", filter.stream)
    equal("q.domain", "domain", folded_domain(filter.domain.lower()))
    equal("q.job", "job", filter.job)
    equal("r.vmta", "vmta", filter.vmta)
    equal(SITE, "site", folded_domain(filter.site))
    equal(PROVIDER, "provider", filter.provider)
    domain = folded_domain((filter.domain or filter.recipient.rpartition("@")[2]).lower())
    for field, value in ((Field.RECIPIENT, filter.recipient), (Field.SENDER, filter.sender)):
        if len(spellings(value)) == 1:
            equal(f"{NAMES[field]} COLLATE NOCASE", field, value)
        else:
            terms.append(of_address(field, value, named))
    if among := (domain,) if domain.isascii() and domain else domains(filter.terms):
        names = {f"of{n}": name for n, name in enumerate(among)}
        of = ", ".join(f":{name}" for name in names)
        candidates = f"SELECT id FROM recipient WHERE queue IN (SELECT id FROM queue WHERE domain IN ({of}))"
        bindings |= names
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
    before = int(filter.before.timestamp() * 1000) if filter.before is not None else None
    terms += conditions(filter.terms, tag, before or now_ms(), bindings)
    if filter.held is not None:
        terms.append(f"r.due {'=' if filter.held else '<'} {HELD_DUE}")
        if filter.held and not candidates:
            candidates = "SELECT recipient FROM held"
    first, last = 0, (1 << 63) - 1
    if before is not None:
        bindings["before"] = before
        terms.append("r.tried <= :before")
        last = max(0, at_ms(before + 1) << RECIPIENT_BITS) - 1
    if filter.message_id:
        try:
            message, its_tag = parse_message_name(filter.message_id)
        except ValueError:
            message, its_tag = 0, ""
        if its_tag == tag:
            first = message << RECIPIENT_BITS
            last = min(last, ((message + 1) << RECIPIENT_BITS) - 1)
        else:
            terms.append(_NOTHING)
    return Selection(" AND ".join(terms) or "TRUE", bindings, candidates, first, last)
