"""The `reputation` section."""

from datetime import timedelta
from pathlib import Path

import pytest

from mailagent.api.reputation import Weight
from mailagent.config import ConfigError, load_agent
from mailagent.config.block_lists import not_to_ask, shipped_lists, zones
from mailagent.config.reputation import BlockList
from mailagent.config.structs import AgentConfig

HOST = """\
host: mx1
virtual_mtas: {a1: {address: 127.0.0.1}}
pools: {default: {active: [a1]}}
streams: {default: {pool: default}}
reputation: {block_lists: {%s}}
"""


def load(directory: Path, lists: str) -> AgentConfig:
    file = directory / "agent.yaml"
    file.write_text(HOST % lists, encoding="utf-8")
    return load_agent(file)


def test_lists_are_as_shipped_until_the_file_says_otherwise(tmp_path: Path) -> None:
    text = (
        "Zen.Spamhaus.org: {}, zen.copy.example: {like: zen.spamhaus.org, every: 1h},"
        " bl.own.example: {weight: info, answers: {127.0.0.9: hearsay}}"
    )
    zen, copy, own = zones(load(tmp_path, text).reputation.block_lists)
    assert (zen.weight, zen.every, zen.answers["127.0.0.2"]) == (Weight.HIGH, timedelta(minutes=30), "SBL")
    assert (copy.name, copy.weight, copy.every) == ("zen.copy.example", Weight.HIGH, timedelta(hours=1))
    assert copy.answers == zen.answers
    assert (own.weight, own.every, own.answers) == (Weight.INFO, timedelta(hours=4), {"127.0.0.9": "hearsay"})


def test_no_list_is_asked_that_the_file_does_not_name(tmp_path: Path) -> None:
    assert zones(load(tmp_path, "").reputation.block_lists) == []


def test_what_is_shipped_lives() -> None:
    assert not [one for one in shipped_lists() for other in not_to_ask() if one == other or one.endswith(f".{other}")]
    assert all(isinstance(one, BlockList) and one.weight is not None for one in shipped_lists().values())


@pytest.mark.parametrize(
    ("lists", "message"),
    [
        ("Spam.DNSBL.Sorbs.net: {}", "is not to be asked: it ended 2024-06-05"),
        ("list.dnswl.org: {}", "is not to be asked: it lists good senders"),
        ("10.0.0.1: {}", "`10.0.0.1` is no DNS zone"),
        ("bl.example: {answers: {127.0.0.1: no}}", "`127.0.0.1` is no listing"),
        ("bl.example: {answers: {127.255.255.254: no}}", "`127.255.255.254` is no listing"),
        ("zen: {}", "`zen` is no DNS zone"),
        ("'no zone.example': {}", "`no zone.example` is no DNS zone"),
        ("bl.example: {like: zen}", "block_lists.bl.example.like: `zen` is no shipped list; there are"),
        ("bl.example: {every: 10s}", "every: is less than a minute"),
        ("bl.example: {answers: {192.0.2.1: no}}", "`192.0.2.1` is no listing: those are 127.0.0.0/8"),
        ("bl.example: {weight: heavy}", "weight"),
        ("bl.example: {colour: blue}", "colour: unknown key"),
    ],
)
def test_mistakes_are_told_by_key(tmp_path: Path, lists: str, message: str) -> None:
    with pytest.raises(ConfigError) as caught:
        load(tmp_path, lists)
    assert message in str(caught.value)
