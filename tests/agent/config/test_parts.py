from datetime import timedelta
from ipaddress import IPv4Address, IPv6Address
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from mailagent.api.ids import HostName, PoolName, ProviderName, StreamName, VmtaName
from mailagent.config import AgentConfig, FleetConfig, config_hash, dump_agent, host_part, load_agent
from mailagent.config.dkim import Dkim, DkimKey
from mailagent.config.structs import (
    Delivery,
    Dns,
    Endpoint,
    FleetHost,
    Log,
    Pool,
    Priority,
    Provider,
    Rate,
    Retry,
    Route,
    Stream,
    VirtualMta,
)

durations = st.integers(1, 10**9).map(lambda ms: timedelta(milliseconds=ms))
waits = st.lists(durations, min_size=1, max_size=4).map(tuple)
retries = st.builds(Retry, waits=waits, greylist=waits, expire=durations, jitter=st.floats(0, 0.99))
rates = st.builds(Rate, count=st.integers(1, 9999), period_s=st.sampled_from([1, 30, 60, 3600]))
counts = st.integers(1, 5000)
words = st.sampled_from(["true", "null", "~", "7", "1e3", "a: b", "*@x.example", "#", "é", "'", "off", "2026-01-01"])


@st.composite
def fleets(draw: st.DrawFn) -> FleetConfig:
    """Valid fleets of up to three hosts, with words that YAML likes to take for something else."""
    hosts = {}
    members = []
    for h in range(draw(st.integers(1, 3))):
        vmtas = {}
        for v in range(draw(st.integers(1, 4))):
            name = VmtaName(f"v{h}-{v}")
            members.append(name)
            address6 = IPv6Address(f"2001:db8::{h}:{v + 1}") if draw(st.booleans()) else None
            address = IPv4Address(f"192.0.{h}.{v + 1}")
            vmtas[name] = VirtualMta(address=address, address6=address6, weight=draw(counts))
        hosts[HostName(f"mx{h}")] = FleetHost(
            state_dir=Path("/srv/a b") / str(h),
            virtual_mtas=vmtas,
            log=Log(file=draw(st.sampled_from([None, Path("/l")]))),
        )
    lists: dict[PoolName, dict[str, list[VmtaName]]] = {}
    for member in members:
        pool = PoolName(draw(st.sampled_from(["p", "q", "true", "7"])))
        state = draw(st.sampled_from(["active", "standby", "warming", "quarantined", "retired"]))
        lists.setdefault(pool, {}).setdefault(state, []).append(member)
    pools = {
        name: Pool(
            **{state: tuple(found) for state, found in pool.items()}, min_active=None, warm_up=None, trickle=None
        )
        for name, pool in lists.items()
    }
    streams = {
        StreamName(f"s{n}"): Stream(
            pool=draw(st.sampled_from(sorted(pools))),
            priority=draw(st.sampled_from(Priority)),
            headers=draw(st.dictionaries(st.sampled_from(["X-A", "X-B"]), st.lists(words, min_size=1).map(tuple))),
            retry=draw(st.none() | retries),
        )
        for n in range(draw(st.integers(0, 3)))
    }
    own = st.builds(
        Provider,
        connections=st.none() | counts,
        rate=st.none() | rates,
        retry=st.none() | retries,
        source=st.just("") | words,
    )
    providers = {
        ProviderName(name): draw(own) for name in draw(st.sets(st.sampled_from(["yahoo", "gmail", "default"])))
    }
    if draw(st.booleans()):
        providers[ProviderName("acme")] = Provider(mx=("mx.acme.example",), sites={"a": ("mx.acme.example",)})
    return FleetConfig(
        hosts=hosts,
        pools=pools,
        streams=streams,
        default_stream=draw(st.sampled_from([None, *streams])),
        routes=tuple(
            draw(
                st.lists(
                    st.builds(Route, match=st.just("*"), to=st.just(Endpoint(host="::1", port=25)), rate=rates),
                    max_size=1,
                )
            )
        ),
        providers=providers,
        dns=Dns(servers=(Endpoint(host="127.0.0.1", port=5353),)),
        delivery=Delivery(max_recipients=draw(counts)),
        retry=draw(st.just(Retry()) | retries),
        stop_grace_s=draw(st.integers(0, 600)),
    )


