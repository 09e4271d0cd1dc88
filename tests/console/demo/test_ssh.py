import asyncio
from collections.abc import AsyncIterator
from pathlib import Path

import asyncssh
import pytest

from mailctl.demo import ssh
from mailctl.demo.blueprint import Blueprint, Claim
from tests.console.demo.conftest import until


@pytest.fixture
def plan(claimed: Claim, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Blueprint:
    home = tmp_path / "home"
    home.mkdir()
    monkeypatch.setenv("HOME", str(home))
    blueprint = Blueprint(directory=tmp_path, network=claimed.network, port=claimed.port)
    ssh.write_keys(blueprint)
    return blueprint


@pytest.fixture
async def echo(plan: Blueprint) -> AsyncIterator[Path]:
    """A socket where mx1's agent would be."""

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(await reader.readline())
        writer.close()

    path = plan.rpc_socket("mx1")
    path.parent.mkdir()
    server = await asyncio.start_unix_server(serve, path)
    yield path
    server.close()


@pytest.fixture
async def host(plan: Blueprint) -> AsyncIterator[ssh.SshHost]:
    server = ssh.servers(plan)["mx1"]
    task = asyncio.create_task(server.run(), name="ssh")
    yield server
    task.cancel()
    await asyncio.wait([task])


async def connect(plan: Blueprint, **options: object) -> asyncssh.SSHClientConnection:
    defaults: dict[str, object] = {
        "port": plan.world_port,
        "username": "operator",
        "client_keys": [str(plan.ssh_directory / "id_ed25519")],
        "known_hosts": str(plan.ssh_directory / "known_hosts"),
        "config": None,
        "agent_path": None,
    }
    async with asyncio.timeout(10):
        while True:
            try:
                return await asyncssh.connect(plan.hosts[0].ssh_address, **{**defaults, **options})
            except ConnectionRefusedError:  # not listening yet
                await asyncio.sleep(0.02)


@pytest.mark.usefixtures("host")
async def test_the_operator_reaches_the_agents_socket(plan: Blueprint, echo: Path) -> None:
    async with await connect(plan) as connection:
        reader, writer = await connection.open_unix_connection(str(echo))
        writer.write(b"hello\n")
        assert await reader.readline() == b"hello\n"
        writer.close()
    assert list((plan.directory / "home").iterdir()) == []


@pytest.mark.usefixtures("host")
async def test_nothing_else_is_opened(plan: Blueprint, echo: Path) -> None:
    other = echo.with_name("other.sock")
    async with await connect(plan) as connection:
        with pytest.raises(asyncssh.ChannelOpenError):
            await connection.open_unix_connection(str(other))
        with pytest.raises(asyncssh.ChannelOpenError):
            await connection.open_connection("127.0.0.1", 25)
        with pytest.raises(asyncssh.ChannelOpenError):
            await connection.run("id")


@pytest.mark.usefixtures("host")
async def test_other_users_and_other_keys_are_refused(plan: Blueprint) -> None:
    with pytest.raises(asyncssh.PermissionDenied):
        await connect(plan, username="root")
    with pytest.raises(asyncssh.PermissionDenied):
        await connect(plan, client_keys=[asyncssh.generate_private_key("ssh-ed25519")])


async def test_a_dead_host_cuts_its_connections_and_comes_back(plan: Blueprint, host: ssh.SshHost) -> None:
    connection = await connect(plan)
    host.kill()
    async with asyncio.timeout(5):
        await connection.wait_closed()
    await until(lambda: connection.is_closed())
    host.revive()
    async with await connect(plan):
        pass


def test_private_keys_are_private(plan: Blueprint) -> None:
    for path in plan.ssh_directory.glob("*_ed25519"):
        assert path.stat().st_mode & 0o077 == 0
