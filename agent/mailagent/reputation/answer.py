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
ERRORS = IPv4Network("127.255.255.0/24")
NOT_A_LISTING = IPv4Address("127.0.0.1")
_ANSWERS = IPv4Network("127.0.0.0/8")
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
class NotKept:
    """The list keeps no addresses of that IP version."""


@dataclass(frozen=True, slots=True)
class Unknown:
    """Nobody can tell."""

    reason: str
    is_false: bool = False  # what the list says is known to be wrong, also what it said a moment ago


Verdict = Listed | Clean | NotKept | Unknown


def question(address: Address, zone: str) -> str:
    """The name to look up: octets or nibbles in reverse, then the zone (sections 2.1 and 2.4)."""
    return f"{address.reverse_pointer.removesuffix('.in-addr.arpa').removesuffix('.ip6.arpa')}.{zone}"


def verdict(answer: AddressAnswer, meanings: Mapping[str, str]) -> Listed | Clean | Unknown:
    """What a list's answer to a question says; `meanings` by address, which stands for itself without one."""
    if isinstance(answer, Failed):
        return Unknown(answer.reason)
    if not isinstance(answer, Found):
        return Clean()
    if answer.stale:
        return Unknown("no answer; the last one has expired")
    codes = sorted({one for one in answer.records if isinstance(one, IPv4Address)})  # resolvers change their order
    for code in codes:
        if code not in _ANSWERS:
            return Unknown(f"it answers {code}: the zone belongs to somebody else now", is_false=True)
    for code in codes:
        if code in ERRORS or code == NOT_A_LISTING:
            return Unknown(_SAYS.get(code, f"it refuses to say ({code})"))
    return Listed(", ".join(meanings.get(str(code), str(code)) for code in codes)) if codes else Clean()


def distrust(listed: AddressAnswer, clean: AddressAnswer, *, version: int) -> NotKept | Unknown | None:
    """Why a list is not asked, by its answers about LISTED_TEST and CLEAN_TEST; None: it can be believed."""
    found = [verdict(answer, {}) for answer in (listed, clean)]
    for one in found:
        if isinstance(one, Unknown):
            return one
    match found:
        case [_, Listed()]:
            return Unknown("it lists everybody (127.0.0.1 too): it is dead or broken", is_false=True)
        case [Clean(), _] if version == 6:
            return NotKept()
        case [Clean(), _]:
            return Unknown("it does not list its own test entry: it is dead")
        case _:
            return None
