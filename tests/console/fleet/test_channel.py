"""SSH channels of a server that leaves them half open when the socket behind them is closed, as asyncssh's does."""

from pathlib import Path

import asyncssh

from mailagent.api.ids import HostName
from mailagent.config.structs import FleetConfig, FleetHost, Rpc, Ssh
from mailctl.fleet import Fleet, LinkState
from tests.console.loopback import LoopbackAgent

ADDRESS = "127.0.0.1"
USER = "operator"


class AnySocket(asyncssh.SSHServer):
    """A login with the authorised key opens any socket."""

    def unix_connection_requested(self, dest_path: str) -> bool:
        return True


async def test_an_agent_that_goes_is_lost_and_comes_back_live(sockets: Path) -> None:
    host_key, own_key = (asyncssh.generate_private_key("ssh-ed25519") for _ in range(2))
    identity, authorized, known_hosts = (sockets / name for name in ("id", "authorized_keys", "known_hosts"))
    own_key.write_private_key(identity)
    own_key.write_public_key(authorized)
    agent = LoopbackAgent("mx1", 0, sockets / "rpc.sock")
    acceptor = await asyncssh.listen(
        ADDRESS,
        0,
        server_factory=AnySocket,
        server_host_keys=[host_key],
        authorized_client_keys=str(authorized),
        config=None,
        gss_host=None,
    )
    try:
        port = acceptor.get_port()
        known_hosts.write_text(f"[{ADDRESS}]:{port} {host_key.export_public_key().decode()}")
        ssh = Ssh(address=ADDRESS, port=port, user=USER, identity=identity, known_hosts=known_hosts, no_config=True)
        config = FleetConfig(hosts={HostName("mx1"): FleetHost(ssh=ssh, rpc=Rpc(socket=agent.socket))})
        async with Fleet(config) as fleet:
            async with agent.running():
                assert (await fleet.settled(10)).hosts[0].state is LinkState.LIVE, fleet.state.hosts[0].error
            assert await fleet.until(lambda state: state.hosts[0].state is LinkState.LOST, within_s=5)
            async with agent.running():
                assert await fleet.until(lambda state: state.hosts[0].state is LinkState.LIVE, within_s=10)
    finally:
        acceptor.close()
        await acceptor.wait_closed()
