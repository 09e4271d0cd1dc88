import asyncio
import socket
from collections.abc import AsyncIterator
from datetime import timedelta
from ipaddress import ip_address
from pathlib import Path

import dns.rcode
import pytest

from mailagent.config import structs
from mailagent.dns import Failed, Found, MxHost, NoData, NxDomain, Resolver
from mailagent.dns.query import Nameserver
from mailagent.dns.resolver import MAX_OPEN
from tests.agent.dns.responder import Responder, responding


class Clock:
    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now


def open_files() -> int:
    return sum(1 for _ in Path("/proc/self/fd").iterdir())


@pytest.fixture
async def dns_server() -> AsyncIterator[Responder]:
    async with responding() as responder:
        yield responder


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
async def resolver(dns_server: Responder, clock: Clock) -> AsyncIterator[Resolver]:
    resolver = Resolver(dns_server.config, clock=clock)
    yield resolver
    await resolver.close()


async def test_mx_hosts_come_lower_case_in_order_of_preference_and_name(
    dns_server: Responder, resolver: Resolver
) -> None:
    dns_server.add("example.com", "MX", "20 MX2.Example.com.", "10 b.example.com.", "10 a.example.com.")
    assert await resolver.mx("example.com") == Found(
        (MxHost(10, "a.example.com"), MxHost(10, "b.example.com"), MxHost(20, "mx2.example.com"))
    )


async def test_null_mx_is_found_with_an_empty_name(dns_server: Responder, resolver: Resolver) -> None:
    dns_server.add("example.com", "MX", "0 .")
    assert await resolver.mx("example.com") == Found((MxHost(0, ""),))


async def test_addresses_of_both_families(dns_server: Responder, resolver: Resolver) -> None:
    dns_server.add("mx.example.com", "A", "192.0.2.1", "192.0.2.2")
    dns_server.add("mx.example.com", "AAAA", "2001:db8::1")
    v4 = await resolver.addresses("mx.example.com", version=4)
    assert isinstance(v4, Found)
    assert set(v4.records) == {ip_address("192.0.2.1"), ip_address("192.0.2.2")}
    assert await resolver.addresses("mx.example.com", version=6) == Found((ip_address("2001:db8::1"),))


async def test_cname_is_followed(dns_server: Responder, resolver: Resolver) -> None:
    dns_server.add("alias.example", "CNAME", "example.com.")
    dns_server.add("example.com", "MX", "10 mx.example.com.")
    assert await resolver.mx("alias.example") == Found((MxHost(10, "mx.example.com"),), canonical="example.com")


async def test_a_name_without_the_record_is_told_from_no_name(dns_server: Responder, resolver: Resolver) -> None:
    dns_server.add("example.com", "A", "192.0.2.1")
    assert await resolver.mx("example.com") == NoData()
    assert await resolver.mx("nowhere.example") == NxDomain()


@pytest.mark.parametrize("name", ["a..b", "x" * 64 + ".com", ".".join(["abcdefgh"] * 40)])
async def test_a_name_that_cannot_exist_is_not_asked(dns_server: Responder, resolver: Resolver, name: str) -> None:
    assert await resolver.mx(name) == NxDomain()
    assert not dns_server.asked


async def test_a_truncated_answer_is_asked_again_by_tcp(dns_server: Responder, resolver: Resolver) -> None:
    dns_server.truncate = True
    dns_server.add("example.com", "MX", *(f"10 a-rather-long-host-name-{n}.example.com." for n in range(60)))
    answer = await resolver.mx("example.com")
    assert isinstance(answer, Found)
    assert len(answer.records) == 60
    assert dns_server.tcp_asked == 1


async def test_a_hostile_number_of_records_is_cut(dns_server: Responder, resolver: Resolver) -> None:
    dns_server.truncate = True
    dns_server.add("example.com", "MX", *(f"{n} m{n}.example.com." for n in range(1, 1000)))
    answer = await resolver.mx("example.com")
    assert isinstance(answer, Found)
    assert answer.records[0] == MxHost(1, "m1.example.com")
    assert len(answer.records) == 64


