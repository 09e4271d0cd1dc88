from datetime import timedelta
from ipaddress import IPv4Address, ip_network
from pathlib import Path

import pytest

from mailagent.api.ids import HostName, PoolName, ProviderName, StreamName, VmtaName
from mailagent.api.requests import Role
from mailagent.config import (
    AgentConfig,
    ConfigError,
    FleetConfig,
    host_part,
    load_agent,
    load_agent_with_origins,
    load_fleet,
)
from mailagent.config.structs import Endpoint, Listener, Priority, Rate, Transport

SINGLE_HOST = """\
host: mx1
state_dir: ./state                 # spool, accounting, audit
rpc: {socket: ./state/rpc.sock}
intake:
  listeners: [{address: 127.0.0.1, port: 2526}]
  relay_from: [127.0.0.0/8]
virtual_mtas:
  a1: {address: 127.0.0.1, ehlo: mx1.example.test}
pools:
  default: {active: [a1]}
streams:
  default: {pool: default}
routes:
  - {match: "*", to: "127.0.0.1:2525"}      # fixed next hop instead of MX lookup
"""
FLEET = """\
hosts:
  mx1:
    virtual_mtas:
      a1: {address: 192.0.2.1}
  mx2:
    virtual_mtas:
      b1: {address: 192.0.2.2}
pools:
  p: {active: [a1, b1]}
"""


def agent(tmp_path: Path, text: str) -> AgentConfig:
    path = tmp_path / "agent.yaml"
    path.write_text(text)
    return load_agent(path)


def fleet(tmp_path: Path, text: str) -> FleetConfig:
    path = tmp_path / "fleet.yaml"
    path.write_text(text)
    return load_fleet(path)


def mistakes(tmp_path: Path, text: str, *, of_fleet: bool = False) -> list[str]:
    """What is wrong with a file, without the folder in front."""
    with pytest.raises(ConfigError) as caught:
        fleet(tmp_path, text) if of_fleet else agent(tmp_path, text)
    return [str(problem).removeprefix(f"{tmp_path}/") for problem in caught.value.errors]


def test_the_file_of_a_single_host_loads_as_written(tmp_path: Path) -> None:
    config = agent(tmp_path, SINGLE_HOST)
    assert config.host == "mx1"
    assert config.rpc.socket == tmp_path / "state/rpc.sock"
    assert config.intake.listeners == (Listener(address=IPv4Address("127.0.0.1"), port=2526),)
    assert config.intake.relay_from == (ip_network("127.0.0.0/8"),)
    assert config.pools[PoolName("default")].active == ("a1",)
    assert config.routes[0].to == Endpoint(host="127.0.0.1", port=2525)
    assert config.virtual_mtas[VmtaName("a1")].ehlo == "mx1.example.test"


def test_every_kind_of_value_is_read(tmp_path: Path) -> None:
    config = fleet(
        tmp_path,
        """\
hosts:
  mx1:
    ssh: {address: 192.0.2.1, port: 2222, user: ops, identity: keys/id, config: none}
    rpc: {roles: {viewer: [staff], admin: [wheel, root]}}
    intake: {max_message_bytes: 50M, timeout: 90s}
    virtual_mtas:
      a1: {address: 10.0.0.11, address6: "2001:db8::11", weight: 3}
    log: {file: mx1.log}
  mx2: {transport: local, ssh: {config: other}}
pools:
  p: {active: [a1]}
streams:
  news: {pool: p, priority: bulk, senders: ["*@news.example.com"], headers: {X-Stream: ["news*"]}}
default_stream: news
providers:
  gmail: {rate: 20/s}
stop_grace_s: 0
""",
    )
    mx1, mx2 = config.hosts.values()
    assert mx1.ssh.identity == tmp_path / "keys/id"
    assert (mx1.ssh.config, mx1.ssh.no_config) == (None, True)
    assert (mx2.ssh.config, mx2.ssh.no_config) == (tmp_path / "other", False)
    assert mx2.transport is Transport.LOCAL
    assert mx1.rpc.roles == {Role.VIEWER: ("staff",), Role.ADMIN: ("wheel", "root")}
    assert (mx1.intake.max_message_bytes, mx1.intake.timeout) == (52_428_800, timedelta(seconds=90))
    assert mx1.log.file == tmp_path / "mx1.log"
    assert mx1.virtual_mtas[VmtaName("a1")].weight == 3
    assert config.streams[StreamName("news")].priority is Priority.BULK
    assert config.streams[StreamName("news")].headers == {"X-Stream": ("news*",)}
    assert config.providers[ProviderName("gmail")].rate == Rate(count=20, period_s=1)
    assert config.stop_grace_s == 0


