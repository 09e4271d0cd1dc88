import pytest
from hypothesis import given
from hypothesis import strategies as st

from mailagent.config.structs import Endpoint, Route
from mailagent.routing.routes import RouteTable


def route(match: str, port: int) -> Route:
    return Route(match=match, to=Endpoint(host="127.0.0.1", port=port))


def port_of(table: RouteTable, domain: str) -> int | None:
    site = table.site(domain)
    return site.next_hop.port if site is not None and site.next_hop is not None else None


@pytest.mark.parametrize(
    ("domain", "port"),
    [("example.com", 1), ("www.example.com", 2), ("a.b.example.com", 2), ("notexample.com", None), ("com", None)],
)
def test_exact_names_and_sub_domains(domain: str, port: int | None) -> None:
    assert port_of(RouteTable([route("Example.com", 1), route("*.example.com", 2)]), domain) == port


def matches(pattern: str, domain: str) -> bool:
    return pattern == "*" or pattern == domain or (pattern.startswith("*.") and domain.endswith(pattern[1:]))


domains = st.lists(st.sampled_from(["a", "b"]), min_size=1, max_size=3).map(".".join)
patterns = st.one_of(st.just("*"), domains, domains.map(lambda domain: f"*.{domain}"))


@given(written=st.lists(patterns, max_size=6), domain=domains)
def test_the_first_route_that_matches_wins(written: list[str], domain: str) -> None:
    table = RouteTable([route(pattern, port) for port, pattern in enumerate(written, start=1)])
    expected = next((port for port, pattern in enumerate(written, start=1) if matches(pattern, domain)), None)
    assert port_of(table, domain) == expected


def test_a_route_is_a_site_named_after_its_next_hop() -> None:
    table = RouteTable([route("a", 25), route("b", 25)])
    site = table.site("a")
    assert site is not None
    assert (site.name, site.provider) == ("127.0.0.1:25", "route")
    assert table.site("b") is site
