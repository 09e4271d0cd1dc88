"""One question to the servers, one typed answer. The only module of the agent that knows dnspython."""

import asyncio
import socket
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from enum import Enum
from functools import partial
from ipaddress import IPv4Address, IPv6Address, ip_address
from typing import Any

import dns.asyncquery
import dns.exception
import dns.flags
import dns.message
import dns.name
import dns.rcode
import dns.rdatatype
import dns.resolver

from mailagent.api.domains import is_host_name
from mailagent.dns.answers import Address, Failed, Found, MxHost, NoData, NxDomain, Tlsa

MAX_RECORDS = 64
"""Records kept of one answer; a hostile zone can send thousands."""
MIN_TRY_S = 0.1
_EDNS_PAYLOAD = 1232  # fits the path MTU everywhere (DNS flag day 2020); a longer answer comes by TCP
_LARGEST_DATAGRAM = 65_535


class Kind(Enum):
    """Record types that are asked for."""

    MX = dns.rdatatype.MX
    A = dns.rdatatype.A
    AAAA = dns.rdatatype.AAAA
    TXT = dns.rdatatype.TXT
    TLSA = dns.rdatatype.TLSA
    PTR = dns.rdatatype.PTR


@dataclass(frozen=True, slots=True)
class Nameserver:
    """A recursive name server of ours."""

    address: Address
    port: int

    def __str__(self) -> str:
        return f"[{self.address}]:{self.port}" if self.address.version == 6 else f"{self.address}:{self.port}"


def system_nameservers() -> tuple[Nameserver, ...]:
    """The servers of /etc/resolv.conf; none when there is no such file or it names none."""
    try:
        found = dns.resolver.Resolver(configure=True).nameservers
    except dns.resolver.NoResolverConfiguration:
        return ()
    return tuple(Nameserver(ip_address(text), 53) for text in found if isinstance(text, str))


async def ask(
    servers: Sequence[Nameserver], kind: Kind, name: str, *, timeout_s: float, validating: bool = False
) -> tuple[Found[Any] | NoData | NxDomain | Failed, int]:
    """The answer about `name`, and the TTL that it came with (0 for a failure).

    Servers are asked in order, all of them at most twice, within `timeout_s` altogether. SERVFAIL, REFUSED and
    broken answers move on to the next one at once, silence after an equal share of the time. A truncated answer
    is asked again by TCP. CNAMEs are followed within the answer. "No such name" and "no such record" count only when
    no server before it failed: one that checks signatures may have had a reason to.

    `validating`: the servers are trusted to say what is secure (the AD bit, asked for as RFC 6840 section 5.7 says).
    """
    if not servers:
        return Failed("no DNS server is known: set `dns.servers`, or fill /etc/resolv.conf"), 0
    try:
        question = dns.message.make_query(name, kind.value, use_edns=0, payload=_EDNS_PAYLOAD)
    except (dns.exception.DNSException, UnicodeError):
        return NxDomain(), 0  # no such name can exist
    if validating:
        question.flags |= dns.flags.AD
    deadline = time.monotonic() + timeout_s
    share_s = timeout_s / max(2, len(servers))
    problem = ""
    has_failed = False
    for server in (*servers, *servers):
        left_s = deadline - time.monotonic()
        if left_s < MIN_TRY_S and problem:
            break
        try:
            async with asyncio.timeout(min(share_s, left_s)):
                response = await _exchange(question, server)
        except TimeoutError:
            problem = f"no answer from {server} about {kind.name} {name}"
            continue
        except (OSError, EOFError, dns.exception.DNSException) as exc:
            problem = f"{server} about {kind.name} {name}: {exc or type(exc).__name__}"
            continue
        rcode = response.rcode()
        if rcode not in (dns.rcode.NOERROR, dns.rcode.NXDOMAIN):
            problem = f"{dns.rcode.to_text(rcode)} from {server} about {kind.name} {name}"
            has_failed = True
            continue
        try:
            answer, ttl_s = _read(response, kind, secure=validating and bool(response.flags & dns.flags.AD))
        except dns.exception.DNSException as exc:
            problem = f"unusable answer from {server} about {kind.name} {name}: {exc or type(exc).__name__}"
            has_failed = True
            continue
        if isinstance(answer, Found) or not has_failed:
            return answer, ttl_s
    return Failed(problem), 0


