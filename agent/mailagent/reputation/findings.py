"""What receivers find when they look up who we are, one function for each thing they look at.

RFC 1912 section 2.1 (PTR), 5321 section 4.1.1.1 (EHLO), 7208 (SPF), 6376 (DKIM), 9989 (DMARC), 5321 section 5 and 7505
(MX); Gmail, Yahoo and Microsoft want all of them from who sends much.
"""

import re
from collections import Counter
from collections.abc import Collection
from typing import Final, NamedTuple, Protocol

from mailagent.api.reputation import IdentityState
from mailagent.dkim import SigningKey
from mailagent.dkim.published import Unanswered, Unproven, prove
from mailagent.dns import Address, Failed, Found, TxtAnswer
from mailagent.reputation import dmarc, spf
from mailagent.reputation.spf_record import Result

MANY_LOOKUPS: Final = 8
"""Of spf.MAX_LOOKUPS: the next include of somebody else's record may be the one too many."""
MAX_NAMES: Final = 10
"""Names of an address that are looked at."""
_GENERIC = re.compile(
    r"\b(?:dyn|dynamic|dhcp|dsl|adsl|pool|ppp|cable|client|cust|customer|vps|compute|in-addr|your-server)\b"
    r"|\bstatic-\d",
)


class Asks(spf.Asks, Protocol):
    """Who asks DNS; `mailagent.dns.Resolver` is one."""

    async def txt(self, name: str, *, fresh: bool = False) -> TxtAnswer:
        """The TXT records of `name`; `fresh`: not from what is remembered."""


class Finding(NamedTuple):
    """What is found, and the words for it."""

    state: IdentityState
    detail: str


def good(detail: str) -> Finding:
    """Nobody minds."""
    return Finding(IdentityState.GOOD, detail)


def weak(detail: str) -> Finding:
    """Some mind."""
    return Finding(IdentityState.WEAK, detail)


def bad(detail: str) -> Finding:
    """Mail is refused, or counts as forged."""
    return Finding(IdentityState.BAD, detail)


def unknown(detail: str) -> Finding:
    """Nobody knows."""
    return Finding(IdentityState.UNKNOWN, detail)


async def reverse(dns: Asks, address: Address) -> Finding:
    """The address has a name, and the name the address (FCrDNS)."""
    answer = await dns.names(address)
    if isinstance(answer, Failed):
        return unknown(answer.reason)
    names = answer.records[:MAX_NAMES] if isinstance(answer, Found) else ()
    if not names:
        return bad("it has no name (PTR): ask whose network it is for one")
    problem = ""
    for name in names:
        back = await dns.addresses(name, version=address.version)
        if isinstance(back, Found) and address in back.records:
            return weak(f"{name} is a name of any customer") if _generic(name, address) else good(name)
        problem = problem or (back.reason if isinstance(back, Failed) else "")
    return unknown(problem) if problem else bad(f"its name {names[0]} does not lead back: publish an address record")


def _generic(name: str, address: Address) -> bool:
    """Whether a name is made of its address, or of words for who dials in."""
    octets = Counter(str(address).split(".") if address.version == 4 else ())
    shared = octets & Counter(re.findall(r"\d+", name))
    return _GENERIC.search(name) is not None or shared.total() > 1


async def greeting(dns: Asks, ehlo: str, address: Address) -> Finding:
    """The name after EHLO is one of a host, leads to the address that says it, and its SPF lets that address send.

    Mail without a sender (notifications) has no other domain for SPF (RFC 7208 section 2.4).
    """
    if "." not in ehlo.strip("."):
        return weak(f"`{ehlo}` is no full host name")
    answer = await dns.addresses(ehlo, version=address.version)
    if isinstance(answer, Failed):
        return unknown(answer.reason)
    if not isinstance(answer, Found):
        return weak(f"{ehlo} has no address record")
    if address not in answer.records:
        return weak(f"{ehlo} leads to {', '.join(map(str, answer.records[:3]))}, not to {address}")
    found = await spf.check_host(dns, address, ehlo, sender=f"postmaster@{ehlo}", helo=ehlo)
    match found.result:
        case Result.PASS:
            return good(ehlo)
        case Result.TEMPERROR:
            return unknown(found.reason)
        case Result.NONE:
            return weak(f"{ehlo} has no SPF record, and mail without a sender has no other: publish `v=spf1 a -all`")
        case Result.NEUTRAL:
            return weak(f"SPF of {ehlo} says nothing of {address}: {found.reason}")
    return bad(f"SPF of {ehlo}: {found.result} for {address}: {found.reason}; mail without a sender counts as forged")


