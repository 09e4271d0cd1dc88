"""Terms of a filter beyond one exact name: alternatives, patterns, ages, states, words, and what must not be. Pure.

Terms of one field are alternatives, fields narrow, each negated term narrows by itself, and so do ages and words. A
`*` in a name stands for any characters; case does not matter.
"""

import re
from collections.abc import Iterable, Sequence
from enum import StrEnum

import msgspec

from mailagent.api.errors import InvalidRequest

MOST_TERMS = 64
MOST_CHARS = 512
"""Of one value."""
MOST_STARS = 4
"""Of one pattern: what a database needs to compare it grows with each."""


class Field(StrEnum):
    """What a term is about."""

    POOL = "pool"
    VMTA = "vmta"
    PROVIDER = "provider"
    SITE = "site"
    STREAM = "stream"
    JOB = "job"
    DOMAIN = "domain"
    RECIPIENT = "recipient"
    SENDER = "sender"
    ADDRESS = "address"  # of the recipient or the sender
    MESSAGE = "message"  # `ID` or `ID.N`
    GROUP = "group"  # key of a deferred group
    CATEGORY = "category"  # what the last reply means
    CODE = "code"  # of the last reply: `421`, `4*`, `4.7.1`, `4.7.*`; 0 where none came
    STATE = "state"  # `MailState`; what happened, where one looks back
    AGE = "age"  # since arrival: `>7200` or `<600`, in seconds
    TEXT = "text"  # stands in recipient, sender, job or last reply


class MailState(StrEnum):
    """States of waiting mail."""

    DEFERRED = "deferred"  # at least one attempt failed
    UNTRIED = "untried"  # no attempt yet
    DUE = "due"  # its time has come: a limit or an order holds it, or it is on its way
    HELD = "held"  # an order on mail has it


class Term(msgspec.Struct, frozen=True, kw_only=True):
    """One condition."""

    field: Field
    value: str
    negated: bool = False


_CODE = re.compile(r"0|[2-5](?:\d\d|\d?\*)|[245](?:\.(?:\d{1,3}|\*)){1,2}")
_AGE = re.compile(r"([<>])(\d{1,12})")
NARROWING = frozenset({Field.AGE, Field.TEXT})
"""Fields whose terms all hold; of the others any."""


def check(terms: Sequence[Term]) -> None:
    """Refuse terms that cannot be evaluated.

    Raises:
        InvalidRequest: too many, too long, too many stars, or a code or an age that is none.
    """
    if len(terms) > MOST_TERMS:
        raise InvalidRequest(f"a filter has at most {MOST_TERMS} terms, not {len(terms)}")
    for term in terms:
        if not term.value or len(term.value) > MOST_CHARS:
            raise InvalidRequest(f"a value of {term.field} has 1 to {MOST_CHARS} characters, not {len(term.value)}")
        if term.field is not Field.TEXT and term.value.count("*") > MOST_STARS:
            raise InvalidRequest(f"a name has at most {MOST_STARS} stars; {term.value!r} has more")
        if term.field is Field.CODE and not is_code(term.value):
            raise InvalidRequest(f"{term.value!r} is no reply code; 421, 4*, 4.7.1 and 4.7.* are")
        if term.field is Field.AGE:
            age(term.value)


def is_code(text: str) -> bool:
    """Whether `text` is a reply code, an enhanced status code, or a pattern of one."""
    return _CODE.fullmatch(text) is not None


def age(text: str) -> tuple[bool, int]:
    """(whether older is meant, seconds) of `>7200`.

    Raises:
        InvalidRequest: it is none.
    """
    match = _AGE.fullmatch(text)
    if match is None:
        raise InvalidRequest(f"{text!r} is no age; >7200 and <600 are, in seconds")
    return match[1] == ">", int(match[2])


def split_message(text: str) -> tuple[str, int | None]:
    """(message id, index of the recipient) of `ID` or `ID.N`; of an index that is none -1, which no recipient has."""
    name, dot, n = text.partition(".")
    if not dot:
        return name, None
    return name, int(n) if n.isdecimal() and n.isascii() and len(n) < 6 else -1


def is_like(pattern: str, text: str) -> bool:
    """Whether `text` has the form of `pattern`, in which `*` stands for any characters. Linear."""
    first, *rest = pattern.lower().split("*")
    text = text.lower()
    if not rest:
        return text == first
    *middle, last = rest
    if not text.startswith(first) or len(text) < len(first) + len(last) or not text.endswith(last):
        return False
    at, end = len(first), len(text) - len(last)
    for part in middle:
        found = text.find(part, at, end)
        if found < 0:
            return False
        at = found + len(part)
    return True


def by_field(terms: Iterable[Term]) -> Iterable[tuple[Term, ...]]:
    """Groups of alternatives: each group must hold in one of its terms. Negated terms stand alone."""
    groups: dict[Field, list[Term]] = {}
    for term in terms:
        if term.negated or term.field in NARROWING:
            yield (term,)
        else:
            groups.setdefault(term.field, []).append(term)
    yield from map(tuple, groups.values())