async def test_an_answer_is_kept_for_its_ttl(dns_server: Responder, resolver: Resolver, clock: Clock) -> None:
    dns_server.ttl = 600
    dns_server.add("example.com", "MX", "10 mx.example.com.")
    assert resolver.cached_mx("example.com") is None
    first = await resolver.mx("example.com")
    clock.now += 599
    assert resolver.cached_mx("example.com") is first
    await resolver.mx("example.com")
    assert dns_server.asked["example.com", "MX"] == 1
    clock.now += 1
    assert resolver.cached_mx("example.com") is None
    await resolver.mx("example.com")
    assert dns_server.asked["example.com", "MX"] == 2


async def test_mx_with_a_tiny_ttl_is_kept_for_five_minutes(
    dns_server: Responder, resolver: Resolver, clock: Clock
) -> None:
    dns_server.ttl = 0
    dns_server.add("example.com", "MX", "10 mx.example.com.")
    await resolver.mx("example.com")
    clock.now += 299
    assert resolver.cached_mx("example.com") is not None


async def test_a_missing_name_is_asked_again_within_fifteen_minutes(
    dns_server: Responder, resolver: Resolver, clock: Clock
) -> None:
    dns_server.negative_ttl = 86_400
    assert await resolver.mx("new.example") == NxDomain()
    dns_server.add("new.example", "MX", "10 mx.new.example.")
    clock.now += 900
    assert isinstance(await resolver.mx("new.example"), Found)


async def test_callers_with_one_question_share_one_look_up(dns_server: Responder, resolver: Resolver) -> None:
    dns_server.gate = asyncio.Event()
    dns_server.add("example.com", "MX", "10 mx.example.com.")
    async with asyncio.TaskGroup() as group:
        tasks = [group.create_task(resolver.mx("example.com")) for _ in range(50)]
        await dns_server.heard.wait()
        tasks[0].cancel()
        dns_server.gate.set()
    assert dns_server.asked["example.com", "MX"] == 1
    assert tasks[0].cancelled()
    assert {task.result() for task in tasks[1:]} == {Found((MxHost(10, "mx.example.com"),))}


async def test_servfail_is_a_failure_that_says_who_and_what(dns_server: Responder, resolver: Resolver) -> None:
    dns_server.rcode = dns.rcode.SERVFAIL
    answer = await resolver.mx("example.com")
    assert answer == Failed(f"SERVFAIL from 127.0.0.1:{dns_server.port} about MX example.com")


async def test_a_stale_answer_stands_in_while_the_servers_fail_for_a_day(
    dns_server: Responder, resolver: Resolver, clock: Clock
) -> None:
    dns_server.ttl = 600
    dns_server.add("example.com", "MX", "10 mx.example.com.")
    await resolver.mx("example.com")
    dns_server.rcode = dns.rcode.SERVFAIL
    clock.now += 700
    assert await resolver.mx("example.com") == Found((MxHost(10, "mx.example.com"),), stale=True)
    asked = dns_server.asked["example.com", "MX"]
    assert await resolver.mx("example.com") == Found((MxHost(10, "mx.example.com"),), stale=True)
    assert dns_server.asked["example.com", "MX"] == asked  # not asked again at once
    clock.now += 40
    dns_server.rcode = None
    assert await resolver.mx("example.com") == Found((MxHost(10, "mx.example.com"),))
    dns_server.rcode = dns.rcode.SERVFAIL
    clock.now += 600 + 86_400
    assert isinstance(await resolver.mx("example.com"), Failed)


async def test_a_silent_server_is_a_failure_in_bounded_time(dns_server: Responder) -> None:
    dns_server.silent = True
    resolver = Resolver(structs.Dns(servers=dns_server.config.servers, timeout=timedelta(seconds=0.3)))
    assert await resolver.mx("example.com") == Failed(
        f"no answer from 127.0.0.1:{dns_server.port} about MX example.com"
    )
    assert dns_server.asked["example.com", "MX"] == 2


