"""Mail through the file of the quick start, with the loads that Postfix's own test programs make."""

import re
import subprocess
from pathlib import Path

import pytest

from tests.conftest import program as installed
from tests.integration.processes import AGENT_YAML, accepts, agent, free_port, program, smtp_sink, wait_until

MESSAGES = 20_000


@pytest.mark.needs("smtp-source", "smtp-sink")
@pytest.mark.timeout(180)
def test_twenty_thousand_messages_arrive_once_each(tmp_path: Path) -> None:
    port, sink_port = free_port(), free_port()
    dump = tmp_path / "dump"
    sink = smtp_sink("-D", str(dump), f"127.0.0.1:{sink_port}", "1000")
    with (
        program(*sink, ready=lambda: accepts(sink_port)),
        agent(tmp_path, AGENT_YAML.format(port=port, sink=sink_port), port) as one,
    ):
        subprocess.run(
            [
                str(installed("smtp-source")), "-N", "-d", "-s", "20", "-l", "10240", "-m", str(MESSAGES),
                "-f", "a@sender.example", "-t", "b@recipient.example", f"127.0.0.1:{port}",
            ],
            check=True,
            timeout=120,
        )  # fmt: skip
        wait_until(lambda: len(recipients(dump)) >= MESSAGES, "all messages at the sink", timeout_s=120)
        arrived = recipients(dump)
        assert len(arrived) == len(set(arrived)) == MESSAGES
        assert one.stop() == 0


def recipients(dump: Path) -> list[bytes]:
    """Recipients of all messages in a dump of smtp-sink, in order."""
    return re.findall(rb"^X-Rcpt-Args: <([^>]*)>", dump.read_bytes(), re.MULTILINE) if dump.exists() else []
