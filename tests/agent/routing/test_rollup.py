import gc

from hypothesis import given
from hypothesis import strategies as st

from mailagent.api.ids import ProviderName
from mailagent.config.structs import Provider
from mailagent.dns import MxHost
from mailagent.routing.providers import ProviderTable
from mailagent.routing.rollup import SiteBook

PROVIDERS = ProviderTable(
    {
        ProviderName("gmail"): Provider(mx=("google.com",), sites={"gmail": ("a.google.com", "b.google.com")}),
    }
)


def hosts(*names: str) -> tuple[MxHost, ...]:
    return tuple(MxHost(10 * n, name) for n, name in enumerate(names))


def test_one_set_of_hosts_is_one_site_whatever_the_preferences() -> None:
    book = SiteBook(PROVIDERS)
    one = book.site((MxHost(10, "mx1.example"), MxHost(20, "mx2.example")))
    two = book.site((MxHost(5, "mx2.example"), MxHost(10, "mx1.example")))
    assert one.name == two.name == "mx1.example"
    assert one is book.site(one.hosts)
    assert one.hosts != two.hosts


def test_the_provider_file_names_its_sets() -> None:
    site = SiteBook(PROVIDERS).site(hosts("b.google.com", "a.google.com"))
    assert (site.name, site.provider) == ("gmail", "gmail")


def test_another_set_with_the_same_first_host_gets_four_digits() -> None:
    book = SiteBook(PROVIDERS)
    one = book.site(hosts("mx.example"))
    two = book.site(hosts("mx.example", "backup.example"))
    assert one.name == "mx.example"
    assert two.name.startswith("mx.example~")
    assert len(two.name) == len("mx.example~0000")


def test_a_name_of_the_provider_file_is_kept_for_its_set() -> None:
    table = ProviderTable({ProviderName("p"): Provider(sites={"mx.example": ("a.example", "b.example")})})
    book = SiteBook(table)
    stranger = book.site(hosts("mx.example"))
    assert stranger.name.startswith("mx.example~")
    assert book.site(hosts("a.example", "b.example")).name == "mx.example"


def test_a_name_is_free_again_when_nobody_holds_its_site() -> None:
    book = SiteBook(PROVIDERS)
    one = book.site(hosts("mx.example"))
    del one
    gc.collect()
    assert book.site(hosts("mx.example", "backup.example")).name == "mx.example"


def test_a_reload_leaves_names_in_use_with_their_sets() -> None:
    before = SiteBook(PROVIDERS)
    one = before.site(hosts("mx.example"))
    after = SiteBook(ProviderTable({ProviderName("p"): Provider(mx=("example",))}), before)
    other = after.site(hosts("mx.example", "backup.example"))
    again = after.site(hosts("mx.example"))
    assert other.name != one.name == again.name
    assert (one.provider, again.provider) == ("default", "p")


def test_a_reload_that_names_a_set_renames_it() -> None:
    before = SiteBook(PROVIDERS)
    one = before.site(hosts("mx.example"))
    table = ProviderTable({ProviderName("p"): Provider(mx=("example",), sites={"ours": ("mx.example",)})})
    after = SiteBook(table, before)
    assert (one.name, after.site(hosts("mx.example")).name) == ("mx.example", "ours")


names = st.sampled_from(["a.example", "b.example", "c.example"])


@given(sets=st.lists(st.lists(names, min_size=1, max_size=3, unique=True), max_size=12))
def test_two_sets_never_share_a_name(sets: list[list[str]]) -> None:
    book = SiteBook(PROVIDERS)
    sites = [book.site(hosts(*one)) for one in sets]
    by_name = {site.name: frozenset(host.name for host in site.hosts) for site in sites}
    assert all(by_name[site.name] == frozenset(host.name for host in site.hosts) for site in sites)
    assert len(by_name) == len({frozenset(one) for one in sets})