async def test_the_next_server_answers_when_the_first_fails(dns_server: Responder) -> None:
    async with responding() as broken:
        broken.rcode = dns.rcode.REFUSED
        dns_server.add("example.com", "MX", "10 mx.example.com.")
        resolver = Resolver(structs.Dns(servers=broken.config.servers + dns_server.config.servers))
        assert await resolver.mx("example.com") == Found((MxHost(10, "mx.example.com"),))


async def test_garbage_does_not_answer(dns_server: Responder) -> None:
    dns_server.add("example.com", "MX", "10 mx.example.com.")
    loop = asyncio.get_running_loop()

    class Garbage(asyncio.DatagramProtocol):
        def connection_made(self, transport: asyncio.DatagramTransport) -> None:  # type: ignore[override]
            self.transport = transport

        def datagram_received(self, data: bytes, addr: tuple[str | int, ...]) -> None:
            self.transport.sendto(b"\xff" * 40, addr)
            self.transport.sendto(data[:2], addr)

    transport, _ = await loop.create_datagram_endpoint(Garbage, local_addr=("127.0.0.1", 0))
    bad = structs.Endpoint(host="127.0.0.1", port=transport.get_extra_info("sockname")[1])
    resolver = Resolver(structs.Dns(servers=(bad, *dns_server.config.servers), timeout=timedelta(seconds=0.4)))
    assert await resolver.mx("example.com") == Found((MxHost(10, "mx.example.com"),))
    transport.close()


async def test_nobody_listening_is_known_at_once(dns_server: Responder) -> None:
    dns_server.add("example.com", "MX", "10 mx.example.com.")
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as taken:
        taken.bind(("127.0.0.1", 0))
        deaf = structs.Endpoint(host="127.0.0.1", port=taken.getsockname()[1])
    resolver = Resolver(structs.Dns(servers=(deaf, *dns_server.config.servers), timeout=timedelta(hours=1)))
    async with asyncio.timeout(30):
        assert await resolver.mx("example.com") == Found((MxHost(10, "mx.example.com"),))


@pytest.mark.parametrize("turns", [1, 2, 3])
async def test_a_look_up_that_is_given_up_leaves_no_socket(dns_server: Responder, turns: int) -> None:
    dns_server.silent = True
    resolver = Resolver(dns_server.config)
    before = open_files()
    asked = [asyncio.ensure_future(resolver.mx(f"d{n}.example")) for n in range(20)]
    for _ in range(turns):
        await asyncio.sleep(0)
    await resolver.close()
    await asyncio.gather(*asked, return_exceptions=True)
    assert open_files() == before


async def test_a_server_that_is_no_address_is_refused() -> None:
    with pytest.raises(ValueError, match=r"ns\.example"):
        Resolver(structs.Dns(servers=(structs.Endpoint(host="ns.example", port=53),)))


async def test_closing_ends_open_look_ups(dns_server: Responder) -> None:
    dns_server.silent = True
    resolver = Resolver(dns_server.config)
    waiting = asyncio.ensure_future(resolver.mx("example.com"))
    await dns_server.heard.wait()
    await resolver.close()
    with pytest.raises(asyncio.CancelledError):
        await waiting


async def test_a_missing_name_is_no_stale_answer(dns_server: Responder, resolver: Resolver, clock: Clock) -> None:
    assert await resolver.mx("nowhere.example") == NxDomain()
    dns_server.rcode = dns.rcode.SERVFAIL
    clock.now += 1000
    assert isinstance(await resolver.mx("nowhere.example"), Failed)


async def test_a_fresh_question_that_fails_says_so_while_no_such_name_is_remembered(
    dns_server: Responder, resolver: Resolver
) -> None:
    assert await resolver.txt("nowhere.example") == NxDomain()
    dns_server.rcode = dns.rcode.SERVFAIL
    assert isinstance(await resolver.txt("nowhere.example", fresh=True), Failed)
    assert await resolver.txt("nowhere.example") == NxDomain()


