"""Questions to block lists and their answers (RFC 5782)."""

from ipaddress import ip_address

import pytest

from mailagent.dns import Failed, Found, NoData, NxDomain
from mailagent.dns.answers import AddressAnswer
from mailagent.reputation.answer import Clean, Listed, NotKept, Unknown, distrust, question, verdict

SOLD = Unknown("it answers 192.0.2.1: the zone belongs to somebody else now", is_false=True)
MEANINGS = {"127.0.0.2": "SBL"}


def found(*addresses: str) -> AddressAnswer:
    return Found(tuple(map(ip_address, addresses)))


@pytest.mark.parametrize(
    ("address", "name"),
    [
        ("192.0.2.99", "99.2.0.192.bad.example.com"),  # section 2.1
        (
            "2001:db8:1:2:3:4:567:89ab",
            "b.a.9.8.7.6.5.0.4.0.0.0.3.0.0.0.2.0.0.0.1.0.0.0.8.b.d.0.1.0.0.2.bad.example.com",  # section 2.4
        ),
    ],
)
def test_a_question_has_the_address_in_reverse(address: str, name: str) -> None:
    assert question(ip_address(address), "bad.example.com") == name


@pytest.mark.parametrize(
    ("answer", "wanted"),
    [
        (NxDomain(), Clean()),
        (NoData(), Clean()),
        (found("127.0.0.2"), Listed("SBL")),
        (found("127.0.0.2", "127.0.0.4"), Listed("SBL, 127.0.0.4")),
        (found("127.0.0.4", "127.0.0.2"), Listed("SBL, 127.0.0.4")),
        (found("127.0.0.7"), Listed("127.0.0.7")),
        (Failed("no answer in 5 s"), Unknown("no answer in 5 s")),
        (Found((ip_address("127.0.0.2"),), stale=True), Unknown("no answer; the last one has expired")),
        (found("127.0.0.1"), Unknown("it refuses to say (127.0.0.1)")),
        (found("127.255.255.255"), Unknown("it was asked too often from here")),
        (found("127.0.0.2", "127.255.255.255"), Unknown("it was asked too often from here")),
        (found("127.255.255.7"), Unknown("it refuses to say (127.255.255.7)")),
        (found("192.0.2.1"), SOLD),
        (found("127.0.0.2", "192.0.2.1"), SOLD),
    ],
)
def test_only_an_address_of_127_that_is_no_error_is_a_listing(answer: AddressAnswer, wanted: object) -> None:
    assert verdict(answer, MEANINGS) == wanted


@pytest.mark.parametrize(
    ("listed", "clean", "words", "is_false"),
    [
        (found("127.0.0.2"), found("127.0.0.2"), "lists everybody", True),
        (found("192.0.2.1"), found("192.0.2.1"), "belongs to somebody else", True),
        (NxDomain(), NxDomain(), "does not list its own test entry", False),
        (Failed("SERVFAIL"), NxDomain(), "SERVFAIL", False),
        (found("127.0.0.2"), Failed("SERVFAIL"), "SERVFAIL", False),
        (found("127.255.255.254"), found("127.255.255.254"), "public resolver", False),
    ],
)
def test_a_list_is_believed_when_it_knows_its_test_entries(
    listed: AddressAnswer, clean: AddressAnswer, words: str, is_false: bool
) -> None:  # section 5
    why_not = distrust(listed, clean, version=4)
    assert isinstance(why_not, Unknown)
    assert words in why_not.reason
    assert why_not.is_false is is_false
    assert distrust(found("127.0.0.2"), NxDomain(), version=4) is None


def test_a_list_without_an_ipv6_test_entry_keeps_no_such_addresses() -> None:
    assert distrust(NxDomain(), NxDomain(), version=6) == NotKept()
    assert distrust(found("127.0.0.2"), NxDomain(), version=6) is None
    assert isinstance(distrust(Failed("SERVFAIL"), NxDomain(), version=6), Unknown)
