"""What one configuration changes against another, as an operator reads it."""

from datetime import UTC, datetime
from pathlib import Path

import pytest

from mailagent.api.directives import Directive, DirectiveKind
from mailagent.api.ids import DirectiveId, OpId
from mailagent.api.rollout import How
from mailagent.api.targets import Target, TargetKind
from mailagent.config import load_agent
from mailagent.config.structs import AgentConfig
from mailagent.rollout.difference import ceilings, changes, misfits, restart_keys, touched

BASE = """\
host: mx1
virtual_mtas:
  mkt-1: {address: 127.0.1.1}
  mkt-2: {address: 127.0.1.2}
  mkt-3: {address: 127.0.1.3}
  tx-1: {address: 127.0.2.1, vmta_rate: 100/s}
pools:
  marketing: {active: [mkt-1, mkt-2], standby: [mkt-3]}
  tx: {active: [tx-1]}
streams:
  marketing: {pool: marketing}
  tx: {pool: tx, senders: ["*@tx.example"]}
default_stream: marketing
providers:
  gmail: {rate: 20/s}
routes:
  - {match: a.example, to: "127.0.0.1:2525"}
  - {match: b.example, to: "127.0.0.1:2526"}
"""


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return tmp_path


def config(folder: Path, *edits: tuple[str, str]) -> AgentConfig:
    text = BASE
    for old, new in edits:
        assert old in text
        text = text.replace(old, new)
    path = folder / "agent.yaml"
    path.write_text(text, encoding="utf-8")
    return load_agent(path)


def directive(
    kind: DirectiveKind, target: str, *, standby: str = "", limit: str = "", value: str = "", rule: str = ""
) -> Directive:
    name, _, rest = target.partition(":")
    return Directive(
        id=DirectiveId("d-1"),
        kind=kind,
        target=Target(kind=TargetKind(name), name=rest),
        author="alice",
        reason="night",
        created_at=datetime(2026, 7, 1, tzinfo=UTC),
        expires_at=None,
        op_id=OpId("op"),
        standby=standby,
        limit=limit,
        value=value,
        rule=rule,
    )


def test_equal_files_differ_in_nothing(folder: Path) -> None:
    one, other = config(folder), config(folder)
    assert (changes(one, other), ceilings(one, other), restart_keys(one, other)) == ([], [], ())
    assert not touched(one, other).pools


def test_parts_are_named_with_what_becomes_of_them(folder: Path) -> None:
    found = changes(
        config(folder),
        config(
            folder,
            ("active: [mkt-1, mkt-2], standby: [mkt-3]", "active: [mkt-1, mkt-3], quarantined: [mkt-2]"),
            ("gmail: {rate: 20/s}", "gmail: {rate: 10/s, connections: 3}\n  tiny: {mx: [mx.tiny.example]}"),
            ('  tx: {pool: tx, senders: ["*@tx.example"]}\n', ""),
            ("host: mx1\n", "host: mx1\nretry: {expire: 2d}\n"),
        ),
    )
    rows = {(row.section, row.name): (row.how, row.detail) for row in found}
    assert rows["pool", "marketing"] == (
        How.CHANGED,
        "active: +mkt-3, -mkt-2; standby: -mkt-3; quarantined: +mkt-2",
    )
    assert rows["provider", "gmail"][1].startswith("connections: ")
    assert "rate: 20/s -> 10/s" in rows["provider", "gmail"][1]
    assert rows["provider", "tiny"] == (How.ADDED, "{mx: [mx.tiny.example]}")
    assert rows["stream", "tx"] == (How.REMOVED, "")
    assert rows["retry", ""] == (How.CHANGED, "expire: 4d12h -> 2d")


def test_the_order_of_routes_is_a_change(folder: Path) -> None:
    first = '  - {match: a.example, to: "127.0.0.1:2525"}\n'
    one, other = config(folder), config(folder, (first, ""), ("routes:\n", "routes:\n"))
    assert [(row.section, row.name, row.how) for row in changes(one, other)] == [("route", "a.example", How.REMOVED)]
    second = '  - {match: b.example, to: "127.0.0.1:2526"}\n'
    (row,) = changes(one, config(folder, (first + second, second + first)))
    assert (row.section, row.detail) == ("route", "order: b.example, a.example")


