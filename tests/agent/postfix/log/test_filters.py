"""Content filters, as configuration names them and as the log shows them."""

from datetime import UTC, datetime

import pytest

from mailagent.postfix.log.filters import Filters, content_filters
from mailagent.postfix.log.lines import LineParser, Tried
from mailagent.postfix.log.replies import said

SCAN = "scan:[127.0.0.1]:10024"


def met(filters: Filters, relay: str, text: str = "250 2.0.0 Ok", status: str = "sent") -> bool:
    line = LineParser(now=lambda: datetime(2026, 11, 23, 12, tzinfo=UTC), zone=UTC).syslog(
        f"Nov 23 01:12:18 mx1 postfix/smtp[7]: 4jXnwf43Y2zJMHh: to=<u@a.example>, relay={relay}, delay=1,"
        f" delays=0/0/1/0, dsn=4.0.0, status={status} ({text})".encode()
    )
    assert isinstance(line, Tried)
    return filters.met(line, said(line.dsn, line.status, line.text))


@pytest.mark.parametrize(
    ("filters", "relay"),
    [
        (SCAN, "127.0.0.1[127.0.0.1]:10024"),
        (SCAN, "127.0.0.1[127.0.0.1]:10024, conn_use=3"),
        ("smtp:[localhost]:10024", "localhost[127.0.0.1]:10024"),
        ("smtp:localhost:10024", "localhost[::1]:10024"),
        ("scan:[127.0.0.1]:amavis", "localhost[127.0.0.1]:10024"),
        ("lmtp:inet:[::1]:24", "::1[::1]:24"),
        ("lmtp:inet:[ipv6:::1]:24", "::1[::1]:24"),
        ("lmtp:unix:/run/scan.sock", "mx1.example[/run/scan.sock]"),
        ("scan:[192.0.2.1]:10024, [127.0.0.1]:10024", "127.0.0.1[127.0.0.1]:10024"),
        ("spamassassin:dummy", "spamassassin"),
        ("spamassassin", "spamassassin"),
    ],
)
def test_what_goes_to_a_filter(filters: str, relay: str) -> None:
    assert met(Filters([filters]), relay)


@pytest.mark.parametrize("relay", ["mx1.a.example[192.0.2.9]:25", "127.0.0.1[127.0.0.1]:25", "none", "local"])
@pytest.mark.parametrize("filters", [SCAN, "spamassassin:dummy", "lmtp:unix:/run/scan.sock", "scan:"])
def test_what_does_not(filters: str, relay: str) -> None:
    assert not met(Filters([filters]), relay)


@pytest.mark.parametrize(
    "text",
    [
        "connect to 127.0.0.1[127.0.0.1]:10024: Connection refused",
        "delivery temporarily suspended: connect to 127.0.0.1[127.0.0.1]:10024: Connection refused",
        "delivery temporarily suspended: host 127.0.0.1[127.0.0.1] refused to talk to me: 421 4.3.2 busy",
    ],
)
def test_a_filter_that_is_not_there(text: str) -> None:
    assert met(Filters([SCAN]), "none", text, "deferred")
    for other in (text.replace("127.0.0.1", "192.0.2.9"), "unknown mail transport error"):
        assert not met(Filters([SCAN]), "none", other, "deferred")


@pytest.mark.parametrize(
    ("main", "services", "found"),
    [
        (SCAN, {"10025/inet/content_filter": ""}, (SCAN,)),
        ("", {"smtp/inet/content_filter": SCAN}, (SCAN,)),
        (SCAN, {"submission/inet/content_filter": "other:", "10025/inet/content_filter": ""}, ("other:", SCAN)),
        (SCAN, {}, ()),  # nothing comes back from there but to go there again
        ("", {}, ()),
    ],
)
def test_which_filters_give_back(main: str, services: dict[str, str], found: tuple[str, ...]) -> None:
    assert content_filters(main, services) == found
