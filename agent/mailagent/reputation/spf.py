"""SPF as receivers ask it (RFC 7208): may mail from this domain come from that address?"""

from collections.abc import AsyncIterator
from dataclasses import dataclass
from ipaddress import ip_address, ip_network
from typing import Final, Protocol, TypeVar
from urllib.parse import quote

from mailagent.dns import Address, AddressAnswer, Failed, Found, MxAnswer, NoData, NxDomain, PtrAnswer, TxtAnswer
from mailagent.reputation.spf_record import MACRO, Directive, Mechanism, Record, Result, Wrong, parse, select

MAX_LOOKUPS: Final = 10
"""Mechanisms and modifiers that ask DNS, with those of included records (section 4.6.4)."""
MAX_VOIDS: Final = 2
"""Answers without records, over the whole evaluation."""
MAX_NAMES: Final = 10
"""Exchangers of one `mx`, names of one `ptr`."""
SURVEY_LOOKUPS: Final = 50
"""Where counting ends: a loop, or nearly one."""
STRANGER: Final = ip_address("192.0.2.1")
"""Nobody's (RFC 5737)."""
_Record = TypeVar("_Record")
_MAX_DOMAIN: Final = 253
_MAX_LABEL: Final = 63


class Asks(Protocol):
    """Who asks DNS; `mailagent.dns.Resolver` is one."""

    async def txt(self, name: str) -> TxtAnswer:
        """The TXT records of `name`."""

    async def addresses(self, host: str, *, version: int) -> AddressAnswer:
        """The addresses of `host`."""

    async def mx(self, domain: str) -> MxAnswer:
        """The mail exchangers of `domain`."""

    async def names(self, address: Address) -> PtrAnswer:
        """The names of `address`."""


@dataclass(frozen=True, slots=True)
class Spf:
    """What a receiver finds, why, and what it had to ask."""

    result: Result
    reason: str
    lookups: int
    voids: int


class _End(Exception):
    """The evaluation is over."""

    def __init__(self, result: Result, reason: str) -> None:
        super().__init__(reason)
        self.result = result


async def check_host(dns: Asks, address: Address, domain: str, *, sender: str, helo: str) -> Spf:
    """Evaluate as section 4 says. `sender` is MAIL FROM, or `postmaster@` the EHLO name when that is empty.

    Explanations (`exp=`) are checked for their syntax, and not asked for.
    """
    mapped = getattr(address, "ipv4_mapped", None)
    return await _Evaluation(dns, mapped or address, sender, helo).run(domain)


async def survey(dns: Asks, domain: str) -> Spf:
    """Evaluate for a stranger whom nothing names but `all`: what everybody else gets, and what the record costs.

    A record that needs more than MAX_LOOKUPS may work for addresses that stand early in it. A name with macros may
    have a record for some addresses only, so one that is missing is no mistake.
    """
    return await _Evaluation(dns, STRANGER, f"postmaster@{domain}", domain, is_survey=True).run(domain)