async def record(dns: Asks, domain: str) -> Finding:
    """The SPF record as such: there is one, it can be read, keeps strangers out and does not ask too much."""
    found = await spf.survey(dns, domain)
    cost = f"{found.lookups} of {spf.MAX_LOOKUPS} look-ups"
    match found.result:
        case Result.TEMPERROR:
            return unknown(found.reason)
        case Result.NONE | Result.PERMERROR:
            return bad(found.reason)
        case Result.PASS:
            return bad(f"{found.reason} lets everybody send")
        case Result.NEUTRAL:
            return weak(f"{found.reason}: it keeps nobody out")
    if found.lookups >= MANY_LOOKUPS:
        return weak(f"{cost}: one too many spoils it, also in a record that it includes")
    return good(f"{found.reason}, {cost}")


async def allowed(dns: Asks, address: Address, ehlo: str, domain: str, known: Finding) -> Finding | None:
    """SPF lets the address send for the domain; None when it does not for what is `known` of the record as such."""
    found = await spf.check_host(dns, address, domain, sender=f"postmaster@{domain}", helo=ehlo)
    match found.result:
        case Result.PASS:
            return good(found.reason)
        case Result.TEMPERROR:
            return unknown(found.reason)
        case Result.NONE | Result.PERMERROR if found.reason == known.detail:
            return None
    return bad(f"{found.result} for {address}: {found.reason}")


async def signing(dns: Asks, key: SigningKey) -> Finding:
    """The key that signs is published."""
    try:
        await prove(dns, key)
    except Unanswered as exc:
        return unknown(str(exc))
    except Unproven as exc:
        return bad(str(exc).removeprefix(key.record_name).lstrip(": "))
    return good("our key is published")


async def policy(dns: Asks, domain: str, signers: Collection[str], paths: Collection[Collection[str]]) -> Finding:
    """There is a DMARC policy, and d= of a signature or MAIL FROM is aligned with From.

    `signers`: all d= of ours; none: whoever hands in mail may sign it. `paths`: of each stream with that From, the
    domains of MAIL FROM that SPF is in order for; one of each has to be aligned.
    """
    try:
        found = await dmarc.look_up(dns, domain)
    except dmarc.NoAnswer as exc:
        return unknown(str(exc))
    if not found.name:
        return bad(f"there is no policy at _dmarc.{domain}, nor above: publish `v=DMARC1; p=none` at least")
    said = f"p={found.policy} at {found.name}" + (" (t=y: enforced one step less)" if found.is_test else "")
    silent = ""
    by = []
    for name, groups, strict in (("DKIM", [signers], found.strict_dkim), ("SPF", paths, found.strict_spf)):
        try:
            if groups and all([await dmarc.is_aligned(dns, domain, found, group, strict=strict) for group in groups]):
                by.append(name)
        except dmarc.NoAnswer as exc:
            silent = str(exc)
    if not by and silent:
        return unknown(f"{said}; {silent}")
    if not by and not signers:
        return unknown(f"{said}; MAIL FROM is not aligned, and whether a signature is, only who signs knows")
    if not by:
        senders = {path for group in paths for path in group}
        return bad(f"{said}, and nothing is aligned: d= is {_list(signers)}, MAIL FROM {_list(senders)}")
    if found.dated:
        return weak(f"{said} has {', '.join(f'{tag}=' for tag in found.dated)}, which is no more")
    return good(f"{said}, aligned by {' and '.join(by)}")


def _list(domains: Collection[str]) -> str:
    return ", ".join(sorted(domains)[:3]) or "none in order"


async def mailbox(dns: Asks, domain: str) -> Finding:
    """The domain takes mail: bounces, and answers."""
    answer = await dns.mx(domain)
    if isinstance(answer, Failed):
        return unknown(answer.reason)
    if isinstance(answer, Found) and answer.records:
        if not answer.records[0].name:
            return bad("it says that it takes no mail (null MX): receivers refuse what comes from there")
        return good(answer.records[0].name)
    for version in (4, 6):
        found = await dns.addresses(domain, version=version)
        if isinstance(found, Failed):
            return unknown(found.reason)
        if isinstance(found, Found):
            return weak("it has no mail exchanger (MX), but an address")
    return bad("it takes no mail, there is neither MX nor address: receivers refuse what comes from there")
