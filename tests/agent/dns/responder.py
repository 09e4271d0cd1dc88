"""An authoritative name server on loopback, for tests: UDP and TCP on one port, and misbehaviour on demand."""

import asyncio
from collections import Counter
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager

import dns.flags
import dns.message
import dns.name
import dns.rcode
import dns.rdatatype
import dns.rrset

from mailagent.config import structs


class Responder(asyncio.DatagramProtocol):
    """Answers from `zone`: (name, type) -> texts of records. A name with no entry at all does not exist."""

    def __init__(self) -> None:
        self.zone: dict[tuple[str, str], list[str]] = {}
        self.fallback: Callable[[str, str], list[str] | None] = lambda name, kind: None  # for names not in the zone
        self.ttl = 3600
        self.negative_ttl = 3600
        self.rcode: dns.rcode.Rcode | None = None  # answer everything with it
        self.answer_rcode: Callable[[str, str], dns.rcode.Rcode | None] = lambda name, kind: (
            None
        )  # the same by question
        self.silent = False
        self.secure = False  # says that it has validated every answer
        self.truncate = False  # over UDP
        self.asked: Counter[tuple[str, str]] = Counter()
        self.heard = asyncio.Event()  # a question came
        self.tcp_asked = 0
        self.gate: asyncio.Event | None = None  # hold answers until it is set
        self.port = 0
        self._held: set[asyncio.Task[None]] = set()

    @property
    def config(self) -> structs.Dns:
        servers = (structs.Endpoint(host="127.0.0.1", port=self.port),)
        return structs.Dns(servers=servers, validating=self.secure)

    def add(self, name: str, kind: str, *records: str) -> None:
        self.zone[name, kind] = list(records)

    def connection_made(self, transport: asyncio.DatagramTransport) -> None:  # type: ignore[override]
        self._transport = transport

    def datagram_received(self, data: bytes, addr: tuple[str | int, ...]) -> None:
        answer = self.answer(data, udp=True)
        if answer is None:
            return
        if self.gate is None:
            self._transport.sendto(answer, addr)
            return
        task = asyncio.get_running_loop().create_task(self._send_later(answer, addr), name="responder:held")
        self._held.add(task)
        task.add_done_callback(self._held.discard)

    async def _send_later(self, answer: bytes, addr: tuple[str | int, ...]) -> None:
        assert self.gate is not None
        async with asyncio.timeout(10):
            await self.gate.wait()
        self._transport.sendto(answer, addr)

    async def serve_stream(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        async with asyncio.timeout(10):
            size = int.from_bytes(await reader.readexactly(2), "big")
            answer = self.answer(await reader.readexactly(size), udp=False)
            self.tcp_asked += 1
            if answer is not None:
                writer.write(len(answer).to_bytes(2, "big") + answer)
                await writer.drain()
            writer.close()

    def answer(self, data: bytes, *, udp: bool) -> bytes | None:
        query = dns.message.from_wire(data)
        question = query.question[0]
        name = question.name.to_text(omit_final_dot=True).lower()
        kind = dns.rdatatype.to_text(question.rdtype)
        self.asked[name, kind] += 1
        self.heard.set()
        if self.silent:
            return None
        response = dns.message.make_response(query)
        response.flags |= dns.flags.AA | dns.flags.RA
        if self.secure and query.flags & dns.flags.AD:
            response.flags |= dns.flags.AD
        rcode = self.rcode if self.rcode is not None else self.answer_rcode(name, kind)
        if rcode is not None:
            response.set_rcode(rcode)
            return response.to_wire()
        if self.truncate and udp:
            response.flags |= dns.flags.TC
            return response.to_wire()
        while (name, "CNAME") in self.zone:
            target = self.zone[name, "CNAME"][0]
            response.answer.append(dns.rrset.from_text(name + ".", self.ttl, "IN", "CNAME", target))
            name = target.rstrip(".")
        records = self.zone.get((name, kind)) or self.fallback(name, kind)
        if records:
            response.answer.append(dns.rrset.from_text(name + ".", self.ttl, "IN", kind, *records))
        else:
            if not any(owner == name for owner, _ in self.zone):
                response.set_rcode(dns.rcode.NXDOMAIN)
            soa = f"ns. root. 1 3600 600 86400 {self.negative_ttl}"
            response.authority.append(dns.rrset.from_text(".", self.negative_ttl, "IN", "SOA", soa))
        return response.to_wire(max_size=65535)


@asynccontextmanager
async def responding() -> AsyncIterator[Responder]:
    """A running responder on a free port of 127.0.0.1."""
    loop = asyncio.get_running_loop()
    for _ in range(20):  # the TCP twin of the port may be taken
        transport, responder = await loop.create_datagram_endpoint(Responder, local_addr=("127.0.0.1", 0))
        responder.port = transport.get_extra_info("sockname")[1]
        try:
            server = await asyncio.start_server(responder.serve_stream, "127.0.0.1", responder.port)
        except OSError:
            transport.close()
            continue
        break
    else:
        raise RuntimeError("no port is free for both UDP and TCP")
    try:
        yield responder
    finally:
        if responder.gate is not None:
            responder.gate.set()
        transport.close()
        server.close()
        await server.wait_closed()