async def test_a_null_mx_beside_others_and_names_of_no_host_are_left_out(
    dns_server: Responder, resolver: Resolver
) -> None:
    dns_server.add("mixed.example", "MX", "0 .", "10 mx.example.com.", "20 a/b.example.com.")
    dns_server.add("bad.example", "MX", r"10 a\032b.example.com.")
    assert await resolver.mx("mixed.example") == Found((MxHost(10, "mx.example.com"),))
    assert await resolver.mx("bad.example") == Found(())


async def test_no_such_name_after_a_servfail_is_no_reason_to_bounce(dns_server: Responder) -> None:
    """A resolver that finds signatures wrong says SERVFAIL; another one, that does not look, may say anything."""
    async with responding() as other:
        dns_server.rcode = dns.rcode.SERVFAIL
        config = structs.Dns(servers=(*dns_server.config.servers, *other.config.servers))
        resolver = Resolver(config)
        answer = await resolver.mx("nowhere.example")
        other.add("example.com", "MX", "10 mx.example.com.")
        found = await resolver.mx("example.com")
        await resolver.close()
    assert isinstance(answer, Failed)
    assert "SERVFAIL" in answer.reason
    assert found == Found((MxHost(10, "mx.example.com"),))


async def test_other_servers_are_asked_after_a_reload(dns_server: Responder, resolver: Resolver) -> None:
    dns_server.add("example.com", "MX", "10 mx1.example.com.")
    await resolver.mx("example.com")
    async with responding() as other:
        other.add("example.com", "MX", "10 mx2.example.com.")
        resolver.configure(other.config)
        assert await resolver.mx("example.com") == Found((MxHost(10, "mx2.example.com"),))


async def test_rfc1035_3_3_9_an_exchanger_may_be_an_alias_though_it_must_not(
    dns_server: Responder, resolver: Resolver
) -> None:
    """RFC 2181 section 10.3 forbids it, and it works everywhere."""
    dns_server.add("alias.example.com", "CNAME", "mx.example.net.")
    dns_server.add("mx.example.net", "A", "192.0.2.9")
    answer = await resolver.addresses("alias.example.com", version=4)
    assert answer == Found((ip_address("192.0.2.9"),), canonical="mx.example.net")


async def test_what_a_server_says_after_it_was_replaced_does_not_count(
    dns_server: Responder, resolver: Resolver
) -> None:
    """Its "no such name" would bounce mail for as long as it is remembered."""
    dns_server.gate = asyncio.Event()
    async with responding() as other:
        other.add("example.com", "MX", "10 mx.example.com.")
        asked = asyncio.ensure_future(resolver.mx("example.com"))
        await asyncio.wait_for(dns_server.heard.wait(), 10)
        resolver.configure(other.config)
        found = Found((MxHost(10, "mx.example.com"),))
        assert await resolver.mx("example.com") == found
        dns_server.gate.set()
        assert await asked == found
        assert resolver.cached_mx("example.com") == found


async def test_open_questions_are_bounded(dns_server: Responder, resolver: Resolver) -> None:
    dns_server.gate = asyncio.Event()
    dns_server.fallback = lambda name, kind: ["10 mx.example.com."]
    asked = [asyncio.ensure_future(resolver.mx(f"d{n}.example")) for n in range(MAX_OPEN + 50)]
    async with asyncio.timeout(10):
        while len(dns_server.asked) < MAX_OPEN:
            dns_server.heard.clear()
            await dns_server.heard.wait()
        for _ in range(20):
            await asyncio.sleep(0)
        assert len(dns_server.asked) == MAX_OPEN
        dns_server.gate.set()
        answers = await asyncio.gather(*asked)
    assert all(isinstance(answer, Found) for answer in answers)


async def test_nobody_elses_word_about_security_is_taken(
    caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Answers of a server that is not on this host can be forged on the way, AD bit and all."""
    elsewhere = (Nameserver(ip_address("192.0.2.53"), 53),)
    monkeypatch.setattr("mailagent.dns.resolver.system_nameservers", lambda: elsewhere)
    resolver = Resolver(structs.Dns(validating=True))
    assert not resolver.validating
    assert "dns.validating has no effect" in caplog.text
