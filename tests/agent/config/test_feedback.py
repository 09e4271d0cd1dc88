"""Mistakes in `feedback` and `bounces` are found, each with its key."""

from pathlib import Path

import pytest

from mailagent.config import ConfigError, load_agent

AGENT = """\
host: mx1
virtual_mtas: {a1: {address: 127.0.0.1}}
pools: {p: {active: [a1]}}
streams: {news: {pool: p, bounces: {domain: bounce.example}}}
"""


def load(directory: Path, text: str) -> None:
    path = directory / "agent.yaml"
    path.write_text(AGENT + text, encoding="utf-8")
    load_agent(path)


def test_what_is_right_loads(tmp_path: Path) -> None:
    load(tmp_path, "feedback: {domains: [fbl.example], complaints: [fbl, a.b], postmaster: ops@corp.example}\n")


@pytest.mark.parametrize(
    ("section", "key"),
    [
        ("domains: [not_a/domain]", "feedback.domains[0]"),
        ("complaints: [a@b.example]", "feedback.complaints[0]"),
        ("complaints: [fbl+x]", "feedback.complaints[0]"),
        ("complaints: [abuse]", "feedback.complaints[0]"),
        ("dmarc: [fbl]", "feedback.dmarc[0]"),
        ("tls: [B]", "feedback.tls[0]"),
        ("postmaster: nobody", "feedback.postmaster"),
        ("postmaster: ops@Bounce.example", "feedback.postmaster"),
        ("token_age: 500d", "feedback.token_age"),
        ("max_recipients: 0", "feedback.max_recipients"),
    ],
)
def test_mistakes(tmp_path: Path, section: str, key: str) -> None:
    with pytest.raises(ConfigError) as found:
        load(tmp_path, f"feedback: {{{section}}}\n")
    assert f": {key}: " in str(found.value)


@pytest.mark.parametrize("domain", ["a b", ".".join(["x" * 50] * 5)])
def test_bounce_domains(tmp_path: Path, domain: str) -> None:
    path = tmp_path / "agent.yaml"
    path.write_text(AGENT.replace("bounce.example", f'"{domain}"'), encoding="utf-8")
    with pytest.raises(ConfigError, match=r"streams\.news\.bounces\.domain"):
        load_agent(path)
