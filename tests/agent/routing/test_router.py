"""Sites and paths over a real name server."""

from collections.abc import AsyncIterator, Callable
from ipaddress import IPv4Address, ip_address, ip_network
from random import Random
from typing import Any

import dns.rcode
import pytest

from mailagent.api.ids import ProviderName, VmtaName
from mailagent.config.structs import (
    AgentConfig,
    Delivery,
    Domain,
    Endpoint,
    Intake,
    Listener,
    Provider,
    Route,
    VirtualMta,
)
from mailagent.dns import MxHost, Resolver
from mailagent.routing import Hop, Router, Site, Unroutable
from tests.agent.dns.responder import Responder, responding
from tests.agent.routing.configs import agent

GMAIL = Provider(mx=("google.com",), sites={"gmail": ("a.google.com", "b.google.com")})

MakeRouter = Callable[..., Router]


@pytest.fixture
async def zone() -> AsyncIterator[Responder]:
    async with responding() as responder:
        yield responder


@pytest.fixture
async def router(zone: Responder) -> AsyncIterator[MakeRouter]:
    resolver = Resolver(zone.config)

    def make(**sections: Any) -> Router:
        config: AgentConfig = agent(providers={ProviderName("gmail"): GMAIL}, **sections)
        return Router(config, resolver, random=Random(1))

    yield make
    await resolver.close()


async def reply_of(router: Router, domain: str) -> tuple[int, str, bool]:
    found = await router.site(domain)
    assert isinstance(found, Unroutable)
    assert found.reply.local
    return found.reply.code, found.reply.enhanced, found.permanent


async def path(router: Router, domain: str, *, ipv4: bool = True, ipv6: bool = False) -> tuple[Hop, ...] | Unroutable:
    site = await router.site(domain)
    assert isinstance(site, Site)
    return await router.path(site, ipv4=ipv4, ipv6=ipv6)


def addresses(found: tuple[Hop, ...] | Unroutable) -> list[str]:
    assert not isinstance(found, Unroutable), found
    return [str(hop.address) for hop in found]


def refusal(found: tuple[Hop, ...] | Unroutable) -> tuple[str, bool]:
    assert isinstance(found, Unroutable), found
    assert found.permanent is found.reply.is_permanent
    return found.reply.enhanced, found.permanent


async def test_domains_with_the_same_mx_hosts_are_one_site(zone: Responder, router: MakeRouter) -> None:
    zone.add("one.example", "MX", "10 a.google.com.", "20 b.google.com.")
    zone.add("two.example", "MX", "20 A.GOOGLE.COM.", "10 b.google.com.")
    one, two = [await (made := router()).site("one.example"), await made.site("two.example")]
    assert isinstance(one, Site)
    assert isinstance(two, Site)
    assert one.name == two.name == "gmail"
    assert one.provider == "gmail"
    assert two.hosts == (MxHost(10, "b.google.com"), MxHost(20, "a.google.com"))


async def test_a_rollup_joins_domains_and_off_leaves_the_one_by_mx(zone: Responder, router: MakeRouter) -> None:
    for domain in ("a.example", "b.example", "plain.example"):
        zone.add(domain, "MX", "10 mx1.host.example.")
    zone.add("c.example", "MX", "10 mx2.host.example.")
    domains = {
        "a.example": Domain(rollup="mine"),
        "c.example": Domain(rollup="mine"),
        "b.example": Domain(rollup="off"),
        "old.example": Domain(queue_to="c.example"),
    }
    one = router(domains=domains)
    sites: list[Site] = []
    for name in ("plain", "a", "c", "b", "old"):
        found = await one.site(f"{name}.example")
        assert isinstance(found, Site)
        sites.append(found)
    assert [site.group for site in sites] == ["mx1.host.example", "mine", "mine", "b.example", "mine"]
    assert (sites[1].name, sites[3].name) == ("mine", "b.example")
    assert sites[2].name.startswith("mine~")  # its own MX hosts, the same limits
    assert sites[4] is sites[2] is one.cached("old.example")


async def test_the_cached_site_is_the_one_that_was_found(zone: Responder, router: MakeRouter) -> None:
    zone.add("one.example", "MX", "10 mx.example.")
    made = router()
    assert made.cached("one.example") is None
    found = await made.site("one.example")
    assert made.cached("one.example") is found


