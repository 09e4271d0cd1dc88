from mailagent.api.ids import ProviderName, SiteName, VmtaName
from mailagent.config.structs import Domain, Endpoint, Provider, Rate, Route, VirtualMta
from mailagent.routing import Limit, LimitTable, PathLimits, Site
from mailagent.routing.rollup import route_site
from tests.agent.routing.configs import agent

GMAIL = Provider(connections=None, messages_per_connection=50, provider_connections=5)
DEFAULT = Provider(connections=12, provider_connections=300)


def site(provider: str, rollup: str = "") -> Site:
    return Site(name=SiteName("s"), provider=ProviderName(provider), hosts=(), rollup=rollup)


def values(limits: PathLimits) -> list[str]:
    return [
        str(limits.connections),
        str(limits.messages_per_connection),
        str(limits.rate),
        str(limits.provider_connections),
        str(limits.provider_rate),
    ]


def test_unknown_sites_have_the_built_in_limits() -> None:
    limits = LimitTable(agent()).limits(site("default"))
    assert values(limits) == ["10", "100", "100/s", "", ""]
    assert limits.connections.origin == "built-in default"


def test_a_missing_key_comes_from_default_but_never_its_caps_over_all_sites() -> None:
    providers = {ProviderName("gmail"): GMAIL, ProviderName("default"): DEFAULT}
    limits = LimitTable(agent(providers=providers)).limits(site("gmail"))
    assert values(limits) == ["12", "50", "100/s", "5", ""]
    assert limits.connections.origin == "providers.default.connections"
    assert limits.provider_connections.origin == "providers.gmail.provider_connections"
    assert values(LimitTable(agent(providers=providers)).limits(site("default"))) == ["12", "100", "100/s", "300", ""]


def test_the_origin_is_told_by_whoever_knows_the_file() -> None:
    table = LimitTable(agent(providers={ProviderName("gmail"): GMAIL}), lambda key: f"agent.yaml:7 {key}")
    origin = table.limits(site("gmail")).provider_connections.origin
    assert origin == "agent.yaml:7 providers.gmail.provider_connections"


def test_a_route_has_twenty_connections_and_what_is_written() -> None:
    plain, written = Endpoint(host="127.0.0.1", port=1), Endpoint(host="127.0.0.1", port=2)
    table = LimitTable(
        agent(
            routes=(
                Route(match="a", to=plain),
                Route(match="b", to=written, connections=3, rate=Rate(count=5, period_s=1)),
            ),
            providers={ProviderName("default"): DEFAULT},
        )
    )
    assert values(table.limits(route_site(plain))) == ["20", "", "", "", ""]
    limits = table.limits(route_site(written))
    assert values(limits) == ["3", "", "5/s", "", ""]
    assert limits.rate.origin == "routes[1].rate"


def test_an_override_can_only_lower() -> None:
    limits = LimitTable(agent()).limits(site("default"))
    lowered = limits.lowered(
        {
            "connections": Limit(2, "alice"),
            "messages_per_connection": Limit(1000, "alice"),
            "rate": Limit(Rate(count=60, period_s=60), "alice"),
            "provider_rate": Limit(Rate(count=10, period_s=1), "alice"),
        }
    )
    assert values(lowered) == ["2", "100", "60/m", "", "10/s"]
    assert (lowered.connections.origin, lowered.messages_per_connection.origin) == ("alice", "built-in default")
    assert limits.lowered({}) is limits


def test_the_blocks_of_a_rollup_lie_over_the_provider_and_the_strictest_holds() -> None:
    table = LimitTable(
        agent(
            providers={ProviderName("gmail"): GMAIL},
            domains={
                "a.example": Domain(rollup="both", connections=30, rate=Rate(count=300, period_s=3600)),
                "b.example": Domain(rollup="both", connections=20),
                "c.example": Domain(messages_per_connection=7),
            },
        )
    )
    limits = table.limits(site("gmail", "both"))
    assert values(limits) == ["20", "50", "300/h", "5", ""]
    assert limits.connections.origin == "domains.b.example.connections"
    assert values(table.limits(site("gmail", "c.example"))) == ["10", "7", "100/s", "5", ""]
    assert values(table.limits(site("gmail"))) == ["10", "50", "100/s", "5", ""]


def test_the_caps_of_a_virtual_mta_hold_towards_every_site() -> None:
    capped = VmtaName("a1")
    table = LimitTable(
        agent(virtual_mtas={capped: VirtualMta(vmta_connections=3, vmta_rate=Rate(count=9, period_s=1))})
    )
    for limits in (table.limits(site("default"), capped), table.limits(route_site(Endpoint(host="h", port=1)), capped)):
        assert (str(limits.vmta_connections), str(limits.vmta_rate)) == ("3", "9/s")
        assert limits.vmta_rate.origin == "virtual_mtas.a1.vmta_rate"
    assert table.limits(site("default"), VmtaName("a2")).vmta_rate.value is None