class _Evaluation:
    """One question of a receiver."""

    def __init__(self, dns: Asks, address: Address, sender: str, helo: str, *, is_survey: bool = False) -> None:
        self._dns = dns
        self._address = address
        local, _, at = sender.rpartition("@")
        self._local = local or "postmaster"
        self._sender_domain = at
        self._helo = helo
        self._is_survey = is_survey
        self._domain = ""  # that was asked about; others are included
        self._lookups = 0
        self._voids = 0

    async def run(self, domain: str) -> Spf:
        self._domain = domain.removesuffix(".")
        try:
            result, reason = await self._check(domain)
        except _End as end:
            result, reason = end.result, str(end)
        if self._is_survey and self._lookups > MAX_LOOKUPS and result is not Result.TEMPERROR:
            result = Result.PERMERROR
            reason = f"it takes {self._lookups} look-ups, and receivers make {MAX_LOOKUPS}"
        return Spf(result, reason, self._lookups, self._voids)

    async def _check(self, domain: str) -> tuple[Result, str]:
        """`check_host()` for one domain; `include` and `redirect` come back here."""
        domain = domain.removesuffix(".")
        if not _can_be_asked(domain):
            return Result.NONE, f"`{domain}` is no domain"
        answer = await self._dns.txt(domain)
        if isinstance(answer, Failed):
            raise _End(Result.TEMPERROR, answer.reason)
        try:
            published = select(answer.records) if isinstance(answer, Found) else None
            record = None if published is None else parse(published)
        except Wrong as exc:
            where = "" if domain == self._domain else f"the record of {domain}: "
            raise _End(Result.PERMERROR, f"{where}{exc}") from exc
        return (Result.NONE, f"{domain} has no SPF record") if record is None else await self._evaluate(record, domain)

    async def _evaluate(self, record: Record, domain: str) -> tuple[Result, str]:
        for one in record.directives:
            if await self._matches(one, domain):
                return one.qualifier, f"`{one.text}` of {domain}"
        if record.redirect and not record.has_all:
            self._count()
            target = await self._expand(record.redirect, domain)
            result, reason = await self._check(target)
            if result is Result.NONE:
                raise _End(Result.PERMERROR, f"`redirect={record.redirect}` of {domain}: {reason}")
            return result, reason
        return Result.NEUTRAL, f"nothing in the record of {domain} names it"

    async def _matches(self, one: Directive, domain: str) -> bool:
        if one.mechanism is Mechanism.ALL:
            return True
        if one.network is not None:
            return self._address in one.network and not self._is_survey
        self._count()
        target = await self._expand(one.domain, domain) if one.domain else domain
        match one.mechanism:
            case Mechanism.INCLUDE:
                return await self._includes(one, target, domain)
            case Mechanism.EXISTS:
                return bool(await self._addresses(target, version=4)) and not self._is_survey
            case Mechanism.PTR:
                return not self._is_survey and await self._is_named(target)
            case Mechanism.MX:
                return await self._is_exchanger(one, target)
            case _:
                return await self._is_at(one, target)

    async def _includes(self, one: Directive, target: str, domain: str) -> bool:
        result, reason = await self._check(target)
        if result is Result.NONE and not (self._is_survey and "%{" in one.domain):
            raise _End(Result.PERMERROR, f"`{one.text}` of {domain}: {reason}")
        return result is Result.PASS and not self._is_survey

    async def _is_at(self, one: Directive, host: str) -> bool:
        version = self._address.version
        length = one.length4 if version == 4 else one.length6
        networks = (
            ip_network(f"{found}/{length}", strict=False) for found in await self._addresses(host, version=version)
        )
        return any(self._address in network for network in networks) and not self._is_survey

    async def _is_exchanger(self, one: Directive, domain: str) -> bool:
        answer = await self._dns.mx(domain)
        hosts = [host.name for host in self._records(answer, f"mail exchangers of {domain}") if host.name]
        if len(hosts) > MAX_NAMES:
            raise _End(Result.PERMERROR, f"`{one.text}`: {domain} has more than {MAX_NAMES} mail exchangers")
        for host in () if self._is_survey else hosts:
            if await self._is_at(one, host):
                return True
        return False

    async def _is_named(self, target: str) -> bool:
        wanted = target.lower()
        async for name in self._own_names():
            if name == wanted or name.endswith(f".{wanted}"):
                return True
        return False

    async def _own_names(self) -> AsyncIterator[str]:
        """Names of the address that lead back to it (section 5.5); a failure of DNS is no name."""
        answer = await self._dns.names(self._address)
        if isinstance(answer, NxDomain | NoData):
            self._count_void()
        for name in answer.records[:MAX_NAMES] if isinstance(answer, Found) else ():
            back = await self._dns.addresses(name, version=self._address.version)
            if isinstance(back, Found) and self._address in back.records:
                yield name

    async def _addresses(self, host: str, *, version: int) -> tuple[Address, ...]:
        if not _can_be_asked(host, labels=1):
            return ()
        return self._records(await self._dns.addresses(host, version=version), f"addresses of {host}")

    def _records(self, answer: Found[_Record] | NoData | NxDomain | Failed, what: str) -> tuple[_Record, ...]:
        if isinstance(answer, Failed):
            raise _End(Result.TEMPERROR, f"{what}: {answer.reason}")
        if isinstance(answer, Found):
            return answer.records
        self._count_void()
        return ()

    def _count(self) -> None:
        self._lookups += 1
        if self._lookups > (SURVEY_LOOKUPS if self._is_survey else MAX_LOOKUPS):
            raise _End(Result.PERMERROR, f"it takes more than {MAX_LOOKUPS} look-ups")

    def _count_void(self) -> None:
        self._voids += 1
        if self._voids > MAX_VOIDS:
            raise _End(Result.PERMERROR, f"more than {MAX_VOIDS} of its look-ups find nothing")

    async def _expand(self, text: str, domain: str) -> str:
        """A name without macros (section 7.3); what is too long loses labels on the left."""
        found, end = "", 0
        for match in MACRO.finditer(text):
            found += text[end : match.start()] + await self._value(match.groups(), domain)
            end = match.end()
        found = (found + text[end:]).removesuffix(".")
        while len(found) > _MAX_DOMAIN and "." in found:
            found = found.partition(".")[2]
        return found

    async def _value(self, macro: tuple[str | None, ...], domain: str) -> str:
        itself, letter, count, reverse, delimiters = macro
        if letter is None:
            return {"_": " ", "-": "%20"}.get(itself or "", "%")
        value = await self._letter(letter, domain)
        if count or reverse or delimiters:
            for delimiter in delimiters or ".":
                value = value.replace(delimiter, "\0")
            parts = value.split("\0")[:: -1 if reverse else 1]
            value = ".".join(parts[-int(count) :] if count else parts)
        return quote(value, safe="") if letter.isupper() else value

    async def _letter(self, letter: str, domain: str) -> str:
        match letter.lower():
            case "s":
                return f"{self._local}@{self._sender_domain}"
            case "l":
                return self._local
            case "o":
                return self._sender_domain
            case "d":
                return domain
            case "h":
                return self._helo
            case "p":
                return await self._own_name(domain)
        address = self._address
        if letter in "vV":
            return "in-addr" if address.version == 4 else "ip6"
        return str(address) if address.version == 4 else ".".join(address.exploded.replace(":", ""))

    async def _own_name(self, domain: str) -> str:
        """The best of the names that lead back: the domain itself, one below it, any (section 7.3)."""
        names = [name async for name in self._own_names()]
        wanted = domain.lower()
        below = (name for name in names if name.endswith(f".{wanted}"))
        return wanted if wanted in names else next(below, names[0] if names else "unknown")


def _can_be_asked(domain: str, *, labels: int = 2) -> bool:
    """Whether it has so many labels, none empty and none too long (section 4.3)."""
    found = domain.split(".")
    return len(found) >= labels and len(domain) <= _MAX_DOMAIN and all(0 < len(one) <= _MAX_LABEL for one in found)
