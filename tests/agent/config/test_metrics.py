"""The `metrics` section: what it means, what it may not say, what it is warned of."""

from ipaddress import ip_address
from pathlib import Path

import pytest

from mailagent.config import ConfigError, dump_agent, host_part, lint_agent, lint_fleet, load_agent, load_fleet
from mailagent.config.metrics import Metrics

HEAD = """\
host: mx1
intake:
  listeners: [{address: 127.0.0.1, port: 2525}, {address: 0.0.0.0, port: 25}]
  ready: 127.0.0.1:8025
"""


def load(tmp_path: Path, text: str) -> Metrics | None:
    path = tmp_path / "agent.yaml"
    path.write_text(HEAD + text)
    return load_agent(path).metrics


def test_nothing_listens_unless_the_file_says_so(tmp_path: Path) -> None:
    assert load(tmp_path, "") is None


def test_an_empty_section_is_loopback(tmp_path: Path) -> None:
    assert load(tmp_path, "metrics: {}") == Metrics(address=ip_address("127.0.0.1"), port=9464)
    assert lint_agent(tmp_path / "agent.yaml") == []


def test_ipv6_and_a_port_of_the_kernels_choice(tmp_path: Path) -> None:
    assert load(tmp_path, 'metrics: {address: "::1", port: 0}') == Metrics(address=ip_address("::1"), port=0)
    assert lint_agent(tmp_path / "agent.yaml") == []


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("{port: 2525}", "metrics.port: 127.0.0.1 port 2525 is that of intake.listeners[0]"),
        ("{address: 127.0.0.2, port: 25}", "metrics.port: 0.0.0.0 port 25 is that of intake.listeners[1]"),
        ("{address: 0.0.0.0, port: 8025}", "metrics.port: 127.0.0.1 port 8025 is that of intake.ready"),
        ("{address: 224.0.0.1}", "metrics.address: nothing can listen on 224.0.0.1"),
        ("{address: localhost}", "metrics.address: `localhost` is no IP address"),
        ("{port: 65536}", "metrics.port: "),
        ("{port: -1}", "metrics.port: "),
        ("{path: /x}", "metrics.path: "),
        ("127.0.0.1:9464", "metrics: "),
    ],
)
def test_mistakes_are_named_with_their_line(tmp_path: Path, text: str, message: str) -> None:
    with pytest.raises(ConfigError) as caught:
        load(tmp_path, f"metrics: {text}")
    assert f"agent.yaml:5: {message}" in str(caught.value)


@pytest.mark.parametrize("address", ["0.0.0.0", "192.0.2.1", "::", "10.0.0.1"])
def test_an_address_that_others_reach_is_warned_of(tmp_path: Path, address: str) -> None:
    load(tmp_path, f'metrics: {{address: "{address}", port: 9464}}')
    (warning,) = lint_agent(tmp_path / "agent.yaml")
    assert (warning.line, warning.key) == (5, "metrics.address")
    assert f"whoever reaches {address} port 9464 reads" in warning.message
    assert "firewall" in warning.message


FLEET = """\
hosts:
  mx1: {{metrics: {{address: {address}}}}}
  mx2: {{machine: box, state_dir: /a, rpc: {{socket: /a/s}}, metrics: {{}}}}
  mx3: {{machine: box, state_dir: /b, rpc: {{socket: /b/s}}, metrics: {{port: {port}}}}}
"""


def test_a_fleet_file_has_one_per_host_and_each_host_its_own(tmp_path: Path) -> None:
    path = tmp_path / "fleet.yaml"
    path.write_text(FLEET.format(address="10.0.0.1", port=9465))
    fleet = load_fleet(path)
    (warning,) = lint_fleet(path)
    assert (warning.line, warning.key) == (2, "hosts.mx1.metrics.address")
    for name, host in fleet.hosts.items():
        own = tmp_path / "agent.yaml"
        own.write_text(dump_agent(host_part(fleet, name)))
        assert load_agent(own).metrics == host.metrics


def test_two_agents_of_a_machine_cannot_have_one_port(tmp_path: Path) -> None:
    path = tmp_path / "fleet.yaml"
    path.write_text(FLEET.format(address="127.0.0.1", port=9464))
    with pytest.raises(
        ConfigError, match=r"hosts\.mx3\.metrics\.port: metrics at 127\.0\.0\.1, port 9464, is that of mx2"
    ):
        load_fleet(path)
