"""The one grammar of selections and filters, for screens and commands: `pool:marketing code:4.7.* age:>2h !text`.

    filter = [term *(blank term)]
    term   = ["!"] (kind ":" value | word)
    value  = bare | quoted             bare: no blank, and does not begin with a quotation mark
    word   = bare | quoted             bare: nor does it begin with an exclamation mark, or look like `kind:value`
    quoted = '"' *(character | "\" character) '"'

Pure. An error says where it is and what was expected there.
"""

import difflib
import re
from collections.abc import Iterator
from datetime import timedelta
from enum import StrEnum
from typing import NamedTuple

from mailagent.api.domains import folded_address, folded_domain
from mailagent.api.terms import is_code
from mailagent.config.scalars import parse_duration
from mailctl.ops.errors import FilterSyntaxError


class TermKind(StrEnum):
    """What may stand before the colon."""

    HOST = "host"
    POOL = "pool"
    VMTA = "vmta"
    PROVIDER = "provider"
    QUEUE = "queue"
    STREAM = "stream"
    CELL = "cell"
    TRAFFIC = "traffic"
    JOB = "job"
    DKIM = "dkim"
    SITE = "site"
    DOMAIN = "domain"
    RECIPIENT = "recipient"
    SENDER = "sender"
    ADDRESS = "address"
    GROUP = "group"
    MESSAGE = "message"
    STATE = "state"
    CATEGORY = "category"
    CODE = "code"
    AGE = "age"


SHORT = {"to": TermKind.RECIPIENT, "from": TermKind.SENDER, "id": TermKind.MESSAGE}
"""Other words for kinds."""
_KINDS = {str(kind): kind for kind in TermKind} | SHORT
_DOMAINS = frozenset((TermKind.DOMAIN, TermKind.SITE))
_ADDRESSES = frozenset((TermKind.RECIPIENT, TermKind.SENDER, TermKind.ADDRESS))
_BESIDE_A_DOMAIN = frozenset((TermKind.QUEUE, TermKind.DKIM))
"""`SITE/VMTA`, `DOMAIN/POOL`."""
_LOOKS_LIKE_A_KIND = re.compile(r"([A-Za-z][A-Za-z_-]*):(?=\S)")
_GLUED = re.compile(rf"(?<=\S)(?:{'|'.join(sorted(_KINDS, key=len, reverse=True))}):")
"""A term that follows a bare value without a blank."""
_AGE = re.compile(r"([<>])(.+)", re.DOTALL)


class Token(NamedTuple):
    """One term as it was read."""

    kind: TermKind | None  # None: a word
    value: str
    negated: bool = False

    def __str__(self) -> str:
        """As it is written; quoted where it would be read as something else."""
        return f"{'!' if self.negated else ''}{written(self.kind, self.value)}"


def tokens(text: str) -> tuple[Token, ...]:
    """The terms of a filter line.

    Raises:
        FilterSyntaxError: at a position something else was expected.
    """
    return tuple(_scan(text, whole=False))


def token(text: str) -> Token:
    """The one term that `text` is, as a shell hands it over: blanks are part of it.

    Raises:
        FilterSyntaxError: at a position something else was expected.
    """
    for found in _scan(text, whole=True) if text.strip() else ():
        return found
    raise FilterSyntaxError(text, 0, "a term, such as pool:marketing")


def written(kind: TermKind | None, value: str) -> str:
    """`pool:marketing`; with the value quoted where it would be read as something else."""
    bare = value if kind is None else f"{kind}:{value}"
    try:
        if tokens(bare) == ((kind, value, False),):
            return bare
    except FilterSyntaxError:
        pass
    quoted = '"' + value.replace("\\", "\\\\").replace('"', '\\"') + '"'
    return quoted if kind is None else f"{kind}:{quoted}"


def folded(kind: TermKind | None, value: str) -> str:
    """`value` with its domain in A-labels, as hosts know it: `xn--bcher-kva.example` for `bücher.example`."""
    if kind in _DOMAINS:
        return folded_domain(value)
    if kind in _ADDRESSES:
        return folded_address(value)
    if kind in _BESIDE_A_DOMAIN:
        domain, slash, rest = value.rpartition("/")
        return f"{folded_domain(domain)}{slash}{rest}"
    return value


