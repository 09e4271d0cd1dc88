"""What an SPF record says (RFC 7208 sections 4.5, 4.6, 5, 6 and 7). Pure."""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from functools import lru_cache
from ipaddress import IPv4Network, IPv6Network, ip_network

Network = IPv4Network | IPv6Network


class Result(StrEnum):
    """What a receiver makes of a sender (section 2.6)."""

    NONE = "none"  # there is no record
    NEUTRAL = "neutral"
    PASS = "pass"  # noqa: S105  the RFC's word
    FAIL = "fail"
    SOFTFAIL = "softfail"
    TEMPERROR = "temperror"  # DNS gave no answer
    PERMERROR = "permerror"  # the record, or one that it names, is wrong


class Mechanism(StrEnum):
    """What an address is compared with (section 5)."""

    ALL = "all"
    INCLUDE = "include"
    A = "a"
    MX = "mx"
    PTR = "ptr"
    IP4 = "ip4"
    IP6 = "ip6"
    EXISTS = "exists"


_QUALIFIERS: Mapping[str, Result] = {
    "+": Result.PASS,
    "-": Result.FAIL,
    "~": Result.SOFTFAIL,
    "?": Result.NEUTRAL,
}
_NEEDS_DOMAIN = {Mechanism.INCLUDE, Mechanism.EXISTS}
_WITH_LENGTH = {Mechanism.A, Mechanism.MX}

_VERSION = re.compile(rb"v=spf1(?: |\Z)", re.IGNORECASE)
_MODIFIER = re.compile(r"([a-z][a-z0-9_.-]*)=(.*)", re.IGNORECASE | re.DOTALL)
_DIRECTIVE = re.compile(r"([-+~?]?)([a-z0-9]+)(?:([:/])(.*))?", re.IGNORECASE | re.DOTALL)
_LENGTHS = re.compile(r"(.*?)(?:/(0|[1-9]\d?))?(?://(0|[1-9]\d{0,2}))?", re.DOTALL)
_IN_A_NAME = r"%\{[slodiphv]\d*r?[-.+,/_=]*\}|%[%_-]"
_IN_WORDS = r"%\{[slodiphvcrt]\d*r?[-.+,/_=]*\}|%[%_-]"
_NAME = re.compile(rf"(?:{_IN_A_NAME}|[!-$&-~])*", re.IGNORECASE)
_WORDS = re.compile(rf"(?:{_IN_WORDS}|[!-$&-~])*", re.IGNORECASE)
_END = re.compile(rf"(?:{_IN_A_NAME})\Z|\.(?=[a-z0-9-]*[a-z-])[a-z0-9](?:[a-z0-9-]*[a-z0-9])?\.?\Z", re.IGNORECASE)
MACRO = re.compile(r"%(?:([%_-])|\{([a-z])(\d*)(r?)([-.+,/_=]*)\})", re.IGNORECASE)
"""Groups: a letter that stands for itself; else letter, count of parts, `r`, delimiters (section 7.1)."""


class Wrong(ValueError):
    """The record cannot be read: whoever asks gets `permerror`."""


@dataclass(frozen=True, slots=True)
class Directive:
    """One mechanism, and what a match means."""

    text: str  # as published
    qualifier: Result
    mechanism: Mechanism
    domain: str = ""  # with macros; empty: the domain of the record
    network: Network | None = None  # of ip4 and ip6
    length4: int = 32
    length6: int = 128


@dataclass(frozen=True, slots=True)
class Record:
    """One record."""

    directives: tuple[Directive, ...]
    redirect: str = ""  # with macros

    @property
    def has_all(self) -> bool:
        """Whether everybody matches something; then a redirect means nothing (section 6.1)."""
        return any(one.mechanism is Mechanism.ALL for one in self.directives)


def select(records: Sequence[bytes]) -> bytes | None:
    """The SPF record among TXT records; None: there is none (section 4.5).

    Raises:
        Wrong: there are several.
    """
    found = [one for one in records if _VERSION.match(one)]
    if len(found) > 1:
        raise Wrong(f"there are {len(found)} SPF records, and only one may be")
    return found[0] if found else None


