"""The systems that a load goes through: this agent, Postfix, and nothing.

Each is a context manager around running processes. Both relays get what suits them: no look-ups, as many processes or
connections as help, and their queue on disk as shipped.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

from tests.integration.postfix import postfix
from tests.integration.processes import ONE_VMTA, agent

AGENT = (
    ONE_VMTA
    + """\
routes:
  - {{match: "*", to: "127.0.0.1:{sink}"{route}}}
{more}"""
)

POSTFIX = {
    "default_process_limit": "100",
    "default_destination_concurrency_limit": "50",
    "initial_destination_concurrency": "50",
    "qmgr_message_active_limit": "100000",
    "qmgr_message_recipient_limit": "100000",
    "in_flow_delay": "0",
    "smtpd_peername_lookup": "no",
    "smtpd_client_connection_count_limit": "0",
    "smtpd_recipient_limit": "2000",
    "smtp_tls_security_level": "none",
    "smtp_tls_session_cache_database": "",
    "message_size_limit": "0",
    "enable_long_queue_ids": "yes",
}
"""How Postfix does best here: enough processes and concurrency, no flow delay, no look-ups. Its queue stays durable."""


@dataclass(frozen=True)
class Setup:
    """What a scenario asks of a relay beyond the plain one."""

    route: str = ""  # more keys of the agent's route, ", key: value"
    more: str = ""  # more sections of the agent's file
    postfix: dict[str, str] = field(default_factory=dict)


@contextmanager
def running_agent(directory: Path, port: int, sink: int, setup: Setup) -> Iterator[int | None]:
    """Yields the agent's process id."""
    text = AGENT.format(port=port, sink=sink, route=setup.route, more=setup.more.format(directory=directory))
    with agent(directory, text, port) as one:
        assert one.process is not None
        yield one.process.pid


@contextmanager
def running_postfix(directory: Path, port: int, sink: int, setup: Setup) -> Iterator[int | None]:
    """Yields nothing: Postfix is many processes."""
    relay = f"[127.0.0.1]:{sink}"
    cache = {"smtp_connection_cache_destinations": relay, "smtp_connection_reuse_count_limit": "10000"}
    with postfix(directory / "postfix", port, {"relayhost": relay, **POSTFIX, **cache, **setup.postfix}):
        yield None


RELAYS = {"agent": running_agent, "postfix": running_postfix}