def test_shipped_providers_lie_under_the_files_own(tmp_path: Path) -> None:
    own = "providers:\n  gmail: {provider_connections: 3}\n  acme: {mx: [mx.acme.example]}\n"
    config = agent(tmp_path, SINGLE_HOST + own)
    gmail = config.providers[ProviderName("gmail")]
    assert gmail.provider_connections == 3
    assert gmail.messages_per_connection == 50
    assert "google.com" in gmail.mx
    assert config.providers[ProviderName("acme")].mx == ("mx.acme.example",)
    assert {"outlook", "yahoo", "default"} <= config.providers.keys()


def test_shipped_numbers_say_where_they_come_from(tmp_path: Path) -> None:
    assert all(provider.source for provider in agent(tmp_path, SINGLE_HOST).providers.values())


def test_a_streams_retry_differs_in_one_key_and_inherits_the_others(tmp_path: Path) -> None:
    config = agent(
        tmp_path,
        SINGLE_HOST.replace("{pool: default}", "{pool: default, retry: {expire: 1d}}") + "retry: {waits: [10s, 60s]}\n",
    )
    retry = config.streams[StreamName("default")].retry
    assert retry is not None
    assert retry.waits == (timedelta(seconds=10), timedelta(seconds=60))
    assert retry.expire == timedelta(days=1)
    assert config.retry.expire == timedelta(days=4, hours=12)


def test_all_mistakes_come_at_once_in_order_of_their_lines(tmp_path: Path) -> None:
    assert mistakes(
        tmp_path,
        """\
host: "m x1"
state_dri: ./state
rpc: {roles: {boss: [a]}}
intake:
  listeners: [{address: 127.0.0.1, port: 252600}]
  relay_from: [10.0.0.1/8, 0.0.0.0/0]
virtual_mtas:
  a1: {address: 127.0.0.1}
  a1: {address: 127.0.0.3}
  a2: {address: 127.0.0.1}
pools:
  default: {active: [a1, zz]}
  e: {}
retry: {waits: [0s]}
routes:
  - {match: "*", to: "127.0.0.1"}
dns: off
""",
    ) == [
        "agent.yaml:1: host: `m x1` is no name: letters, digits, dot, hyphen and underscore, at most 63",
        "agent.yaml:2: state_dri: unknown key; did you mean `state_dir`?",
        "agent.yaml:3: rpc.roles.boss: `boss` is none of viewer, operator, admin",
        "agent.yaml:5: intake.listeners[0].port: `252600` is no port (0 to 65535)",
        "agent.yaml:6: intake.relay_from[0]: `10.0.0.1/8` has bits behind its prefix; write 10.0.0.0/8",
        "agent.yaml:6: intake.relay_from[1]: 0.0.0.0/0 lets the whole world relay; list the networks of your clients",
        "agent.yaml:9: virtual_mtas.a1: stands twice; the first is on line 8",
        "agent.yaml:10: virtual_mtas.a2.address: 127.0.0.1 belongs to virtual MTA a1 already",
        "agent.yaml:10: virtual_mtas.a2: is in no pool, so nothing would ever leave from it; list it in one",
        "agent.yaml:12: pools.default.active[1]: `zz` is no virtual MTA; there are a1, a2",
        "agent.yaml:13: pools.e: has no members",
        "agent.yaml:14: retry.waits[0]: must be longer than zero",
        "agent.yaml:16: routes[0].to: `127.0.0.1` has no port; write host:port",
        "agent.yaml:17: dns: wants a mapping: `key: value` lines, or {key: value}",
    ]