@lru_cache(maxsize=1024)
def parse(published: bytes) -> Record:
    """Read a record whole: a mistake anywhere spoils all of it (section 4.6).

    Raises:
        Wrong: it breaks the syntax of section 12.
    """
    try:
        text = published.decode("ascii")
    except UnicodeDecodeError:
        raise Wrong("it has letters that are not ASCII") from None
    directives = []
    modifiers: dict[str, str] = {}
    for term in filter(None, text.split(" ")[1:]):
        if match := _MODIFIER.fullmatch(term):
            _modifier(match[1].lower(), match[2], modifiers)
        else:
            directives.append(_directive(term))
    return Record(tuple(directives), modifiers.get("redirect", ""))


def _modifier(name: str, value: str, known: dict[str, str]) -> None:
    if name not in ("redirect", "exp"):
        if not _WORDS.fullmatch(value):
            raise Wrong(f"`{name}={value}` has a macro that is none")
    elif name in known:
        raise Wrong(f"`{name}=` stands twice")
    else:
        known[name] = _domain(value, f"{name}={value}")


def _directive(term: str) -> Directive:
    match = _DIRECTIVE.fullmatch(term)
    if match is None:
        raise Wrong(f"`{term}` is no mechanism")
    sign, name, separator, rest = match.groups()
    try:
        mechanism = Mechanism(name.lower())
    except ValueError:
        raise Wrong(f"`{term}` is no mechanism") from None
    qualifier = _QUALIFIERS[sign or "+"]
    if mechanism is Mechanism.ALL:
        if separator:
            raise Wrong(f"`{term}`: `all` stands alone")
        return Directive(term, qualifier, mechanism)
    if mechanism in (Mechanism.IP4, Mechanism.IP6):
        return Directive(term, qualifier, mechanism, network=_network(mechanism, separator, rest or "", term))
    domain, length4, length6 = rest or "", 32, 128
    if mechanism in _WITH_LENGTH:
        domain, length4, length6 = _lengths(separator, domain, term)
    elif separator == "/":
        raise Wrong(f"`{term}` takes no prefix length")
    if separator == ":" or mechanism in _NEEDS_DOMAIN:
        domain = _domain(domain, term)
    return Directive(term, qualifier, mechanism, domain, length4=length4, length6=length6)


def _lengths(separator: str | None, rest: str, term: str) -> tuple[str, int, int]:
    """Domain, and the lengths behind it (section 5.3)."""
    match = _LENGTHS.fullmatch(f"/{rest}" if separator == "/" else rest)
    domain, four, six = match.groups() if match else (rest, None, None)
    length4, length6 = int(four or 32), int(six or 128)
    if length4 > 32 or length6 > 128 or (separator == "/" and domain):
        raise Wrong(f"`{term}` has a prefix length that cannot be")
    return domain, length4, length6


def _network(mechanism: Mechanism, separator: str | None, rest: str, term: str) -> Network:
    kind = IPv4Network if mechanism is Mechanism.IP4 else IPv6Network
    length = rest.partition("/")[2]
    try:
        network = ip_network(rest, strict=False)
    except ValueError:
        network = None
    # a mask such as /255.0.0.0, or a length that begins with 0, is none (section 5.6)
    plain = "/" not in rest or re.fullmatch(r"0|[1-9]\d*", length)
    if separator != ":" or not isinstance(network, kind) or not plain or "%" in rest:
        raise Wrong(f"`{term}` is no {mechanism} network")
    return network


def _domain(text: str, term: str) -> str:
    """A name with macros (`domain-spec`, section 7.1)."""
    if not _NAME.fullmatch(text) or not _END.search(text):
        raise Wrong(f"`{term}` names no domain")
    if any(match[3] and int(match[3]) == 0 for match in MACRO.finditer(text)):
        raise Wrong(f"`{term}` keeps 0 parts of a macro")
    return text
