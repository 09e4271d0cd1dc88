"""The openspf.org test suite of RFC 7208 (release 2014.04), asked through the real resolver."""

import asyncio
from collections.abc import Iterator
from dataclasses import dataclass
from ipaddress import ip_address
from pathlib import Path
from typing import Any

import dns.name
import dns.rcode
import pytest
import yaml

from mailagent.dns import Resolver
from mailagent.reputation.spf import check_host
from tests.agent.dns.responder import Responder, responding

SUITE = Path(__file__).parents[2] / "data" / "spf" / "rfc7208-tests.yml"
OTHERWISE = {"mx-colon-domain": ("neutral",), "mx-colon-domain-ip4mapped": ("neutral",)}
"""The resolver leaves out mail exchangers that are no host names, such as `foo:bar/baz.example.com`."""


@dataclass(frozen=True)
class Case:
    """One question, and what a receiver may answer."""

    name: str
    zone: dict[str, list[Any]]
    address: str
    sender: str
    helo: str
    results: tuple[str, ...]


def cases() -> Iterator[Case]:
    for scenario in yaml.safe_load_all(SUITE.read_text("utf-8")):
        for name, one in scenario["tests"].items():
            results = one["result"] if isinstance(one["result"], list) else [one["result"]]
            yield Case(name, scenario["zonedata"], one["host"], one["mailfrom"], one["helo"], tuple(results))


def fill(responder: Responder, zone: dict[str, list[Any]]) -> None:
    """Records of type SPF are TXT too, unless the name says otherwise; TIMEOUT is for what it does not have."""
    silent = set()
    for owner, entries in zone.items():
        name = dns.name.from_text(owner).to_text(omit_final_dot=True).lower()
        found: dict[str, list[str]] = {}
        for entry in entries:
            if entry == "TIMEOUT":
                silent.add(name)
            else:
                ((kind, value),) = entry.items()
                found.setdefault(kind, []).append("" if value == "NONE" else _text(kind, value))
        if "TXT" not in found and "SPF" in found:
            found["TXT"] = found["SPF"]
        for kind, values in found.items():
            if kind != "SPF" and (records := [one for one in values if one]):
                responder.add(name, kind, *records)
        responder.zone.setdefault((name, "TYPE65280"), [])
    responder.answer_rcode = lambda name, kind: (
        dns.rcode.SERVFAIL if name in silent and (name, kind) not in responder.zone else None
    )


def _text(kind: str, value: Any) -> str:
    if kind in ("TXT", "SPF"):
        strings = value if isinstance(value, list) else [value]
        return " ".join('"' + "".join(f"\\{octet:03d}" for octet in one.encode("latin-1")) + '"' for one in strings)
    if kind == "MX":
        return f"{value[0]} {value[1] or ''}."
    return f"{value}." if kind in ("PTR", "CNAME") else value


@pytest.mark.parametrize("case", list(cases()), ids=lambda case: case.name)
async def test_what_receivers_find(case: Case) -> None:
    async with responding() as responder, asyncio.timeout(20):
        fill(responder, case.zone)
        resolver = Resolver(responder.config)
        sender = case.sender or f"postmaster@{case.helo}"
        domain = sender.rpartition("@")[2]
        found = await check_host(resolver, ip_address(case.address), domain, sender=sender, helo=case.helo)
        await resolver.close()
    assert found.result in OTHERWISE.get(case.name, case.results), found
