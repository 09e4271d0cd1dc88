import pytest

from mailagent.dns import ascii_domain, is_host_name


@pytest.mark.parametrize("name", ["example.com", "a", "x--y.example", "_dmarc.example.com", "1.2.3", "a" * 63 + ".b"])
def test_names_that_can_be_looked_up(name: str) -> None:
    assert is_host_name(name)


@pytest.mark.parametrize(
    "name",
    [
        "",
        ".",
        "a..b",
        ".a",
        "a.",
        "-a.b",
        "a-.b",
        "a b",
        "a/b",
        "ä.de",
        "[127.0.0.1]",
        "A.b",
        "a" * 64,
        "a." * 130 + "a",
        "a\n",
    ],
)
def test_names_that_cannot(name: str) -> None:
    assert not is_host_name(name)


@pytest.mark.parametrize(
    ("name", "found"),
    [
        ("Example.COM", "example.com"),
        ("bücher.example", "xn--bcher-kva.example"),
        ("BÜCHER.example", "xn--bcher-kva.example"),
        ("bu\u0308cher.example", "xn--bcher-kva.example"),  # composed first
        ("straße.example", "xn--strae-oqa.example"),  # not strasse.example, as IDNA 2003 has it
        ("例子.广告", "xn--fsqu00a.xn--4rr70v"),
    ],
)
def test_domains_become_a_labels(name: str, found: str) -> None:
    assert ascii_domain(name) == found


@pytest.mark.parametrize("name", ["", "ä..b", "ä b.example", "bü★.example", "ä。b", "ä" * 80 + ".example", "a\nä.b"])
def test_what_is_no_domain_has_no_a_labels(name: str) -> None:
    with pytest.raises(ValueError):
        ascii_domain(name)
