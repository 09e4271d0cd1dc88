"""Domain blocks, pools by destination, rates of bytes, and rules of automation in a file."""

from pathlib import Path

import pytest

from mailagent.config import dump_agent, host_part
from mailagent.config.scalars import parse_byte_rate
from mailagent.config.structs import ByteRate
from tests.agent.config.test_loader import agent, fleet, mistakes

TEXT = """\
host: mx1
virtual_mtas: {a1: {address: 192.0.2.1}, g1: {address: 192.0.2.2}, b1: {address: 192.0.2.3}}
pools: {a: {active: [a1]}, g: {active: [g1]}, b: {active: [b1]}}
streams:
  news: {pool: a, pools: {gmail: g}}
  other: {pool: b}
domains:
  example.com: {rollup: acme, connections: 3, retry: {waits: [15m]}}
  example.org: {rollup: acme}
  example.net: {rollup: off}
  old.example: {queue_to: example.com}
"""


def test_domain_blocks_load_and_are_written_again(tmp_path: Path) -> None:
    config = agent(tmp_path, TEXT)
    rollups = {name: block.rollup_of(name) for name, block in config.domains.items()}
    assert rollups == {"example.com": "acme", "example.org": "acme", "example.net": "example.net", "old.example": ""}
    assert agent(tmp_path, dump_agent(config)) == config


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ("{gmail: g}", "{gmial: g}", "`gmial` is no provider and no rollup of a domain block"),
        ("{gmail: g}", "{x.example: g}", "give the domain a block with `rollup: off`"),
        ("{gmail: g}", "{gmail: z}", "`z` is no pool; there are a, b, g"),
        ("{gmail: g}", "{gmail: b}", "`b` is used by stream other; a pool of a destination joins no two streams"),
        ("pool: b}", "pool: b, pools: {yahoo: g}}", "`g` is used by stream news; a pool of a destination joins no two"),
        ("example.org:", "Example.org:", "write it in lower case: example.org"),
        ("example.net:", "ex_ample..net:", "`ex_ample..net` is no domain"),
        ("rollup: acme}", 'rollup: "a b"}', "`a b` is no name"),
        ("queue_to: example.com", "queue_to: old.example", "is the domain itself"),
        ("rollup: off}", "queue_to: old.example}", "old.example is queued to example.com itself; name that one"),
        ("queue_to: example.com", "queue_to: example.com, rate: 1/s", "has no effect: all limits are those of"),
        ("connections: 3", "bytes_rate: 3/s/s", "is no rate of bytes; write 10M/s or 2G/h"),
        ("connections: 3", "rate: 0/s", "never lets anything through"),
        (
            "domains:",
            "automation: {off: [gmail.unusul-rate]}\ndomains:",
            "`gmail.unusul-rate` is no rule; there are gmail",
        ),
        ("domains:", "automation: {share: 2}\ndomains:", "must be above 0 and at most 1"),
        ("domains:", "automation: {life: 2d}\ndomains:", "is longer than a day"),
        ("domains:", "providers: {gmail: {rules: {x: {act: hold}}}}\ndomains:", "would match every reply"),
        ("domains:", "providers: {gmail: {rules: {x: {text: '('}}}}\ndomains:", "is no regular expression: missing )"),
        ("domains:", "providers: {gmail: {rules: {x: {text: a, example: b}}}}\ndomains:", "is not matched by `text`"),
        ("domains:", "providers: {gmail: {rules: {x: {text: a, steps: []}}}}\ndomains:", "names nothing that could go"),
        ("domains:", "providers: {gmail: {rules: {x: {text: a, act: limit}}}}\ndomains:", "goes with `act: limit`"),
        (
            "domains:",
            "providers: {gmail: {rules: {x: {text: a, act: limit, set: {conections: '1'}}}}}\ndomains:",
            "`conections` is no limit; there are bytes_rate, connect_rate",
        ),
    ],
)
def test_mistakes_are_named(tmp_path: Path, old: str, new: str, message: str) -> None:
    assert old in TEXT
    (found,) = mistakes(tmp_path, TEXT.replace(old, new))
    assert message in found


def test_a_host_without_a_destination_pool_uses_the_streams_own(tmp_path: Path) -> None:
    text = """\
hosts:
  mx1: {virtual_mtas: {a1: {address: 192.0.2.1}, g1: {address: 192.0.2.2}}}
  mx2: {virtual_mtas: {a2: {address: 192.0.2.3}}}
pools: {a: {active: [a1, a2]}, g: {active: [g1]}}
streams: {news: {pool: a, pools: {gmail: g}}}
"""
    whole = fleet(tmp_path, text)
    pools = [dict(host_part(whole, host).streams.popitem()[1].pools) for host in whole.hosts]
    assert pools == [{"gmail": "g"}, {}]


@pytest.mark.parametrize(("text", "count"), [("10M/s", 10 * 1024**2), ("2G/h", 2 * 1024**3), ("1500/30s", 1500)])
def test_rates_of_bytes_are_read_and_written(text: str, count: int) -> None:
    rate = parse_byte_rate(text)
    assert isinstance(rate, ByteRate)
    assert (rate.count, str(rate)) == (count, text)
