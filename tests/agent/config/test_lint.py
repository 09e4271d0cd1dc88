"""The linter names what has no effect, with its line; everything else passes in silence."""

from pathlib import Path

import pytest

from mailagent.config import lint_agent, lint_fleet

TEXT = """\
host: mx1
virtual_mtas: {a1: {address: 192.0.2.1}}
pools: {a: {active: [a1]}}
streams:
  news: {pool: a, senders: ["*@news.example", "boss@example.org"]}
  offers: {pool: a, senders: ["*@offers.example"]}
routes:
  - {match: "*.corp.example", to: "10.0.0.2:25"}
providers:
  acme: {mx: [mx.acme.example], sites: {acme: [a.mx.acme.example]}, connections: 2}
domains:
  example.com: {connections: 3}
"""
ROOT = Path(__file__).parents[3]


def warnings(tmp_path: Path, text: str) -> list[str]:
    path = tmp_path / "agent.yaml"
    path.write_text(text)
    return [str(one).removeprefix(f"{tmp_path}/") for one in lint_agent(path)]


def test_a_sound_file_has_no_warning(tmp_path: Path) -> None:
    assert warnings(tmp_path, TEXT) == []
    assert lint_fleet(ROOT / "fleet.yaml.example") == []


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        (
            "mx: [mx.acme.example]",
            "mx: [mx.acme.example.]",
            "10: providers.acme.mx[0]: `mx.acme.example.` ends in a",
        ),
        (
            "mx: [mx.acme.example]",
            "mx: [acme.example, .mx.acme.example]",
            "10: providers.acme.mx[1]: `.mx.acme.example` is never needed: everything under it is under `acme.example`",
        ),
        (
            "[a.mx.acme.example]",
            "[a.mx.acme.example, b.example]",
            "10: providers.acme.sites.acme: never has this provider's limits: b.example lies under none of its `mx`",
        ),
        (
            "connections: 2",
            "connections: 5, provider_connections: 2",
            "10: providers.acme.provider_connections: 5 connections to one site are never reached: all sites have 2",
        ),
        ("acme: {mx", "gmail: {connections: 9}\n  acme: {mx", "10: providers.gmail.connections: 9 connections to one"),
        (
            "connections: 2",
            "recipients_per_transaction: 500",
            "10: providers.acme.recipients_per_transaction: is never reached: `delivery.max_recipients` is 100",
        ),
        (
            "connections: 3}",
            "recipients_per_connection: 5, recipients_per_transaction: 9}",
            "12: domains.example.com.recipients_per_transaction: is never reached: `recipients_per_connection` is 5",
        ),
        (
            'corp.example", to: "10.0.0.2:25"',
            'c.example", to: "a:25", connections: 2000',
            "8: routes[0].connections:",
        ),
        ("example.com:", "a.corp.example:", "12: domains.a.corp.example: only `retry` has an effect: routes[0] takes"),
        (
            "connections: 2",
            "rules: {all: {categories: [other]}, some: {categories: [other], text: busy}}",
            "10: providers.acme.rules.some: never matches: rule all comes before it and takes all that",
        ),
        (
            "connections: 2",
            r"rules: {one: {text: '\\\\[TS01'}}",
            "10: providers.acme.rules.one.text: has a doubled backslash",
        ),
        (
            "connections: 2",
            'connections: 2, rules: {one: {text: x, act: limit, set: {connections: "2"}}}',
            "10: providers.acme.rules.one.set.connections: changes nothing: `connections` is 2 anyway",
        ),
        (
            '"*@offers.example"',
            '"*@offers.example", "x@news.example"',
            "6: streams.offers.senders[1]: `x@news.example` never matches: a pattern of stream news takes all that",
        ),
    ],
)
def test_what_has_no_effect_is_named_with_its_line(tmp_path: Path, old: str, new: str, message: str) -> None:
    assert old in TEXT
    (found,) = warnings(tmp_path, TEXT.replace(old, new))
    assert f"agent.yaml:{message}" in found


def test_keys_that_only_the_pool_of_a_destination_has_are_warned_of(tmp_path: Path) -> None:
    text = TEXT.replace("pools: {a: {active: [a1]}}", "pools: {a: {active: [a1]}, b: {active: [a1]}}")
    text = text.replace("news: {pool: a,", "news: {pool: a, pools: {acme: b},")
    keys = "dkim: {keys: [{domain: news.example, pool: %s, selector: s1, file: k.pem}]}\n"
    (found,) = warnings(tmp_path, text + keys % "b")
    assert "streams.news.pools.acme: is unsigned for news.example: the keys of a sign it" in found
    assert warnings(tmp_path, text + keys % "a") == []