def test_ceilings_say_from_and_to_for_the_paths_that_send(folder: Path) -> None:
    found = ceilings(config(folder), config(folder, ("20/s", "10/s"), ("vmta_rate: 100/s", "vmta_rate: 200/s")))
    assert [(one.provider, one.vmtas, one.limit, one.before, one.after, one.lower) for one in found] == [
        ("gmail", ("mkt-1", "mkt-2", "tx-1"), "rate", "20/s", "10/s", True),
        ("", ("tx-1",), "vmta_rate", "100/s", "200/s", False),
    ]


def test_the_default_moves_the_ceiling_of_providers_that_say_nothing(folder: Path) -> None:
    tiny = ("gmail: {rate: 20/s}", "gmail: {rate: 20/s}\n  tiny: {mx: [mx.tiny.example]}")
    changed = (tiny[0], f"{tiny[1]}\n  default: {{connections: 2}}")
    found = ceilings(config(folder, tiny), config(folder, changed))
    assert ("tiny", "connections", "2") in {(one.provider, one.limit, one.after) for one in found}


def test_restart_only_keys_are_told(folder: Path) -> None:
    other = config(folder, ("host: mx1\n", "host: mx1\nstate_dir: elsewhere\nlog: {level: DEBUG}\n"))
    assert restart_keys(config(folder), other) == ("state_dir", "log")


def test_directives_that_fit_no_more_and_those_that_the_file_says_itself(folder: Path) -> None:
    rotated = config(
        folder,
        ("active: [mkt-1, mkt-2], standby: [mkt-3]", "active: [mkt-2, mkt-3], quarantined: [mkt-1]"),
        ("gmail: {rate: 20/s}", "gmail: {rate: 10/s}"),
        ("  tx-1: {address: 127.0.2.1, vmta_rate: 100/s}\n", ""),
        ("  tx: {active: [tx-1]}\n", ""),
        ('  tx: {pool: tx, senders: ["*@tx.example"]}\n', ""),
    )
    live = (
        directive(DirectiveKind.ROTATE, "vmta:mkt-1", standby="mkt-3"),
        directive(DirectiveKind.LIMIT, "provider:gmail", limit="rate", value="10/s"),
        directive(DirectiveKind.LIMIT, "provider:gmail", limit="rate", value="5/s"),
        directive(DirectiveKind.DRAIN, "vmta:tx-1"),
        directive(DirectiveKind.DRAIN, "vmta:mkt-1"),
        directive(DirectiveKind.SUSPEND, "pool:tx"),
        directive(DirectiveKind.SUSPEND, "pool:marketing"),
    )
    found = {
        (one.directive.kind, one.directive.value or one.directive.target.name): one for one in misfits(rotated, live)
    }
    assert {key for key, one in found.items() if one.adopted} == {
        (DirectiveKind.ROTATE, "mkt-1"),
        (DirectiveKind.LIMIT, "10/s"),
        (DirectiveKind.DRAIN, "mkt-1"),
    }
    assert {key for key, one in found.items() if not one.adopted} == {
        (DirectiveKind.DRAIN, "tx-1"),
        (DirectiveKind.SUSPEND, "tx"),
    }
    assert "no virtual MTA tx-1" in found[DirectiveKind.DRAIN, "tx-1"].why


def test_what_automation_lowered_is_not_taken_for_adopted(folder: Path) -> None:
    lowered = directive(DirectiveKind.LIMIT, "provider:gmail", limit="rate", value="20/s", rule="gmail.unusual-rate")
    (found,) = misfits(config(folder), [lowered])
    assert not found.adopted
    assert found.why == "the file says rate 20/s, it says 20/s"


def test_mail_of_the_parts_that_differ_is_concerned(folder: Path) -> None:
    base = config(folder)
    reach = touched(base, config(folder, ("127.0.2.1", "127.0.2.9"), ("20/s", "10/s")))
    assert (set(reach.pools), set(reach.providers), reach.everything) == ({"tx"}, {"gmail"}, False)
    assert touched(base, config(folder, ("host: mx1\n", "host: mx1\nretry: {expire: 2d}\n"))).everything