@given(fleets())
@settings(max_examples=40, suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow])
def test_every_hosts_part_survives_writing_and_reading(tmp_path: Path, fleet: FleetConfig) -> None:
    for host in fleet.hosts:
        part = host_part(fleet, host)
        path = tmp_path / "agent.yaml"
        path.write_text(dump_agent(part))
        again = load_agent(path)
        assert again == part
        assert list(again.providers) == list(part.providers)
        assert config_hash(again) == config_hash(part)


def two_hosts() -> FleetConfig:
    return FleetConfig(
        hosts={
            HostName("mx1"): FleetHost(
                region="eu", virtual_mtas={VmtaName("a"): VirtualMta(address=IPv4Address("192.0.2.1"))}
            ),
            HostName("mx2"): FleetHost(virtual_mtas={VmtaName("b"): VirtualMta(address=IPv4Address("192.0.2.2"))}),
        },
        pools={
            PoolName("both"): Pool(active=(VmtaName("a"),), standby=(VmtaName("b"),)),
        },
        streams={StreamName("s"): Stream(pool=PoolName("both"))},
    )


def test_a_part_holds_only_what_is_local() -> None:
    part = host_part(two_hosts(), HostName("mx2"))
    assert part.host == "mx2"
    assert list(part.virtual_mtas) == ["b"]
    assert part.pools == {"both": Pool(standby=(VmtaName("b"),))}
    assert list(part.streams) == ["s"]


def test_a_pool_without_local_members_goes_with_its_streams() -> None:
    fleet = two_hosts()
    fleet.pools[PoolName("eu")] = Pool(active=(VmtaName("a"),))
    fleet.pools[PoolName("both")] = Pool(active=(VmtaName("b"),))
    fleet.streams[StreamName("t")] = Stream(pool=PoolName("eu"))
    part = host_part(fleet, HostName("mx2"))
    assert list(part.pools) == ["both"]
    assert list(part.streams) == ["s"]


def test_keys_of_pools_without_local_members_stay_away() -> None:
    keys = tuple(
        DkimKey(domain="example.com", pool=PoolName(pool), selector=pool, file=Path(f"/k/{pool}.pem")) for pool in "pq"
    )
    fleet = FleetConfig(
        hosts={
            HostName("mx1"): FleetHost(virtual_mtas={VmtaName("a"): VirtualMta()}),
            HostName("mx2"): FleetHost(virtual_mtas={VmtaName("b"): VirtualMta()}),
        },
        pools={PoolName("p"): Pool(active=(VmtaName("a"),)), PoolName("q"): Pool(active=(VmtaName("b"),))},
        dkim=Dkim(keys=keys),
    )
    assert host_part(fleet, HostName("mx1")).dkim.keys == keys[:1]
    assert host_part(fleet, HostName("mx2")).dkim.keys == keys[1:]


def test_a_host_that_the_fleet_lacks_is_named_with_those_it_has() -> None:
    with pytest.raises(LookupError, match="no host mx9; it has mx1, mx2"):
        host_part(two_hosts(), HostName("mx9"))


def test_a_written_part_leaves_out_what_is_default_or_shipped() -> None:
    assert dump_agent(host_part(two_hosts(), HostName("mx1"))).splitlines() == [
        "host: mx1",
        "region: eu",
        "virtual_mtas:",
        "  a: {address: 192.0.2.1}",
        "pools:",
        "  both:",
        "    active: [a]",
        "streams:",
        "  s: {pool: both}",
    ]


def test_a_hash_tells_configurations_apart() -> None:
    one = AgentConfig(host=HostName("mx1"))
    assert config_hash(one) == config_hash(AgentConfig(host=HostName("mx1")))
    assert config_hash(one) != config_hash(AgentConfig(host=HostName("mx1"), stop_grace_s=61))
