"""The `alerts` section."""

import re
from datetime import timedelta
from pathlib import Path

import pytest

from mailagent.config import ConfigError, dump_agent, host_part, lint_fleet, load_fleet
from mailagent.config.alerts import KINDS, Severity
from mailagent.config.structs import FleetConfig

FLEET = """\
hosts:
  mx1:
    ssh: {address: mx1.example.com}
    intake: {listeners: [{address: 0.0.0.0, port: 587}, {address: 127.0.0.1, port: 2525}], hostname: in.example.com}
    virtual_mtas: {a1: {address: 192.0.2.1, ehlo: out1.example.com}}
  mx2:
    transport: local
    intake: {listeners: [{address: "::", port: 25}]}
    virtual_mtas: {a2: {address: 192.0.2.2}}
  old: {engine: postfix, ssh: {address: old.example.com}}
pools: {default: {active: [a1, a2]}}
streams: {default: {pool: default}}
"""
MAIL = (
    "alerts: {{receivers: {{ops: {{mail: {{to: [ops@corp.example], sender: a@corp.example, relay: {relay}{more}}}}}}}}}"
)


def load(directory: Path, text: str) -> FleetConfig:
    file = directory / "fleet.yaml"
    file.write_text(FLEET + text, encoding="utf-8")
    return load_fleet(file)


def test_receivers_and_routes_are_read_and_are_no_business_of_hosts(tmp_path: Path) -> None:
    config = load(
        tmp_path,
        "alerts:\n"
        "  receivers:\n"
        "    pager: {webhook: {url: 'https://page.example/x', secret_file: key}}\n"
        "    log: {syslog: {}}\n"
        "  routes:\n"
        "    - {to: [pager], severity: critical, kinds: [lost], pools: [default], escalate: {after: 5m, to: [log]}}\n"
        "    - {to: [], kinds: [mailboxes], repeat: }\n",
    )
    first, second = config.alerts.routes
    assert (first.severity, first.kinds, first.after) == (Severity.CRITICAL, ("lost",), timedelta(minutes=2))
    assert (second.to, second.repeat) == ((), None)
    pager = config.alerts.receivers["pager"].webhook
    assert pager is not None
    assert pager.secret_file == tmp_path / "key"
    assert "alerts" not in dump_agent(host_part(config, next(iter(config.hosts))))


def test_the_page_has_an_example_that_loads_and_every_kind(tmp_path: Path) -> None:
    page = (Path(__file__).parents[3] / "docs/alerts.md").read_text(encoding="utf-8")
    (example,) = re.findall(r"^```yaml\n(.*?)^```", page, flags=re.MULTILINE | re.DOTALL)
    assert list(load(tmp_path, example).alerts.receivers) == ["pager", "ops", "log"]
    table = page.split("## Kinds")[1].split("\n## ")[0]
    assert {
        kind for kind in KINDS if f"`{kind}`" not in "".join(re.findall(r"^\|([^|]*)", table, re.MULTILINE))
    } == set()


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("receivers: {a: {}}", "receivers.a: wants one of webhook, command, mail, syslog; it has none"),
        ("receivers: {a: {syslog: {}, command: {run: [/x]}}}", "it has command and syslog"),
        ("receivers: {a: {webhook: {url: 'http://h/', secret_file: k}}}", "would send alerts in clear"),
        ("receivers: {a: {webhook: {url: 'https://h/ä', secret_file: k}}}", "a character that a URL does not have"),
        ("receivers: {a: {webhook: {url: 'https://h/'}}}", "alerts.receivers.a.webhook.secret_file: is missing"),
        ("receivers: {a: {command: {run: []}}}", "names no program"),
        ("receivers: {a: {command: {run: [page]}}}", "run[0]: `page` would be looked for in a PATH"),
        ("receivers: {a: {syslog: {socket: /dev/log, udp: 'h:514'}}}", "wants one of socket, udp and tcp"),
        ("receivers: {a: {pigeon: {}}}", "alerts.receivers.a.pigeon: unknown key"),
        ("receivers: {'a b': {syslog: {}}}", "`a b` is no name"),
        ("routes: [{to: [nobody]}]", "alerts.routes[0].to[0]: `nobody` is no receiver; none is declared"),
        ("routes: [{to: [], kinds: [colour]}]", "`colour` is none of the kinds; there are failed, lost"),
        ("routes: [{to: [], kinds: [crowded]}]", "`crowded` is none of the kinds"),
        ("routes: [{to: [], hosts: [mx9]}]", "`mx9` is none of the hosts; there are mx1, mx2, old"),
        ("routes: [{to: [], streams: [news]}]", "`news` is none of the streams; there are default"),
        ("routes: [{to: [], providers: [gmial]}]", "`gmial` is none of the providers; there are"),
        ("routes: [{to: []}, {to: [], kinds: [lost]}]", "routes[1]: is never reached: routes[0] takes everything"),
        ("receivers: {a: {syslog: {}}}, routes: [{to: [a], escalate: {to: [a]}}]", "`a` is told from the beginning"),
        ("receivers: {a: {syslog: {}}}, routes: [{to: [a, a]}]", "routes[0].to[1]: `a` stands there already"),
        ("routes: [{to: [], escalate: {to: []}}]", "escalate.to: names nobody"),
    ],
)
def test_a_mistake_has_its_place(tmp_path: Path, text: str, message: str) -> None:
    with pytest.raises(ConfigError) as caught:
        load(tmp_path, f"alerts: {{{text}}}")
    assert "fleet.yaml:13: alerts" in str(caught.value)
    assert message in str(caught.value)


def test_a_receiver_that_no_route_leads_to_is_a_warning(tmp_path: Path) -> None:
    receivers = "receivers: {a: {syslog: {}}, b: {syslog: {}}, c: {syslog: {}}}"
    load(tmp_path, f"alerts: {{{receivers}, routes: [{{to: [a], escalate: {{to: [c]}}}}]}}")
    assert [str(one).partition("yaml:")[2] for one in lint_fleet(tmp_path / "fleet.yaml")] == [
        "13: alerts.receivers.b: is never told of anything: no route leads to it"
    ]
    load(tmp_path, f"alerts: {{{receivers}}}")
    assert lint_fleet(tmp_path / "fleet.yaml") == []


@pytest.mark.parametrize(
    "relay",
    [
        "mx1.example.com:587",
        "MX1:587",
        "in.example.com:587",
        "192.0.2.1:587",
        "out1.example.com:587",
        "127.0.0.1:25",
        "'[::1]:25'",
        "localhost:25",
        "old.example.com:25",
    ],
)
def test_a_relay_is_no_host_of_the_fleet(tmp_path: Path, relay: str) -> None:
    with pytest.raises(ConfigError, match="a host of this fleet: an alert must not wait in the queue"):
        load(tmp_path, MAIL.format(relay=relay, more=""))


@pytest.mark.parametrize("relay", ["smtp.corp.example:587", "mx1.example.com:2525", "127.0.0.1:2525", "192.0.2.1:465"])
def test_other_relays_are_none_of_our_business(tmp_path: Path, relay: str) -> None:
    load(tmp_path, MAIL.format(relay=relay, more=""))


def test_a_password_does_not_cross_the_network_in_clear(tmp_path: Path) -> None:
    more = ", tls: off, account: {user: u, password_file: p}"
    with pytest.raises(ConfigError, match="would send a password in clear"):
        load(tmp_path, MAIL.format(relay="smtp.corp.example:587", more=more))
    load(tmp_path, MAIL.format(relay="127.0.0.1:587", more=more))
