"""Where mail goes by the answers of a real resolver: signed, unsigned, missing, refusing and wrongly signed domains."""

from pathlib import Path

import pytest

from tests.agent.dns.responder import responding
from tests.agent.dns.unbound import unbound
from tests.integration.processes import agent, free_port
from tests.integration.rig import Rig
from tests.integration.sink import Sink

pytestmark = pytest.mark.needs("unbound")

YAML = """\
host: mx1
state_dir: ./state
rpc: {{socket: ./state/rpc.sock}}
intake:
  listeners: [{{address: 127.0.0.1, port: {port}}}]
  relay_from: [127.0.0.0/8]
dns: {{servers: ["127.0.0.1:{dns}"], validating: true, timeout: 2s}}
delivery: {{port: {sink}, allow_networks: [127.0.0.0/8, "::1/128"]}}
virtual_mtas:
  a1: {{address: 127.0.1.1, ehlo: a1.example.test}}
pools: {{default: {{active: [a1]}}}}
streams: {{default: {{pool: default}}}}
retry: {{waits: [1h], dns: [1h], jitter: 0}}
"""
RECORDS = """\
@ 300 IN MX 10 mx
mx 300 IN A 127.0.0.1
implicit 300 IN A 127.0.0.1
alias 300 IN CNAME @
mxalias 300 IN MX 10 cname
cname 300 IN CNAME mx
null 300 IN MX 0 .
both 300 IN MX 0 .
both 300 IN MX 10 mx
gone 300 IN MX 10 nothing
six 300 IN MX 10 mx6
mx6 300 IN AAAA ::1
xn--bcher-kva 300 IN MX 10 mx
"""
DELIVERED = ["", "implicit.", "alias.", "mxalias.", "both.", "xn--bcher-kva."]
BOUNCED = {"null.": "5.1.10", "missing.": "5.1.2", "gone.": "5.4.4"}
WAITING = {"bogus.example": "4.4.3", "six.signed.example": "4.4.4"}


async def test_each_domain_has_its_right_end(tmp_path: Path) -> None:
    """RFC 5321 section 5.1, RFC 7505, RFC 4035 section 5.5; RFC 2181 section 10.3 as the world does it."""
    zones = {"signed.example": RECORDS, "plain.example": RECORDS, "bogus.example": RECORDS}
    port = free_port()
    async with (
        Sink() as sink,
        responding() as unused,
        unbound(tmp_path / "unbound", zones, plain=("plain.example",), bogus=("bogus.example",)) as dns,
    ):
        text = YAML.format(port=port, dns=dns.servers[0].port, sink=sink.port)
        with agent(tmp_path, text, port) as one:
            made = Rig(one, sink, unused, text)
            wanted = [f"u@{name}{zone}" for name in DELIVERED for zone in ("signed.example", "plain.example")]
            bounced = {f"u@{name}{zone}": code for name, code in BOUNCED.items() for zone in zones if zone[0] != "b"}
            waiting = {f"u@{name}": code for name, code in WAITING.items()}
            await made.accepted(*wanted, *bounced, *waiting)
            await made.delivered(*wanted)
            for recipient, code in waiting.items():
                detail = await made.explained(recipient, lambda detail: bool(detail.attempts), "an attempt")
                assert detail.attempts[-1].reply.enhanced == code
            assert {row.recipient for row in await made.waiting()} >= set(waiting)
            await made.stop()
            ends = {line["recipient"]: line["enhanced"] for line in made.accounting() if line["type"] == "bounced"}
    assert {recipient: ends.get(recipient) for recipient in bounced} == bounced
    assert set(sink.received) >= set(wanted)