def age_s(value: str) -> tuple[str, int]:
    """(`>` or `<`, seconds) of `>2h`.

    Raises:
        ValueError: it is no age.
    """
    match = _AGE.fullmatch(value)
    duration: timedelta = parse_duration(match[2] if match else value)
    if match is None:
        raise ValueError(f"`{value}` says neither older (>) nor younger (<)")
    return match[1], max(1, round(duration.total_seconds()))


def _is_cut(value: str) -> bool:
    """Whether a label of the domain in `value` has a star beside letters that have another form in A-labels."""
    return any("*" in label and not label.isascii() for label in value.rpartition("@")[2].split("."))


def _no_kind(kind: str) -> str:
    """`no kind 'pol'; did you mean pool? There are host, pool …`."""
    close = difflib.get_close_matches(kind.lower(), _KINDS, n=1)
    meant = f"did you mean {close[0]}? There" if close else "there"
    return f"no kind {kind!r}; {meant} are {', '.join(TermKind)}"


def _scan(text: str, *, whole: bool) -> Iterator[Token]:
    """Terms from left to right; with `whole` all of `text` is one."""
    at, end = 0, len(text)
    while True:
        while at < end and text[at].isspace() and not whole:
            at += 1
        if at == end:
            return
        negated = text[at] == "!"
        at += negated
        kind: TermKind | None = None
        if match := _LOOKS_LIKE_A_KIND.match(text, at):
            kind = _KINDS.get(match[1])
            if kind is None:
                raise FilterSyntaxError(text, at, 'a kind, or "words in quotation marks"', _no_kind(match[1]))
            at = match.end()
        elif (colon := text.find(":", at)) > 0 and text[at:colon] in _KINDS and not text[colon + 1 : colon + 2].strip():
            raise FilterSyntaxError(text, colon + 1, f"a name after {text[at:colon]}:")
        value, after = _value(text, at, whole=whole)
        if kind is not None and text[at] != '"' and (glued := _GLUED.search(value)):
            raise FilterSyntaxError(text, at + glued.start(), f"a blank before {glued[0]}")
        if kind is TermKind.AGE:
            try:
                age_s(value)
            except ValueError as exc:
                raise FilterSyntaxError(text, at, "> or < and a duration, such as age:>2h", str(exc)) from None
        if kind is TermKind.CODE and not is_code(value):
            raise FilterSyntaxError(text, at, "a reply code, such as code:421, code:4*, code:4.7.1 or code:4.7.*")
        meant = folded(kind, value)
        if not meant.isascii() and "*" in value and kind in _DOMAINS | _ADDRESSES and _is_cut(meant):
            label = "a * for the whole label: inside of one that is not ASCII it would miss what is stored as xn--"
            raise FilterSyntaxError(text, at, label)
        yield Token(kind, meant, negated)
        at = after


def _value(text: str, at: int, *, whole: bool) -> tuple[str, int]:
    """(the value at `at`, where it ends)."""
    if text[at : at + 1] == '"':
        return _quoted(text, at)
    end = at
    while end < len(text) and (whole or not text[end].isspace()):
        end += 1
    if end == at:
        raise FilterSyntaxError(text, at, "a term after the exclamation mark")
    return text[at:end], end


def _quoted(text: str, start: int) -> tuple[str, int]:
    chars: list[str] = []
    at = start + 1
    while at < len(text) and text[at] != '"':
        at += text[at] == "\\"
        chars.append(text[at : at + 1])
        at += 1
    if at >= len(text):
        raise FilterSyntaxError(text, len(text), "a closing quotation mark")
    at += 1
    if at < len(text) and not text[at].isspace():
        raise FilterSyntaxError(text, at, "a blank after the closing quotation mark")
    if not any(chars):
        raise FilterSyntaxError(text, start + 1, "something between the quotation marks")
    return "".join(chars), at
