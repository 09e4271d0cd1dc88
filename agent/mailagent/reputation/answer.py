"""Questions to a block list, and what its answers say (RFC 5782). Pure.

A list that is gone often answers "listed" to everything, and one that wants no more questions says so with an address
that looks like a listing: only a list that knows its own test entries is believed, and some answers are errors.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from ipaddress import IPv4Address, IPv4Network, ip_address

from mailagent.dns import Address, AddressAnswer, Failed, Found

LISTED_TEST = {4: ip_address("127.0.0.2"), 6: ip_address("::ffff:7f00:2")}
"""By IP version: listed by every list that works (section 5)."""
CLEAN_TEST = {4: ip_address("127.0.0.1"), 6: ip_address("::ffff:7f00:1")}
"""By IP version: never listed."""
_ANSWERS = IPv4Network("127.0.0.0/8")
_ERRORS = IPv4Network("127.255.255.0/24")
_NOT_A_LISTING = IPv4Address("127.0.0.1")
_SAYS = {
    IPv4Address("127.255.255.252"): "there is no list of that name",
    IPv4Address("127.255.255.254"): "it wants no questions through a public resolver: set dns.servers to your own",
    IPv4Address("127.255.255.255"): "it was asked too often from here",
}
"""Errors as Spamhaus gives them, and others after it."""


@dataclass(frozen=True, slots=True)
class Listed:
    """The address is on the list."""

    meaning: str


@dataclass(frozen=True, slots=True)
class Clean:
    """It is not."""


@dataclass(frozen=True, slots=True)
class Unknown:
    """Nobody can tell."""

    reason: str


Verdict = Listed | Clean | Unknown


def question(address: Address, zone: str) -> str:
    """The name to look up: octets or nibbles in reverse, then the zone (sections 2.1 and 2.4)."""
    return f"{address.reverse_pointer.removesuffix('.in-addr.arpa').removesuffix('.ip6.arpa')}.{zone}"


def verdict(answer: AddressAnswer, meanings: Mapping[str, str]) -> Verdict:
    """What a list's answer to a question says; `meanings` by address, which stands for itself without one."""
    if isinstance(answer, Failed):
        return Unknown(answer.reason)
    if not isinstance(answer, Found):
        return Clean()
    if answer.stale:
        return Unknown("no answer; the last one has expired")
    codes = [one for one in answer.records if isinstance(one, IPv4Address)]
    for code in codes:
        if code not in _ANSWERS:
            return Unknown(f"it answers {code}: the zone belongs to somebody else now")
        if code in _ERRORS or code == _NOT_A_LISTING:
            return Unknown(_SAYS.get(code, f"it refuses to say ({code})"))
    return Listed(", ".join(meanings.get(str(code), str(code)) for code in codes)) if codes else Clean()


def failed_test(listed: AddressAnswer, clean: AddressAnswer) -> str:
    """Why a list cannot be believed, by its answers about LISTED_TEST and CLEAN_TEST; empty: it can."""
    for answer in (listed, clean):
        if isinstance(found := verdict(answer, {}), Unknown):
            return found.reason
    if isinstance(verdict(clean, {}), Listed):
        return "it lists everybody (127.0.0.1 too): it is dead or broken"
    if not isinstance(verdict(listed, {}), Listed):
        return "it does not list its own test entry: it is dead, or keeps no such addresses"
    return ""
