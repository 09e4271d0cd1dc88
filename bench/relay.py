"""End-to-end rates: smtp-source -> relay -> receiver, through the agent, through Postfix, and directly as the ceiling.

A rate is messages at the receiver per second, from the start of smtp-source until the receiver has the last one. The
systems take turns within each round, so that all see the same machine, and a ratio is made of one round's figures.
"""

import shutil
import subprocess
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path

from tests.certificates import Authority
from tests.integration.processes import free_port

from bench.load import Load, finish, hand_in, sink
from bench.systems import RELAYS, Setup

DIRECT = "direct"
PLAIN = Setup()


@dataclass(frozen=True)
class Scenario:
    """One load, and what is asked of the relays with it."""

    name: str
    goal: str
    load: Load
    setup: Setup = PLAIN
    tls: bool = False  # the receiver wants STARTTLS: bench.sink takes the place of smtp-sink
    signed: bool = False  # the agent signs, Postfix does not


ONE_EACH = Setup(
    route=", messages_per_connection: 1",
    postfix={"smtp_connection_cache_on_demand": "no", "smtp_connection_cache_destinations": ""},
)
WIDE = Setup(route=", connections: 50")
"""As many as Postfix has, and as there are sessions: a connection carries one message per commit."""
SECURE = Setup(route=", tls: required", postfix={"smtp_tls_security_level": "encrypt"})
DKIM = """\
dkim:
  keys:
    - {{domain: sender.example, pool: default, selector: rsa, file: {directory}/rsa.pem}}
"""
ED25519 = "    - {{domain: sender.example, pool: default, selector: ed, file: {directory}/ed.pem}}\n"

SCENARIOS = (
    Scenario("10 KB, 20 sessions", "5 x Postfix, 0.45 of direct", Load()),
    Scenario("10 KB, 50 sessions", "5 x Postfix, 0.45 of direct", Load(sessions=50), WIDE),
    Scenario("100 KB, 20 sessions", "3 x Postfix", Load(messages=4_000, size=102_400)),
    Scenario("10 KB, 50 recipients each", "", Load(messages=2_000, recipients=50)),
    Scenario("10 KB, one message per connection", "", Load(messages=5_000, keep_open=False), ONE_EACH),
    Scenario("10 KB, STARTTLS on the way out", "", Load(), SECURE, tls=True),
    Scenario("10 KB, signed: RSA-2048", "2 x unsigned Postfix", Load(), Setup(more=DKIM), signed=True),
    Scenario("10 KB, signed: RSA-2048 and Ed25519", "", Load(), Setup(more=DKIM + ED25519), signed=True),
)


def direct(scenario: Scenario) -> float:
    """The ceiling: smtp-source hands in to the receiver itself."""
    port = free_port()
    with sink(port):
        started = time.perf_counter()
        hand_in(port, scenario.load)
        return scenario.load.messages / (time.perf_counter() - started)


def relayed(scenario: Scenario, system: str) -> float:
    """Through one relay."""
    port, sink_port = free_port(), free_port()
    load = scenario.load
    # not under /tmp/<private>: Postfix's processes must be able to reach their directory
    directory = Path(tempfile.mkdtemp(prefix="mailctl-bench-"))
    directory.chmod(0o755)
    try:
        tls: tuple[str, ...] = ()
        if scenario.tls:
            certificate = Authority(directory).issue("127.0.0.1", "sink.example")
            tls = ("--tls", str(certificate.file), str(certificate.key))
        if scenario.signed:
            for name, *algorithm in (("rsa", "RSA", "-pkeyopt", "rsa_keygen_bits:2048"), ("ed", "ED25519")):
                file = directory / f"{name}.pem"
                command = ["openssl", "genpkey", "-algorithm", *algorithm, "-out", str(file)]
                subprocess.run(command, check=True, capture_output=True)
                file.chmod(0o600)
        with (
            sink(sink_port, load.messages, *tls) as receiver,
            RELAYS[system](directory, port, sink_port, scenario.setup),
        ):
            started = time.perf_counter()
            hand_in(port, load)
            finish(receiver)
            return load.messages / (time.perf_counter() - started)
    finally:
        shutil.rmtree(directory)


def round_of(scenario: Scenario, systems: tuple[str, ...]) -> dict[str, float]:
    """One rate per system, one after the other."""
    rates = {}
    for system in systems:
        if system == DIRECT:
            if not scenario.tls:  # smtp-source has no TLS of its own
                rates[system] = direct(scenario)
        else:
            rates[system] = relayed(scenario, system)
    return rates
