"""Mistakes around `engine: postfix` are found, each with its key."""

from datetime import timedelta
from pathlib import Path

import pytest

from mailagent.config import AgentConfig, ConfigError, dump_agent, load_agent, load_fleet
from mailagent.config.postfix import EngineKind

AGENT = "host: mx1\nengine: postfix\n"
MACHINE = """\
hosts:
  one: {{machine: mx1, state_dir: /srv/one, rpc: {{socket: /run/1}}, engine: postfix, postfix: {{{first}}}}}
  two: {{machine: mx1, state_dir: /srv/two, rpc: {{socket: /run/2}}, engine: postfix, postfix: {{{second}}}}}
"""


def load(directory: Path, text: str) -> AgentConfig:
    path = directory / "agent.yaml"
    path.write_text(text, encoding="utf-8")
    return load_agent(path)


def test_what_is_right_loads_and_is_written_again(tmp_path: Path) -> None:
    text = AGENT + "postfix: {instance: /etc/postfix-out, command: [docker, exec, -i, pf], log: journal, poll: 10s}\n"
    config = load(tmp_path, text)
    assert (config.engine, config.postfix.poll) == (EngineKind.POSTFIX, timedelta(seconds=10))
    assert config.postfix.command == ("docker", "exec", "-i", "pf")
    assert load(tmp_path, dump_agent(config)) == config


@pytest.mark.parametrize(
    ("section", "key"),
    [
        ("engine: mailagent\npostfix: {instance: postfix-out}", "postfix"),
        ("engine: sendmail", "engine"),
        ("engine: postfix\nintake: {listeners: [{address: 127.0.0.1, port: 2525}]}", "intake"),
        ('engine: postfix\nvirtual_mtas: {a1: {address6: "::1"}}\npools: {p: {active: [a1]}}', "virtual_mtas.a1"),
        ("engine: postfix\npostfix: {instance: ../etc}", "postfix.instance"),
        ("engine: postfix\npostfix: {instance: -x}", "postfix.instance"),
        ("engine: postfix\npostfix: {command: ['']}", "postfix.command"),
        ("engine: postfix\npostfix: {helper: [--yes]}", "postfix.helper"),
        ("engine: postfix\npostfix: {log: mail.log}", "postfix.log"),
        ("engine: postfix\npostfix: {log: journal, log_command: [cat]}", "postfix.log"),
        ("engine: postfix\npostfix: {poll: 0s}", "postfix.poll"),
        ("engine: postfix\npostfix: {timeout: 1h}", "postfix.timeout"),
    ],
)
def test_each_mistake_is_told_at_its_key(tmp_path: Path, section: str, key: str) -> None:
    with pytest.raises(ConfigError) as caught:
        load(tmp_path, f"host: mx1\n{section}\n")
    assert [problem.key for problem in caught.value.errors] == [key]


@pytest.mark.parametrize(
    ("first", "second", "clash"),
    [
        ("", "", True),
        ("instance: postfix-out", "instance: postfix-out", True),
        ("instance: postfix-out", "", False),
        ("instance: a, command: [docker, exec, x]", "instance: a, command: [docker, exec, y]", False),
    ],
)
def test_two_agents_of_a_machine_do_not_share_an_instance(tmp_path: Path, first: str, second: str, clash: bool) -> None:
    path = tmp_path / "fleet.yaml"
    path.write_text(MACHINE.format(first=first, second=second), encoding="utf-8")
    if not clash:
        assert len(load_fleet(path).hosts) == 2
        return
    with pytest.raises(ConfigError, match="is that of one, on the same machine"):
        load_fleet(path)