@pytest.mark.parametrize(
    ("extra", "mistake"),
    [
        ("default_stream: news\n", "default_stream: `news` is no stream; there are default"),
        ("postmaster: nobody\n", "postmaster: `nobody` is no mail address"),
        ("log: {level: LOUD}\n", "log.level: `LOUD` is none of DEBUG, INFO, WARNING, ERROR"),
        ("retry: {waits: []}\n", "retry.waits: has no wait"),
        ("retry: {jitter: 1}\n", "retry.jitter: must be from 0 to below 1"),
        ("providers: {route: {connections: 1}}\n", "providers.route: the name is taken by fixed routes"),
        ("providers: {acme: {connections: 1}}\n", "providers.acme: has no `mx`"),
        ("providers: {acme: {mx: [google.com]}}\n", "providers.acme.mx[0]: `google.com` belongs to provider gmail"),
        ("providers: {default: {mx: [example.com]}}\n", "providers.default.mx: the default provider"),
        ('dns: {servers: ["ns1:53"]}\n', "dns.servers[0]: `ns1` is a name"),
        ("delivery: {timeouts: {dot: 2h}}\n", "delivery.timeouts.dot: is longer than an hour"),
        ("queue: {window: 0}\n", "queue.window: `0` is no whole number from 1 on"),
        ("queue: {}\nqueue: {}\n", "queue: stands twice"),
        ("postmaster: [a@example.com]\n", "postmaster: wants one value"),
        ("postmaster:\n", "postmaster: has no value"),
        ("dns: {servers: 127.0.0.1:53}\n", "dns.servers: wants a list"),
        ("suppression: {incident: {share: 2}}", "suppression.incident.share: is a share"),
        ("suppression: {soft: {over: 30d, forget: 10d}}", "suppression.soft.forget: is shorter than `over`"),
        ("suppression: {intake: ignore}", "suppression.intake: "),
        ("classification: {patience: 4}", "classification.patience: `4` has no unit"),
    ],
)
def test_a_mistake_is_named_with_its_key(tmp_path: Path, extra: str, mistake: str) -> None:
    (found,) = mistakes(tmp_path, SINGLE_HOST + extra)
    assert mistake in found


@pytest.mark.parametrize(
    ("old", "new", "mistake"),
    [
        ("{pool: default}", "{pool: defualt}", "streams.default.pool: `defualt` is no pool; there are default"),
        ("{pool: default}", "{}", "streams.default.pool: is missing"),
        ("host: mx1", "region: eu", "host: is missing"),
        ("address: 127.0.0.1, ehlo", "address: 0.0.0.0, ehlo", "virtual_mtas.a1.address: 0.0.0.0 is no address"),
        ("address: 127.0.0.1, ehlo", "ehlo", "virtual_mtas.a1: has no address"),
        ("ehlo: mx1.example.test", 'ehlo: "a\\r\\nb"', "virtual_mtas.a1.ehlo:"),
        ("ehlo: mx1.example.test", "public: there", "virtual_mtas.a1.public: `there` is no IP address"),
        (
            "{active: [a1]}",
            "{active: [a1], standby: [a1]}",
            "pools.default.standby[0]: `a1` stands in pools.default.active",
        ),
        ('match: "*"', "match: a..b", "routes[0].match: `a..b` matches nothing"),
        ("127.0.0.1:2525", "127.0.0.1:2526", "routes[0].to: 127.0.0.1:2526 is this host's own listener"),
        ("./state/rpc.sock", "s" * 108, "rpc.socket:"),
        ("  a1:", "  a/1:", "virtual_mtas.a/1: `a/1` is no name"),
    ],
)
def test_a_change_for_the_worse_is_named(tmp_path: Path, old: str, new: str, mistake: str) -> None:
    assert any(mistake in found for found in mistakes(tmp_path, SINGLE_HOST.replace(old, new)))


def test_one_route_hides_no_other(tmp_path: Path) -> None:
    more = '  - {match: example.com, to: "127.0.0.1:2527"}\n  - {match: "*", to: "127.0.0.1:2528"}\n'
    assert mistakes(tmp_path, SINGLE_HOST + more) == [
        "agent.yaml:15: routes[1].match: is never reached: routes[0] matches everything before it",
        "agent.yaml:16: routes[2].match: `*` is matched by routes[0] already",
    ]


def test_a_mistake_makes_no_followers(tmp_path: Path) -> None:
    """What cannot be read is not called missing, unknown or unused as well."""
    assert mistakes(tmp_path, SINGLE_HOST.replace("address: 127.0.0.1, ehlo", "address: 127.0.0, ehlo")) == [
        "agent.yaml:8: virtual_mtas.a1.address: `127.0.0` is no IP address"
    ]
    assert mistakes(tmp_path, SINGLE_HOST.replace("{active: [a1]}", "{active: a1}")) == [
        "agent.yaml:10: pools.default.active: wants a list: [one, two]"
    ]


