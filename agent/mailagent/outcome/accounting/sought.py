"""A `MessageFilter` as a condition on accounting records. Pure."""

import re
from collections.abc import Callable
from datetime import datetime

from mailagent.api.domains import folded_address, folded_domain, starred
from mailagent.api.errors import InvalidRequest
from mailagent.api.targets import MessageFilter
from mailagent.api.terms import Field, Term, age, by_field, check, is_like, split_message
from mailagent.outcome.accounting.record import AccountingRecord
from mailagent.spool.ids import message_name, parse_message_name

TELLING = frozenset({Field.RECIPIENT, Field.SENDER, Field.ADDRESS, Field.MESSAGE, Field.JOB, Field.DOMAIN, Field.TEXT})
"""Fields of which a search names at least one: their values stand in few lines, and as they are."""

_OF_DOMAINS = frozenset({Field.RECIPIENT, Field.SENDER, Field.ADDRESS, Field.DOMAIN})
_LITERAL = re.compile(r"[!#-)+-\[\]-~]+")  # ASCII that JSON leaves as it is, without blanks and stars
_EXACT = (
    ("pool", Field.POOL), ("vmta", Field.VMTA), ("provider", Field.PROVIDER), ("site", Field.SITE),
    ("stream", Field.STREAM), ("job", Field.JOB), ("domain", Field.DOMAIN), ("recipient", Field.RECIPIENT),
    ("sender", Field.SENDER), ("message_id", Field.MESSAGE), ("group", Field.GROUP),
)  # fmt: skip


class Sought:
    """What a record must say; has what `search.matches` wants."""

    message_ids: frozenset[str] = frozenset()

    def __init__(self, filter: MessageFilter, since: datetime, until: datetime) -> None:
        """Raises InvalidRequest: a filter that cannot be evaluated here, or that names nothing to search for."""
        named = [Term(field=field, value=value) for name, field in _EXACT if (value := getattr(filter, name))]
        terms = (*named, *filter.terms)
        check(terms)
        if not any(term.field in TELLING and not term.negated for term in terms):
            raise InvalidRequest("a search names a recipient, sender, message, job, domain or text")
        self.since = since
        self.until = until
        exact = frozenset(named)
        groups = tuple(by_field(named)) + tuple(by_field(filter.terms))
        self._tests = [self._test(group, exact) for group in groups]
        if filter.deferred_only:
            self._tests.append(lambda record: record.type == "deferred")
        found = {literal for group in groups if (literal := _literal(group))}
        self.needles = sorted((one.lower().encode() for one in found), key=len, reverse=True)

    def matches(self, record: AccountingRecord) -> bool:
        """Whether `record` is wanted."""
        return self.since <= record.time < self.until and all(test(record) for test in self._tests)

    def _test(self, group: tuple[Term, ...], exact: frozenset[Term]) -> Callable[[AccountingRecord], bool]:
        one_of = [self._one(term, exact=term in exact) for term in group]
        if group[0].negated:
            return lambda record: not one_of[0](record)
        return lambda record: any(test(record) for test in one_of)

    def _one(self, term: Term, *, exact: bool) -> Callable[[AccountingRecord], bool]:
        value = term.value
        match term.field:
            case Field.TEXT:
                word = value.lower()
                return lambda record: word in _text(record)
            case Field.AGE:
                older, seconds = age(value)
                return lambda record: (self._age_s(record) > seconds) == older
            case Field.MESSAGE:
                name, n = split_message(value)
                name = as_written(name)
                return lambda record: record.message_id == name and n in (None, record.n)
            case Field.ADDRESS:
                either = folded_address(value)
                return lambda record: is_like(either, _recipient(record)) or is_like(either, _sender(record))
            case Field.CODE:
                of = (lambda record: record.enhanced) if "." in value else (lambda record: str(record.code))
                return lambda record: is_like(value, of(record))
            case Field.GROUP:
                raise InvalidRequest("accounting files do not know groups of replies; search for the text of one")
            case _:
                read = _NAMES[term.field]
                value = _folded(term)
                if exact:
                    wanted = value.lower()
                    return lambda record: read(record).lower() == wanted
                return lambda record: is_like(value, read(record))

    def _age_s(self, record: AccountingRecord) -> float:
        return (self.until - record.time).total_seconds() + record.queued_s


_NAMES: dict[Field, Callable[[AccountingRecord], str]] = {
    Field.POOL: lambda record: record.pool,
    Field.VMTA: lambda record: record.vmta,
    Field.PROVIDER: lambda record: record.provider,
    Field.SITE: lambda record: record.site,
    Field.STREAM: lambda record: record.stream,
    Field.JOB: lambda record: record.job,
    Field.DOMAIN: lambda record: _recipient(record).rpartition("@")[2],
    Field.RECIPIENT: lambda record: _recipient(record),
    Field.SENDER: lambda record: _sender(record),
    Field.CATEGORY: lambda record: record.category,
    Field.STATE: lambda record: record.type,
}


def _recipient(record: AccountingRecord) -> str:
    return folded_address(record.recipient)


def _sender(record: AccountingRecord) -> str:
    return folded_address(record.sender)


def _folded(term: Term) -> str:
    """Its value with the domain in A-labels, as those of records are compared."""
    if term.field in (Field.DOMAIN, Field.SITE):
        return folded_domain(term.value)
    return folded_address(term.value) if term.field in (Field.RECIPIENT, Field.SENDER) else term.value


def as_written(name: str) -> str:
    """A message id in capital letters, with the usual misreadings put right."""
    try:
        return message_name(*parse_message_name(name))
    except ValueError:
        return name.upper()


def _text(record: AccountingRecord) -> str:
    reply = f"{record.code or ''} {record.enhanced} {record.text}"
    return f"{record.recipient}\n{record.sender}\n{record.job}\n{reply}".lower()


def _literal(group: tuple[Term, ...]) -> str:
    """The longest piece that stands in every line which the group lets through; empty: none is known."""
    term = group[0]
    if len(group) > 1 or term.negated or term.field not in TELLING:
        return ""
    value = as_written(split_message(term.value)[0]) if term.field is Field.MESSAGE else term.value
    if term.field in _OF_DOMAINS:
        value = starred(value)  # a line may have those labels in another form
    return max(_LITERAL.findall(value), key=len, default="")
