"""Authoritative DNS of the loopback world, over UDP and TCP. What it does not know does not exist (NXDOMAIN)."""

import asyncio
import contextlib
from collections.abc import Mapping, Sequence
from types import TracebackType
from typing import Self, cast

import dns.exception
import dns.flags
import dns.message
import dns.name
import dns.opcode
import dns.rcode
import dns.rdataclass
import dns.rdatatype
import dns.rrset

TTL_S = 300
UDP_BYTES = 512
"""What fits into a UDP answer to a client without EDNS (RFC 1035 section 4.2.1)."""
IDLE_S = 10.0
"""How long a TCP client may be silent."""
BLOCK_LIST = "bl.demo.example"
"""A public block list (RFC 5782); it knows its test entry, and who an incident has put on it."""
LISTED = "127.0.0.2"
"""Its answer, and its test entry."""
_SOA = f"ns.demo.example. hostmaster.demo.example. 1 3600 600 86400 {TTL_S}"

Rrsets = dict[dns.rdatatype.RdataType, dns.rrset.RRset]


class Zone:
    """MX and address records of all names, what else is published, and a block list."""

    def __init__(self, *, mx: Mapping[str, Sequence[tuple[int, str]]], addresses: Mapping[str, Sequence[str]]) -> None:
        self.fails = False
        """Whether every query is answered with SERVFAIL."""
        self._names: dict[dns.name.Name, Rrsets] = {}
        self._soa = dns.rrset.from_text(".", TTL_S, dns.rdataclass.IN, dns.rdatatype.SOA, _SOA)
        for domain, exchanges in mx.items():
            self._add(domain, dns.rdatatype.MX, [f"{preference} {host}." for preference, host in exchanges])
        for host, values in addresses.items():
            self._add(host, dns.rdatatype.A, values)
        self.put_on_list(LISTED)

    def publish(self, owner: str, kind: dns.rdatatype.RdataType, *values: str) -> None:
        """A name has these records of that type from now on."""
        self._add(owner, kind, values)

    def put_on_list(self, address: str) -> None:
        """The block list has an IPv4 address from now on."""
        self._add(_on_list(address), dns.rdatatype.A, [LISTED])

    def take_off_list(self, address: str) -> None:
        """It has it no longer."""
        self._names.pop(dns.name.from_text(_on_list(address)), None)

    def _add(self, name: str, kind: dns.rdatatype.RdataType, values: Sequence[str]) -> None:
        owner = dns.name.from_text(name)
        self._names.setdefault(owner, {})[kind] = dns.rrset.from_text(owner, TTL_S, dns.rdataclass.IN, kind, *values)

    def answer(self, wire: bytes, *, limit: int) -> bytes | None:
        """The answer to a query, or None when `wire` is no query; longer than `limit` it is truncated (TC)."""
        try:
            query = dns.message.from_wire(wire)
        except (dns.exception.DNSException, ValueError):
            return None
        if query.flags & dns.flags.QR or len(query.question) != 1:
            return None
        response = dns.message.make_response(query)
        question = query.question[0]
        records = self._names.get(question.name)
        if query.opcode() != dns.opcode.QUERY or question.rdclass != dns.rdataclass.IN:
            response.set_rcode(dns.rcode.REFUSED)
        elif self.fails:
            response.set_rcode(dns.rcode.SERVFAIL)
        else:
            response.flags |= dns.flags.AA
            found = records.get(question.rdtype) if records else None
            if found is not None:
                response.answer.append(found)
            else:
                response.authority.append(self._soa)
                if records is None:
                    response.set_rcode(dns.rcode.NXDOMAIN)
        return response.to_wire(max_size=max(limit, query.payload if query.edns >= 0 else 0), prefer_truncation=True)


def _on_list(address: str) -> str:
    return ".".join((*reversed(address.split(".")), BLOCK_LIST))


class _Datagrams(asyncio.DatagramProtocol):
    def __init__(self, zone: Zone) -> None:
        self._zone = zone

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast("asyncio.DatagramTransport", transport)

    def datagram_received(self, data: bytes, addr: tuple[str, int]) -> None:
        answer = self._zone.answer(data, limit=UDP_BYTES)
        if answer is not None:
            self._transport.sendto(answer, addr)


class DnsServer:
    """Serves one zone on one address."""

    def __init__(self, zone: Zone, address: str, port: int) -> None:
        self.zone = zone
        self._clients: set[asyncio.StreamWriter] = set()
        self.address = address
        self.port = port

    async def __aenter__(self) -> Self:
        """Listen on both transports; port 0 takes a free one (`port` says which)."""
        self._tcp = await asyncio.start_server(self._serve, self.address, self.port)
        try:
            self.port = self._tcp.sockets[0].getsockname()[1]
            self._udp, _ = await asyncio.get_running_loop().create_datagram_endpoint(
                lambda: _Datagrams(self.zone), local_addr=(self.address, self.port)
            )
        except BaseException:
            self._tcp.close()
            raise
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._udp.close()
        self._tcp.close()
        for client in self._clients:
            client.close()

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._clients.add(writer)
        with contextlib.suppress(OSError, TimeoutError, asyncio.IncompleteReadError):
            while True:
                async with asyncio.timeout(IDLE_S):
                    size = int.from_bytes(await reader.readexactly(2), "big")
                    answer = self.zone.answer(await reader.readexactly(size), limit=0xFFFF)
                if answer is None:
                    break
                writer.write(len(answer).to_bytes(2, "big") + answer)
                await writer.drain()
        self._clients.discard(writer)
        writer.close()
