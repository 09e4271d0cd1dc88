"""What the words about TLS mean together."""

from pathlib import Path

import pytest

from mailagent.config import ConfigError, load_agent
from mailagent.config.tls import TlsMode
from tests.agent.config.test_loader import SINGLE_HOST

ROUTE = 'routes: [{{match: "*.r.example", to: "smtp.example:587", {}}}]\n'


def problems(tmp_path: Path, text: str) -> list[str]:
    file = tmp_path / "agent.yaml"
    file.write_text(SINGLE_HOST.split("routes:")[0] + text, encoding="utf-8")
    try:
        load_agent(file)
    except ConfigError as exc:
        return [line.partition(": ")[2] for line in str(exc).splitlines()]
    return []


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("tls: {mode: implicit}\n", "tls.mode: `implicit` is for routes"),
        ("tls: {mode: maybe}\n", "tls.mode: `maybe` is none of off, opportunistic"),
        ("tls: {remember_broken: 31d}\n", "tls.remember_broken: is longer than 30 days"),
        ("tls: {mta_sts: {port: 0}}\n", "tls.mta_sts.port: port 0 cannot be connected to"),
        ("tls: {reports: {organization: Us}}\n", "tls.reports: wants both"),
        ("tls: {reports: {organization: Us, contact: nobody}}\n", "tls.reports.contact: `nobody` is no mail address"),
        ("tls: {reports: {organization: Üs, contact: a@b.example}}\n", "tls.reports.organization: wants ASCII"),
        (
            "tls: {reports: {organization: U, contact: a@b.example, stream: x}}\n",
            "tls.reports.stream: `x` is no stream",
        ),
        ("providers: {gmail: {tls: implicit}}\n", "providers.gmail.tls: `implicit` is for routes"),
        ("domains: {a.example: {tls: implicit}}\n", "domains.a.example.tls: `implicit` is for routes"),
        (ROUTE.format("tls: off, auth: {user: u, password_file: p}"), "routes[0].tls: with `off` the credential"),
        (ROUTE.format("tls: opportunistic, auth: {user: u, password_file: p}"), "routes[0].tls: with `opportunistic`"),
        (
            'routes: [{match: a.example, to: "r.example:25", tls: verify}, {match: b.example, to: "r.example:25"}]\n',
            "routes[1].tls: says other things about r.example:25 than routes[0]",
        ),
        (ROUTE.format("auth: {user: u}"), "routes[0].auth: wants either `password_file` or `token_file`"),
        (ROUTE.format("auth: {user: u, password_file: p, token_file: t}"), "routes[0].auth: wants either"),
        ('dns: {servers: ["192.0.2.1:53"], validating: true}\n', "dns.servers[0]: `192.0.2.1` is not on this host"),
    ],
)
def test_a_mistake_is_named_with_its_key(tmp_path: Path, text: str, problem: str) -> None:
    (found,) = problems(tmp_path, text)
    assert found.startswith(problem)


@pytest.mark.parametrize(
    "text",
    [
        "tls: {mode: off, mta_sts: {enabled: false}}\n",
        "tls: {reports: {organization: Us, contact: tls@us.example}}\n",
        "domains: {a.example: {tls: verify}}\nproviders: {gmail: {tls: off}}\n",
        ROUTE.format("tls: implicit, auth: {user: u, token_file: t}"),
        ROUTE.format("tls: required, auth: {user: u, password_file: p}"),
        'dns: {servers: ["127.0.0.1:53", "[::1]:53"], validating: true}\n',
    ],
)
def test_what_is_right_loads(tmp_path: Path, text: str) -> None:
    assert problems(tmp_path, text) == []


def test_off_is_a_word_and_not_false(tmp_path: Path) -> None:
    file = tmp_path / "agent.yaml"
    file.write_text(SINGLE_HOST.split("routes:")[0] + "tls: {mode: off}\n", encoding="utf-8")
    assert load_agent(file).tls.mode is TlsMode.OFF
