"""Kinds of streams: what they set, what goes before, and what a host's file keeps of it."""

from datetime import timedelta
from pathlib import Path

import pytest

from mailagent.config import ConfigError, dump_agent, lint_agent, load_agent
from mailagent.config.checks.streams import stream_lines
from mailagent.config.streams import KINDS, Check, Protect, StreamKind
from mailagent.config.structs import AgentConfig, Priority

HEAD = """\
host: mx1
virtual_mtas: {m-1: {address: 192.0.2.1}, t-1: {address: 192.0.2.2}}
pools: {marketing: {active: [m-1]}, tx: {active: [t-1]}}
"""


def load(tmp_path: Path, streams: str) -> AgentConfig:
    path = tmp_path / "agent.yaml"
    path.write_text(HEAD + streams)
    return load_agent(path)


@pytest.mark.parametrize("kind", StreamKind)
def test_each_kind_says_how_its_mail_goes(tmp_path: Path, kind: StreamKind) -> None:
    stream = load(tmp_path, f"streams: {{x: {{pool: tx, kind: {kind}}}}}\n").streams
    (found,) = stream.values()
    assert found.kind is kind
    assert found.priority == KINDS[kind]["priority"]
    assert found.latency is not None
    assert found.isolation
    assert found.checks.aligned is not Check.OFF


def test_own_keys_go_before_those_of_the_kind(tmp_path: Path) -> None:
    text = """\
streams:
  news:
    pool: marketing
    kind: marketing
    priority: normal
    latency: 30m
    checks: {unsubscribe: off, size: warn}
    protect: {action: warn}
"""
    (news,) = load(tmp_path, text).streams.values()
    assert (news.priority, news.latency, news.isolation) == (Priority.NORMAL, timedelta(minutes=30), "marketing")
    assert (news.checks.unsubscribe, news.checks.size, news.checks.mime) == (Check.OFF, Check.WARN, Check.REFUSE)
    assert news.protect.action is Protect.WARN


def test_what_goes_before_the_kind_survives_the_file_of_a_host(tmp_path: Path) -> None:
    text = "streams: {x: {pool: tx, kind: cold, priority: normal, isolation: own, checks: {mime: off}}}\n"
    config = load(tmp_path, text)
    other = tmp_path / "other.yaml"
    other.write_text(dump_agent(config))
    assert load_agent(other) == config


@pytest.mark.parametrize(
    ("stream", "message"),
    [
        ("kind: bulk", "is none of transactional"),
        ("kind: marketing, checks: {mime: maybe}", "`maybe` is none of off, warn, refuse"),
        ("checks: {spf: warn}", "unknown key"),
        ("protect: {action: move}", "wants `move_to`"),
        ("protect: {move_to: y}", "`y` is no stream"),
        ("protect: {move_to: x}", "is the stream itself"),
        ("from_domains: [a@b.example]", "is no domain"),
        ("users: [a, a]", "belongs to stream x already"),
    ],
)
def test_mistakes_in_a_stream_are_named(tmp_path: Path, stream: str, message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        load(tmp_path, f"streams: {{x: {{pool: tx, {stream}}}}}\n")


def test_a_pool_with_two_isolation_groups_is_warned_of(tmp_path: Path) -> None:
    load(tmp_path, "streams:\n  a: {pool: tx, kind: transactional}\n  b: {pool: tx, kind: marketing}\n")
    (warning,) = lint_agent(tmp_path / "agent.yaml")
    assert "shares pool tx with stream a" in str(warning)
    assert ":6:" in str(warning)


def test_validate_says_what_holds_for_a_kind(tmp_path: Path) -> None:
    (line,) = stream_lines(load(tmp_path, "streams: {x: {pool: tx, kind: transactional}}\n"))
    assert line == (
        "stream x: transactional, pool tx, priority high, latency 10s, isolation transactional, checks aligned warn,"
        " date warn, message_id warn, plain_text warn, mime warn, bulk-looking mail refuse"
    )
