import pytest

from mailagent.dns import is_host_name


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
