"""The agent in front of a real Postfix, in the test's own process."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

from mailagent.config import load_agent_with_origins
from mailagent.postfix.host import PostfixHost
from tests.postfix.instances import OwnPostfix

AGENT_YAML = """\
host: mx1
engine: postfix
state_dir: {state}
rpc: {{socket: {state}/rpc.sock}}
postfix: {{instance: {instance}, poll: {poll}{more}}}
dns: {{servers: ["127.0.0.1:{dns}"], timeout: 1s}}
"""


@asynccontextmanager
async def agent(
    own: OwnPostfix,
    directory: Path,
    *,
    more: str = "",
    sections: str = "",
    poll: str = "1s",
    dns: int = 0,
    instance: str = "",
) -> AsyncIterator[PostfixHost]:
    """A started host; `more` is added to its `postfix` section. `instance` is its name where it is not meant by
    its directory. Without `dns`, that is a port where nobody answers."""
    path = directory / "agent.yaml"
    state, port = directory / "state", dns or own.nowhere
    text = AGENT_YAML.format(state=state, instance=instance or own.config_dir, dns=port, poll=poll, more=more)
    path.write_text(text + sections, encoding="utf-8")
    config, origins = load_agent_with_origins(path)
    host = PostfixHost(config, origins, path=path)
    await host.start()
    try:
        yield host
    finally:
        async with asyncio.timeout(30):
            await host.stop(1)