async def test_a_domain_without_mx_is_its_own_exchanger(zone: Responder, router: MakeRouter) -> None:
    zone.add("plain.example", "A", "192.0.2.1")
    site = await router().site("plain.example")
    assert isinstance(site, Site)
    assert (site.name, site.hosts) == ("plain.example", (MxHost(0, "plain.example"),))
    assert addresses(await path(router(), "plain.example")) == ["192.0.2.1"]


async def test_a_null_mx_refuses_for_good(zone: Responder, router: MakeRouter) -> None:
    zone.add("null.example", "MX", "0 .")
    zone.add("null.example", "A", "192.0.2.1")
    made = router()
    assert await reply_of(made, "null.example") == (556, "5.1.10", True)
    assert made.cached("null.example") is None


@pytest.mark.parametrize("domain", ["nowhere.example", "[192.0.2.1]", "a..b", "a b.example", "[IPv6:::1]", ""])
async def test_no_domain_is_refused_for_good(router: MakeRouter, domain: str) -> None:
    assert await reply_of(router(), domain) == (550, "5.1.2", True)


async def test_a_dns_failure_is_never_a_reason_to_bounce(zone: Responder, router: MakeRouter) -> None:
    zone.rcode = dns.rcode.SERVFAIL
    made = router()
    assert await reply_of(made, "example.com") == (451, "4.4.3", False)
    assert made.cached("example.com") is None


async def test_hosts_by_preference_with_equal_ones_shuffled(zone: Responder, router: MakeRouter) -> None:
    zone.add("d.example", "MX", "10 m1.example.", "10 m2.example.", "10 m3.example.", "20 m4.example.")
    for n in range(1, 5):
        zone.add(f"m{n}.example", "A", f"192.0.2.{n}")
    made = router()
    orders = {tuple(addresses(await path(made, "d.example"))) for _ in range(60)}
    assert len(orders) == 6
    assert all(order[3] == "192.0.2.4" for order in orders)


async def test_addresses_of_the_families_that_the_source_has(zone: Responder, router: MakeRouter) -> None:
    zone.add("d.example", "MX", "10 m.example.")
    zone.add("m.example", "A", "192.0.2.1")
    zone.add("m.example", "AAAA", "2001:db8::1")
    made = router()
    assert addresses(await path(made, "d.example")) == ["192.0.2.1"]
    assert addresses(await path(made, "d.example", ipv4=False, ipv6=True)) == ["2001:db8::1"]
    assert addresses(await path(made, "d.example", ipv6=True)) == ["192.0.2.1", "2001:db8::1"]


async def test_a_skipped_family_is_named_and_not_permanent(zone: Responder, router: MakeRouter) -> None:
    zone.add("d.example", "MX", "10 m.example.")
    zone.add("m.example", "AAAA", "2001:db8::1")
    found = await path(router(), "d.example")
    assert refusal(found) == ("4.4.4", False)
    assert isinstance(found, Unroutable)
    assert "no IPv6 address" in found.reply.text


async def test_hosts_without_address_are_passed_over(zone: Responder, router: MakeRouter) -> None:
    zone.add("d.example", "MX", "10 gone.example.", "20 m.example.")
    zone.add("m.example", "A", "192.0.2.1")
    assert addresses(await path(router(), "d.example")) == ["192.0.2.1"]


async def test_no_address_at_all_is_permanent_unless_dns_failed(zone: Responder, router: MakeRouter) -> None:
    zone.add("d.example", "MX", "10 gone.example.")
    made = router()
    site = await made.site("d.example")
    assert isinstance(site, Site)
    zone.rcode = dns.rcode.SERVFAIL
    assert refusal(await made.path(site, ipv4=True, ipv6=False)) == ("4.4.3", False)


async def test_no_address_at_all_is_permanent(zone: Responder, router: MakeRouter) -> None:
    zone.add("d.example", "MX", "10 gone.example.")
    assert refusal(await path(router(), "d.example", ipv6=True)) == ("5.4.4", True)


LOCAL = ["127.0.0.1", "127.9.9.9", "0.0.0.0", "169.254.1.1", "224.0.0.1", "255.255.255.255"]
LOCAL6 = ["::1", "::", "fe80::1", "ff02::1", "::ffff:127.0.0.1", "2002:7f00:1::1", "64:ff9b::7f00:1"]


