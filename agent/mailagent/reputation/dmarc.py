"""DMARC as receivers look it up (RFC 9989): which policy holds for a From domain, and what is aligned with it."""

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Final, Protocol

from mailagent.dns import Failed, Found, TxtAnswer

MAX_LABELS: Final = 8
"""A longer name is asked about itself, then about its last 7 labels (section 4.10)."""
POLICIES: Final = ("none", "quarantine", "reject")


class Asks(Protocol):
    """Who asks DNS; `mailagent.dns.Resolver` is one."""

    async def txt(self, name: str) -> TxtAnswer:
        """The TXT records of `name`."""


@dataclass(frozen=True, slots=True)
class Policy:
    """What holds for mail with From in one domain."""

    name: str  # of the record: `_dmarc.example.com`; empty: there is none
    policy: str  # none, quarantine or reject
    organization: str  # the organizational domain
    strict_dkim: bool = False
    strict_spf: bool = False
    is_test: bool = False  # t=y: enforced one step less (section 4.7)
    dated: tuple[str, ...] = ()  # tags that are no more


class NoAnswer(Exception):
    """DNS did not answer."""


async def look_up(dns: Asks, domain: str) -> Policy:
    """The policy for From in `domain`, by the tree walk of section 4.10.

    Raises:
        NoAnswer: a question of it was not answered.
    """
    found = await _walk(dns, domain)
    organization = _organization(domain, found)
    own = found.get(domain)
    above = (one for one in found.values() if one.get("psd") == "y")
    tags = own or found.get(organization) or next(above, None)
    if tags is None:
        return Policy("", "none", organization)
    said = (tags.get(tag) for tag in (("p",) if own else ("sp", "p")))
    owner = next(name for name, one in found.items() if one is tags)
    return Policy(
        name=f"_dmarc.{owner}",
        policy=next((one for one in said if one in POLICIES), "none"),
        organization=organization,
        strict_dkim=tags.get("adkim") == "s",
        strict_spf=tags.get("aspf") == "s",
        is_test=tags.get("t") == "y",
        dated=tuple(tag for tag in ("pct", "rf", "ri") if tag in tags),
    )


async def is_aligned(dns: Asks, domain: str, policy: Policy, others: Iterable[str], *, strict: bool) -> bool:
    """Whether one of `others` (d= of DKIM, MAIL FROM) counts as the From domain (section 4.4).

    Raises:
        NoAnswer: as above.
    """
    for other in others:
        if other == domain:
            return True
        if not strict and _organization(other, await _walk(dns, other)) == policy.organization:
            return True
    return False


async def _walk(dns: Asks, domain: str) -> dict[str, dict[str, str]]:
    """Records on the way up, by domain, from the longest name on; it ends where a record says so."""
    found: dict[str, dict[str, str]] = {}
    for name in _steps(domain):
        answer = await dns.txt(f"_dmarc.{name}")
        if isinstance(answer, Failed):
            raise NoAnswer(answer.reason)
        records = [] if not isinstance(answer, Found) else [tags for one in answer.records if (tags := _tags(one))]
        if len(records) != 1:
            continue  # several are none (section 4.10)
        found[name] = records[0]
        if records[0].get("psd") in ("n", "y") and (name != domain or records[0]["psd"] == "n"):
            break
    return found


def _steps(domain: str) -> list[str]:
    labels = domain.split(".")
    first = 1 if len(labels) < MAX_LABELS else len(labels) - MAX_LABELS + 1
    return [domain, *(".".join(labels[n:]) for n in range(first, len(labels)))]


def _organization(domain: str, found: dict[str, dict[str, str]]) -> str:
    """The organizational domain by what the walk found (section 4.10.2)."""
    for name, tags in found.items():
        if tags.get("psd") == "n":
            return name
        if tags.get("psd") == "y" and name != domain:
            labels = domain.split(".")
            return ".".join(labels[len(labels) - len(name.split(".")) - 1 :])
    return min(found, key=lambda name: name.count("."), default=domain)


def _tags(record: bytes) -> dict[str, str]:
    """Tags in lower case; none when it is no DMARC record (section 4.8)."""
    parts = [part.partition("=") for part in record.decode("utf-8", "replace").split(";")]
    tags = [(name.strip().lower(), value.strip()) for name, equals, value in parts if equals]
    if not tags or tags[0] != ("v", "DMARC1"):
        return {}
    return {name: value if name in ("v", "rua", "ruf") else value.lower() for name, value in tags}
