"""Terms of a filter as a condition on waiting recipients (r), with their message (m) and scheduled queue (q)."""

from collections.abc import Callable, Sequence
from typing import Any

from mailagent.api.domains import folded_address, folded_domain, is_folded, spellings
from mailagent.api.terms import Field, MailState, Term, age, by_field, check, split_message
from mailagent.spool.ids import RECIPIENT_BITS, at_ms, parse_message_name
from mailagent.spool.records import HELD_DUE

SITE = "CASE r.site WHEN '' THEN q.site ELSE r.site END"
PROVIDER = "CASE r.provider WHEN '' THEN q.provider ELSE r.provider END"
_NOTHING = "FALSE"
A_LABELS = "a_labels"
"""A function of the spool's connections: an address with its domain in A-labels."""

NAMES = {
    Field.POOL: "q.pool",
    Field.STREAM: "q.stream",
    Field.DOMAIN: "q.domain",
    Field.JOB: "q.job",
    Field.VMTA: "r.vmta",
    Field.SITE: SITE,
    Field.PROVIDER: PROVIDER,
    Field.RECIPIENT: "CAST(r.address AS TEXT)",
    Field.SENDER: "CAST(m.sender AS TEXT)",
}
_TEXT = (
    "(CAST(r.address AS TEXT) || char(10) || CAST(m.sender AS TEXT) || char(10) || m.job || char(10) || coalesce(("
    "SELECT said.code || ' ' || said.enhanced || ' ' || said.text FROM attempt AS said"
    " WHERE said.recipient = r.id AND said.n = r.attempts), ''))"
)


def conditions(terms: Sequence[Term], tag: str, now: int, bindings: dict[str, Any]) -> list[str]:
    """Conditions that must all hold; their values go into `bindings`.

    Raises:
        InvalidRequest: a term that cannot be evaluated.
    """
    check(terms)

    def bound(value: str | int) -> str:
        name = f"t{len(bindings)}"
        bindings[name] = value
        return f":{name}"

    def one(term: Term) -> str:
        value = term.value
        match term.field:
            case Field.STATE:
                states = {
                    MailState.DEFERRED: "r.reply IS NOT NULL",
                    MailState.UNTRIED: "r.attempts = 0",
                    MailState.HELD: f"r.due = {HELD_DUE}",
                    MailState.DUE: f"r.due <= {bound(now)}",
                }
                return states[MailState(value)] if value in states else _NOTHING
            case Field.AGE:
                older, seconds = age(value)
                return f"r.id {'<' if older else '>='} {bound(_first_at(now - seconds * 1000))}"
            case Field.MESSAGE:
                first, last = _message_span(value, tag)
                return f"r.id BETWEEN {bound(first)} AND {bound(last)}"
            case Field.GROUP:
                key = _reply_id(value)
                return _NOTHING if key is None else f"r.reply = {bound(key)}"
            case Field.CATEGORY:
                return _of_reply("category", bound(_like(value)))
            case Field.CODE:
                column = "enhanced" if "." in value else "CAST(code AS TEXT)"
                return _of_reply(column, bound(_like(value)))
            case Field.ADDRESS:
                return " OR ".join(of_address(field, value, bound) for field in (Field.RECIPIENT, Field.SENDER))
            case Field.RECIPIENT | Field.SENDER:
                return of_address(term.field, value, bound)
            case Field.DOMAIN | Field.SITE:
                return _is_like(NAMES[term.field], bound(_like(folded_domain(value))))
            case Field.TEXT:
                return _is_like(_TEXT, bound(f"%{_literal(value)}%"))
            case _:
                return _is_like(NAMES[term.field], bound(_like(value)))

    found = []
    for group in by_field(terms):
        text = " OR ".join(map(one, group))
        found.append(f"NOT coalesce({text}, FALSE)" if group[0].negated else f"({text})")
    return found


def of_address(field: Field, value: str, bound: Callable[[str], str]) -> str:
    """The condition that the recipient or the sender is like `value`, its domain in whichever letters.

    A recipient's queue has the A-labels of its domain, whatever the address has; those of a sender are made.
    """
    column, meant = NAMES[field], folded_address(value)
    local, _, domain = meant.rpartition("@")
    if field is Field.SENDER and is_folded(domain):
        return _is_like(f"{A_LABELS}(m.sender)", bound(_like(meant)))
    either = " OR ".join(_is_like(column, bound(_like(one))) for one in spellings(value))
    if field is Field.RECIPIENT and local and is_folded(domain):
        here = _is_like(NAMES[Field.DOMAIN], bound(_like(domain)))
        return f"({either} OR {here} AND {_is_like(column, bound(_like(f'{local}@*')))})"
    return f"({either})"


def domains(terms: Sequence[Term]) -> tuple[str, ...]:
    """Recipient domains outside which nothing can match, by which an index finds mail; empty: any."""
    for field in (Field.DOMAIN, Field.RECIPIENT):
        values = [term.value for term in terms if term.field is field and not term.negated]
        parts = [
            folded_domain(value.rpartition("@")[2].lower()) for value in values if field is Field.DOMAIN or "@" in value
        ]
        if values and len(parts) == len(values) and all(part.isascii() and part and "*" not in part for part in parts):
            return tuple(dict.fromkeys(parts))
    return ()


def _message_span(text: str, tag: str) -> tuple[int, int]:
    """First and last recipient id of `ID` or `ID.N`; an empty span when it is not of the spool with `tag`."""
    name, n = split_message(text)
    try:
        message, its_tag = parse_message_name(name)
    except ValueError:
        return 1, 0
    if its_tag != tag or not 0 <= (n or 0) < 1 << RECIPIENT_BITS:
        return 1, 0
    first = message << RECIPIENT_BITS
    return (first, first + (1 << RECIPIENT_BITS) - 1) if n is None else (first | n, first | n)


def _reply_id(group: str) -> int | None:
    """Id of the reply behind the key of a group, None when it is no key."""
    try:
        key = int(group, 16)
    except ValueError:
        return None
    return key if 0 <= key < 1 << 63 else None


def _like(pattern: str) -> str:
    """A pattern with `*` as one for LIKE with `\\` as its escape."""
    return _literal(pattern).replace("*", "%")


def _literal(text: str) -> str:
    return text.replace("\\", "\\\\").replace("%", "\\%").replace("_", "\\_")


def _first_at(ms: int) -> int:
    """The least id of a recipient that arrived at that time."""
    return max(0, at_ms(ms)) << RECIPIENT_BITS


def _is_like(expression: str, pattern: str) -> str:
    return f"{expression} LIKE {pattern} ESCAPE '\\'"


def _of_reply(column: str, pattern: str) -> str:
    return f"r.reply IN (SELECT id FROM reply WHERE {_is_like(column, pattern)})"