def test_a_mistake_in_the_shared_retry_is_named_once(tmp_path: Path) -> None:
    text = SINGLE_HOST.replace("{pool: default}", "{pool: default, retry: {expire: 1d}}") + "retry: {waits: [soon]}\n"
    assert mistakes(tmp_path, text) == ["agent.yaml:15: retry.waits[0]: `soon` is no duration; write 90s, 5m or 4d12h"]


@pytest.mark.parametrize(
    ("old", "new", "mistake"),
    [
        (
            "192.0.2.2",
            "192.0.2.1",
            "fleet.yaml:7: hosts.mx2.virtual_mtas.b1.address: 192.0.2.1 belongs to virtual MTA a1",
        ),
        ("b1", "a1", "fleet.yaml:7: hosts.mx2.virtual_mtas.a1: the name is taken by the virtual MTA of mx1"),
        ("  mx2:", "  mx1:", "fleet.yaml:5: hosts.mx1: stands twice; the first is on line 2"),
        ("b1]", "]", "fleet.yaml:7: hosts.mx2.virtual_mtas.b1: is in no pool"),
        (
            "  mx2:\n",
            "  mx2:\n    transport: pigeon\n",
            "fleet.yaml:6: hosts.mx2.transport: `pigeon` is none of ssh, local",
        ),
        (
            "  mx2:\n",
            "  mx2:\n    ssh: {no_config: true}\n",
            "fleet.yaml:6: hosts.mx2.ssh.no_config: unknown key; did you mean `config`?",
        ),
    ],
)
def test_a_mistake_of_the_fleet_names_the_host(tmp_path: Path, old: str, new: str, mistake: str) -> None:
    assert any(found.startswith(mistake) for found in mistakes(tmp_path, FLEET.replace(old, new), of_fleet=True))


def test_a_fleet_without_hosts_is_refused(tmp_path: Path) -> None:
    assert mistakes(tmp_path, "pools: {}\n", of_fleet=True) == ["fleet.yaml:1: hosts: is missing"]
    assert mistakes(tmp_path, "hosts: {}\n", of_fleet=True) == ["fleet.yaml:1: hosts: names no host"]


def test_a_file_that_cannot_be_read_says_so(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"none\.yaml: cannot be read: No such file"):
        load_agent(tmp_path / "none.yaml")
    binary = tmp_path / "binary.yaml"
    binary.write_bytes(b"host: mx1\nregion: \xff\n")
    with pytest.raises(ConfigError, match=r"binary\.yaml:2: is not UTF-8 text"):
        load_agent(binary)


def test_origins_name_file_and_line_of_a_key(tmp_path: Path) -> None:
    path = tmp_path / "agent.yaml"
    path.write_text(SINGLE_HOST + "providers:\n  gmail:\n    provider_connections: 3\n")
    _, origins = load_agent_with_origins(path)
    assert origins.find("providers.gmail.provider_connections") == "agent.yaml:17"
    assert origins.find("providers.gmail.messages_per_connection").startswith("providers.yaml:")
    assert origins.find("routes[0].to") == "agent.yaml:14"
    assert origins.find("queue.window") == "default"


def test_a_hosts_own_file_is_a_fleet_of_one_host(tmp_path: Path) -> None:
    own = agent(tmp_path, SINGLE_HOST)
    made = load_fleet(tmp_path / "agent.yaml")
    assert made.hosts[HostName("mx1")].transport is Transport.LOCAL
    assert host_part(made, HostName("mx1")) == own


def test_a_mistake_in_it_is_named_where_it_stands(tmp_path: Path) -> None:
    path = tmp_path / "agent.yaml"
    path.write_text("host: mx1\nvirtual_mtas: {a1: {adress: 127.0.0.1}}\ncolour: red\n")
    with pytest.raises(ConfigError) as caught:
        load_fleet(path)
    told = str(caught.value)
    assert "agent.yaml:2: hosts.mx1.virtual_mtas.a1.adress: unknown key; did you mean `address`?" in told
    assert "agent.yaml:3: colour: unknown key" in told


def test_a_fleet_file_is_no_hosts_own_file(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"agent\.yaml:1: hosts: this is a fleet file: `mailctl validate` checks it"):
        agent(tmp_path, FLEET)
