import pytest
from hypothesis import given
from hypothesis import strategies as st

from mailagent.api.ids import ProviderName
from mailagent.config.providers import shipped_providers
from mailagent.config.structs import Provider
from mailagent.routing.providers import ProviderTable, member_names

TABLE = ProviderTable(
    {
        ProviderName("gmail"): Provider(
            mx=("google.com", ".googlemail.com"),
            sites={"gmail": ("gmail-smtp-in.l.google.com", "ALT1.gmail-smtp-in.l.google.com.")},
        ),
        ProviderName("outlook"): Provider(mx=("*.olc.protection.outlook.com",)),
        ProviderName("microsoft"): Provider(mx=("outlook.com",)),
        ProviderName("default"): Provider(),
    }
)


@pytest.mark.parametrize(
    ("hosts", "provider"),
    [
        (["aspmx.l.google.com", "alt1.aspmx.l.google.com"], "gmail"),
        (["google.com"], "gmail"),
        (["aspmx.l.google.com", "aspmx2.googlemail.com"], "gmail"),
        (["aspmx.l.google.com", "backup.example.com"], "default"),
        (["backup.example.com", "aspmx.l.google.com"], "default"),
        (["notgoogle.com"], "default"),
        (["mx.notgooglemail.com"], "default"),
        (["google.com.example.net"], "default"),
        (["hotmail-com.olc.protection.outlook.com"], "outlook"),
        (["x.mail.protection.outlook.com"], "microsoft"),
        (["x.mail.protection.outlook.com", "y.olc.protection.outlook.com"], "microsoft"),
        ([], "default"),
    ],
)
def test_every_mx_host_must_match_and_the_longest_suffix_wins(hosts: list[str], provider: str) -> None:
    assert TABLE.provider(hosts) == provider
    assert TABLE.provider(frozenset(hosts)) == provider


def test_an_exact_set_has_the_name_of_the_file() -> None:
    hosts = ["gmail-smtp-in.l.google.com", "alt1.gmail-smtp-in.l.google.com"]
    assert TABLE.site_name(member_names(hosts)) == TABLE.site_name(member_names(reversed(hosts))) == "gmail"
    assert TABLE.site_name(member_names(hosts[:1])) is None


names = st.lists(st.sampled_from(["a", "b", "aa"]), min_size=1, max_size=4).map(".".join)


@given(suffix=names, host=names, written=st.sampled_from(["{}", ".{}", "*.{}", "{}."]))
def test_a_suffix_matches_whole_labels_however_it_is_written(suffix: str, host: str, written: str) -> None:
    table = ProviderTable({ProviderName("p"): Provider(mx=(written.format(suffix),))})
    expected = host.split(".")[-len(suffix.split(".")) :] == suffix.split(".")
    assert table.provider([host]) == ("p" if expected else "default")


def test_the_shipped_rules_find_their_own_sites() -> None:
    shipped = shipped_providers()
    table = ProviderTable(shipped)
    for name, provider in shipped.items():
        assert all(table.provider([f"mx1.{suffix}"]) == name for suffix in provider.mx)
        for site, hosts in provider.sites.items():
            assert table.provider(hosts) == name
            assert table.site_name(member_names(hosts)) == site