@pytest.mark.parametrize("address", LOCAL + LOCAL6)
async def test_local_addresses_are_refused_unless_allowed(zone: Responder, router: MakeRouter, address: str) -> None:
    zone.add("d.example", "MX", "10 m.example.")
    zone.add("m.example", "AAAA" if ":" in address else "A", address)
    assert refusal(await path(router(), "d.example", ipv6=True)) == ("5.4.4", True)
    allowed = router(delivery=Delivery(port=2525, allow_networks=(ip_network(address),)))
    found = await path(allowed, "d.example", ipv6=True)
    assert addresses(found) == [str(ip_address(address))]
    assert not isinstance(found, Unroutable)
    assert found[0].port == 2525


LISTENING = Intake(listeners=(Listener(address=ip_address("192.0.2.9"), port=25),))


async def test_our_own_listener_ends_the_list(zone: Responder, router: MakeRouter) -> None:
    zone.add("d.example", "MX", "10 m1.example.", "20 us.example.", "20 m2.example.", "30 m3.example.")
    for name, address in (("m1", "192.0.2.1"), ("m2", "192.0.2.2"), ("m3", "192.0.2.3"), ("us", "192.0.2.9")):
        zone.add(f"{name}.example", "A", address)
    assert addresses(await path(router(intake=LISTENING), "d.example")) == ["192.0.2.1"]
    other_port = router(intake=LISTENING, delivery=Delivery(port=26))
    assert len(addresses(await path(other_port, "d.example"))) == 4


async def test_only_our_own_listener_is_a_loop(zone: Responder, router: MakeRouter) -> None:
    zone.add("d.example", "MX", "10 us.example.", "20 m.example.")
    zone.add("us.example", "A", "192.0.2.9")
    zone.add("m.example", "A", "192.0.2.1")
    assert refusal(await path(router(intake=LISTENING), "d.example")) == ("5.4.6", True)


async def test_a_listener_on_every_address_makes_our_virtual_mtas_ours(zone: Responder, router: MakeRouter) -> None:
    zone.add("d.example", "A", "192.0.2.7")
    made = router(
        intake=Intake(listeners=(Listener(address=ip_address("0.0.0.0"), port=25),)),
        virtual_mtas={VmtaName("a1"): VirtualMta(address=IPv4Address("10.0.0.7"), public="192.0.2.7")},
    )
    assert refusal(await path(made, "d.example")) == ("5.4.6", True)


def to(host: str, port: int = 2525, match: str = "*") -> Route:
    return Route(match=match, to=Endpoint(host=host, port=port))


async def test_a_route_needs_no_dns_and_may_be_local(zone: Responder, router: MakeRouter) -> None:
    made = router(routes=(to("127.0.0.1"),))
    site = made.cached("anything.example")
    assert site is not None
    assert site is await made.site("nonsense..example")
    assert await made.path(site, ipv4=True, ipv6=False) == (Hop("127.0.0.1", ip_address("127.0.0.1"), 2525),)
    assert not zone.asked


async def test_a_route_to_a_name_is_looked_up(zone: Responder, router: MakeRouter) -> None:
    zone.add("relay.example", "A", "192.0.2.1")
    made = router(routes=(to("relay.example"),))
    assert await path(made, "x.example") == (Hop("relay.example", ip_address("192.0.2.1"), 2525),)


@pytest.mark.parametrize(("host", "enhanced"), [("gone.example", "4.4.4"), ("::1", "4.4.4"), ("192.0.2.9", "4.4.6")])
async def test_a_wrong_route_never_bounces_mail(router: MakeRouter, host: str, enhanced: str) -> None:
    made = router(routes=(to(host, 25),), intake=LISTENING)
    found = await path(made, "x.example")
    assert refusal(found) == (enhanced, False)
    assert isinstance(found, Unroutable)
    assert found.reply.text.startswith("route to ")


async def test_domains_without_a_route_use_their_mx(zone: Responder, router: MakeRouter) -> None:
    zone.add("d.example", "MX", "10 m.example.")
    zone.add("m.example", "A", "192.0.2.1")
    made = router(routes=(to("127.0.0.1", match="other.example"),))
    assert addresses(await path(made, "d.example")) == ["192.0.2.1"]


async def test_a_hundred_mx_hosts_cost_a_bounded_number_of_questions(zone: Responder, router: MakeRouter) -> None:
    zone.truncate = True
    zone.add("d.example", "MX", *(f"{n} m{n}.example." for n in range(200)))
    for n in range(200):
        zone.add(f"m{n}.example", "A", *(f"10.0.{n}.{i}" for i in range(1, 30)))
    found = addresses(await path(router(), "d.example"))
    assert len(found) == 80
    assert sum(zone.asked.values()) <= 2 + 2 * 10