async def _exchange(question: dns.message.Message, server: Nameserver) -> dns.message.Message:
    """What `server` answers, by TCP when a datagram has no room for it."""
    try:
        return await _by_udp(question, server)
    except dns.message.Truncated:
        return await dns.asyncquery.tcp(question, str(server.address), port=server.port)


async def _by_udp(question: dns.message.Message, server: Nameserver) -> dns.message.Message:
    """The answer that comes back to a port of its own; what does not belong to the question is passed over.

    A connected socket hears `server` alone, and at once when nobody listens there. It is no transport of the loop:
    uvloop keeps one for good whose making was cancelled.
    """
    loop = asyncio.get_running_loop()
    family = socket.AF_INET6 if server.address.version == 6 else socket.AF_INET
    with socket.socket(family, socket.SOCK_DGRAM) as sock:
        sock.setblocking(False)
        sock.connect((str(server.address), server.port))
        await loop.sock_sendall(sock, question.to_wire())
        while True:
            wire = await loop.sock_recv(sock, _LARGEST_DATAGRAM)
            try:
                response = dns.message.from_wire(wire, raise_on_truncation=True)
            except dns.message.Truncated as exc:
                if question.is_response(exc.message()):  # type: ignore[no-untyped-call]
                    raise
            except (dns.exception.DNSException, ValueError):
                continue  # no message
            else:
                if question.is_response(response):
                    return response


def _read(response: Any, kind: Kind, *, secure: bool) -> tuple[Found[Any] | NoData | NxDomain, int]:
    chain = response.resolve_chaining()
    if chain.answer is None:
        missing = NxDomain if response.rcode() == dns.rcode.NXDOMAIN else NoData
        return missing(secure), chain.minimum_ttl
    canonical = chain.canonical_name.to_text(omit_final_dot=True).lower() if chain.cnames else ""
    return Found(_RECORDS[kind](chain.answer), secure=secure, canonical=canonical), chain.minimum_ttl


def _first(make: Callable[[Any], Any], records: Any) -> tuple[Any, ...]:
    return tuple(make(record) for record in list(records)[:MAX_RECORDS])


def _mx_hosts(records: Any) -> tuple[MxHost, ...]:
    """The exchangers that can be looked up. A null MX counts only when it stands alone (RFC 7505 section 3)."""
    named = ((record.preference, record.exchange.to_text(omit_final_dot=True).lower()) for record in records)
    hosts = sorted(MxHost(preference, name) for preference, name in named if is_host_name(name))
    if not hosts and any(record.exchange == dns.name.root for record in records):
        return (MxHost(0, ""),)
    return tuple(hosts[:MAX_RECORDS])


def _names(records: Any) -> tuple[str, ...]:
    """Names that can be looked up; what else stands there is nobody's."""
    found = (record.target.to_text(omit_final_dot=True).lower() for record in list(records)[:MAX_RECORDS])
    return tuple(sorted(name for name in found if is_host_name(name)))


def _texts(records: Any) -> tuple[bytes, ...]:
    """What says its version (`v=spf1`, `v=DKIM1`) goes before proofs of ownership, of which domains have many."""
    found = [b"".join(record.strings) for record in records]
    return tuple(sorted(found, key=lambda text: text[:2].lower() != b"v=")[:MAX_RECORDS])


def _tlsa(record: Any) -> Tlsa:
    return Tlsa(record.usage, record.selector, record.mtype, record.cert)


_RECORDS: dict[Kind, Callable[[Any], tuple[Any, ...]]] = {
    Kind.MX: _mx_hosts,
    Kind.A: partial(_first, lambda record: IPv4Address(record.address)),
    Kind.AAAA: partial(_first, lambda record: IPv6Address(record.address)),
    Kind.TXT: _texts,
    Kind.TLSA: partial(_first, _tlsa),
    Kind.PTR: _names,
}
