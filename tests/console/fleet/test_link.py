"""SSH links against OpenSSH's own server."""

import asyncio
import contextlib
import os
import pwd
import re
import signal
import socket
from collections.abc import AsyncIterator
from pathlib import Path
from typing import NoReturn

import pytest

from mailagent.api import requests
from mailagent.api.ids import HostName, OpId
from mailagent.config.structs import FleetConfig, FleetHost, Ssh
from mailctl.fleet import Fleet, LinkState, link
from mailctl.fleet.errors import (
    HostKeyChanged,
    HostKeyUnknown,
    LinkError,
    LoginRefused,
    NoAnswer,
    SocketMissing,
    SshMisconfigured,
    Unreachable,
)
from mailctl.fleet.link import SshDialler
from tests.console.fleet.sshd import USER, Sshd, sshd
from tests.console.loopback import LoopbackAgent

pytestmark = pytest.mark.needs("sshd", "ssh-keygen")
MX1 = HostName("mx1")


@pytest.fixture
async def server(sockets: Path) -> AsyncIterator[Sshd]:
    async with sshd(sockets / "a") as server:
        yield server


@pytest.fixture
async def agent(sockets: Path) -> AsyncIterator[LoopbackAgent]:
    async with LoopbackAgent("mx1", 0, sockets / "rpc.sock").running() as agent:
        yield agent


async def refusal(host: FleetHost) -> LinkError:
    """Why `host` cannot be reached."""
    dialler = SshDialler()
    try:
        with pytest.raises(LinkError) as caught:
            await dialler.dial(MX1, host)
    finally:
        await dialler.close()
    return caught.value


async def reaches(host: FleetHost) -> None:
    """One call over a link of its own."""
    dialler = SshDialler()
    link = await dialler.dial(MX1, host)
    try:
        assert (await link.client.hello(None)).host == "mx1"
    finally:
        await link.close()
        await dialler.close()


async def shell(command: str) -> str:
    """What an operator would type, and its output."""
    process = await asyncio.create_subprocess_shell(
        command, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.DEVNULL
    )
    output, _ = await process.communicate()
    assert process.returncode == 0
    return output.decode()


async def test_a_host_is_live_through_sshd(server: Sshd, agent: LoopbackAgent) -> None:
    assert server.known_hosts
    config = FleetConfig(hosts={MX1: server.host(agent.socket)})
    async with Fleet(config) as fleet:
        state = await fleet.settled(10)
        assert state.hosts[0].state is LinkState.LIVE, state.hosts[0].error
        agent.waiting = 4711
        agent.publish()
        assert await fleet.until(lambda state: state.totals.waiting == 4711, within_s=5)
    assert server.logins == 1


async def test_hosts_that_take_a_connection_and_say_nothing_hold_up_no_other(
    server: Sshd, agent: LoopbackAgent, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(link, "CONNECTS", 2)
    monkeypatch.setattr(link, "SLOT_S", 0.05)
    assert server.known_hosts
    with socket.create_server(("127.0.0.1", 0)) as silent:
        hung = server.host(agent.socket, port=silent.getsockname()[1])
        names = [HostName(f"hung{n}") for n in range(5)]
        async with Fleet(FleetConfig(hosts=dict.fromkeys(names, hung) | {MX1: server.host(agent.socket)})) as fleet:
            state = await fleet.settled(10, hosts=["mx1"])
            assert state.hosts[-1].state is LinkState.LIVE
            assert [host.state for host in state.hosts[:-1]] == [LinkState.CONNECTING] * 5


async def test_a_call_that_was_given_up_does_not_arrive_later(server: Sshd, agent: LoopbackAgent) -> None:
    """Closed with a reset: else the kernel goes on sending it, and the host obeys when the line is back."""
    assert server.known_hosts
    agent.faults.mute = {"operation"}
    ends: asyncio.Queue[str] = asyncio.Queue()

    async def relay(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        there, back = await asyncio.open_connection("127.0.0.1", server.port)

        async def pump(source: asyncio.StreamReader, sink: asyncio.StreamWriter) -> None:
            while data := await source.read(65536):
                sink.write(data)

        answering = asyncio.create_task(pump(there, writer), name="answers")
        try:
            await pump(reader, back)
            ends.put_nowait("closed")
        except ConnectionResetError:
            ends.put_nowait("reset")
        finally:
            answering.cancel()
            back.close()
            writer.close()

    between = await asyncio.start_server(relay, "127.0.0.1", 0)
    known = f"[127.0.0.1]:{between.sockets[0].getsockname()[1]} {server.host_key}"
    (server.directory / "known_hosts").write_text(f"{known}\n")
    host = server.host(agent.socket, port=between.sockets[0].getsockname()[1])
    async with between:
        for method in ("snapshot", "operation"):
            dialler = SshDialler()
            link = await dialler.dial(MX1, host)
            params = requests.Empty() if method == "snapshot" else requests.OperationRequest(op_id=OpId("o"))
            with contextlib.suppress(NoAnswer):
                await link.client.call(method, params, deadline_s=5 if method == "snapshot" else 0.05)
            await link.close()
            assert await ends.get() == ("closed" if method == "snapshot" else "reset")
            await dialler.close()


async def test_a_reply_of_nearly_a_megabyte_passes(server: Sshd, agent: LoopbackAgent) -> None:
    from tests.console.loopback import summary

    assert server.known_hosts
    agent.messages = tuple(summary(number, sender="x" * 1300) for number in range(500))
    async with Fleet(FleetConfig(hosts={MX1: server.host(agent.socket)})) as fleet:
        await fleet.settled(10)
        page = await fleet.ask(MX1, "messages", requests.PageRequest())
        assert len(page.rows) == 500


async def test_an_unknown_host_key_is_refused_and_the_message_helps(server: Sshd, agent: LoopbackAgent) -> None:
    host = server.host(agent.socket)
    error = await refusal(host)
    assert isinstance(error, HostKeyUnknown)
    fingerprint = (await shell(f"ssh-keygen -lf {server.directory}/host.pub")).split()[1]
    assert fingerprint in error.reason
    await shell(error.reason.rpartition("then: ")[2])
    await reaches(host)


async def test_a_changed_host_key_is_refused_until_it_is_removed(server: Sshd, agent: LoopbackAgent) -> None:
    other = server.directory / "client.pub"  # any other key
    key = " ".join(other.read_text().split()[:2])
    (server.directory / "known_hosts").write_text(f"[127.0.0.1]:{server.port} {key}\n")
    error = await refusal(server.host(agent.socket))
    assert isinstance(error, HostKeyChanged)
    assert "Somebody may be in between" in error.reason
    command = error.reason.rpartition("changed: ")[2]
    assert command.startswith("ssh-keygen -f ")
    await shell(command)
    assert isinstance(await refusal(server.host(agent.socket)), HostKeyUnknown)


async def test_a_key_that_sshd_does_not_take_is_a_refused_login(server: Sshd, agent: LoopbackAgent) -> None:
    assert server.known_hosts
    error = await refusal(server.host(agent.socket, identity=server.directory / "host"))
    assert isinstance(error, LoginRefused)
    assert f"try: ssh -v -i {server.directory}/host -p {server.port} {USER}@127.0.0.1" in error.reason


async def test_known_hosts_that_are_not_there_are_made_with_the_command_that_the_message_has(
    server: Sshd, agent: LoopbackAgent
) -> None:
    host = server.host(agent.socket, known_hosts=server.directory / "fresh_hosts")
    error = await refusal(host)
    assert isinstance(error, SshMisconfigured)
    assert error.reason.startswith(f"no file {server.directory}/fresh_hosts; compare")
    await shell(error.reason.rpartition("then: ")[2])
    await reaches(host)


async def test_a_missing_agent_socket_is_said_with_its_path(server: Sshd, sockets: Path) -> None:
    assert server.known_hosts
    error = await refusal(server.host(sockets / "nothing.sock"))
    assert isinstance(error, SocketMissing)
    assert "nothing.sock (open failed): is mailagent running" in error.reason


async def test_forbidden_forwarding_names_the_option(sockets: Path, agent: LoopbackAgent) -> None:
    async with sshd(sockets / "b", options="AllowStreamLocalForwarding no") as server:
        assert server.known_hosts
        error = await refusal(server.host(agent.socket))
        assert isinstance(error, SocketMissing)
        assert "AllowStreamLocalForwarding" in error.reason


async def test_a_missing_identity_is_said_before_anything_is_sent(server: Sshd, agent: LoopbackAgent) -> None:
    error = await refusal(server.host(agent.socket, identity=Path("/nowhere/id")))
    assert isinstance(error, SshMisconfigured)
    assert "/nowhere/id" in error.reason


async def test_an_account_without_a_home_is_told_to_set_one(
    server: Sshd, agent: LoopbackAgent, monkeypatch: pytest.MonkeyPatch
) -> None:
    def nobody(uid: int) -> NoReturn:
        raise KeyError(uid)

    monkeypatch.delenv("HOME", raising=False)
    monkeypatch.setattr(pwd, "getpwuid", nobody)
    why = await refusal(server.host(agent.socket))
    assert isinstance(why, SshMisconfigured)
    assert why.reason.endswith("set HOME")


async def test_a_host_that_does_not_resolve_is_unreachable(server: Sshd, agent: LoopbackAgent) -> None:
    error = await refusal(server.host(agent.socket, address="mx1.invalid"))
    assert isinstance(error, Unreachable)
    assert "cannot resolve mx1.invalid" in error.reason


async def test_nobody_listening_is_unreachable(server: Sshd, agent: LoopbackAgent) -> None:
    error = await refusal(server.host(agent.socket, port=1))
    assert isinstance(error, Unreachable)
    assert "127.0.0.1 port 1" in error.reason


async def test_the_operators_ssh_configuration_is_used(server: Sshd, agent: LoopbackAgent, tmp_path: Path) -> None:
    config = tmp_path / "ssh_config"
    config.write_text(
        f"Host mx1\n  HostName 127.0.0.1\n  Port {server.port}\n  IdentityFile {server.identity}\n"
        f"  UserKnownHostsFile {server.known_hosts}\n"
    )
    await reaches(FleetHost(ssh=Ssh(config=config), rpc=server.host(agent.socket).rpc))


async def test_config_none_reads_no_personal_configuration(
    server: Sshd, agent: LoopbackAgent, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert server.known_hosts
    monkeypatch.setenv("HOME", str(tmp_path))
    (tmp_path / ".ssh").mkdir()
    (tmp_path / ".ssh" / "config").write_text("Host *\n  HostName 127.0.0.1\n  ProxyJump 127.0.0.1:1\n")
    await reaches(server.host(agent.socket))
    error = await refusal(server.host(agent.socket, no_config=False))
    assert "jump host 127.0.0.1:1" in error.reason


async def test_a_host_without_a_key_of_the_known_kind_is_not_trusted(server: Sshd, agent: LoopbackAgent) -> None:
    await shell(f"ssh-keygen -q -t ecdsa -N '' -f {server.directory}/other")
    key = " ".join((server.directory / "other.pub").read_text().split()[:2])
    (server.directory / "known_hosts").write_text(f"[127.0.0.1]:{server.port} {key}\n")
    assert "no host key of a kind that known_hosts has" in (await refusal(server.host(agent.socket))).reason


async def test_known_hosts_none_does_not_switch_the_check_off(
    server: Sshd, agent: LoopbackAgent, tmp_path: Path
) -> None:
    config = tmp_path / "ssh_config"
    config.write_text(f"Host *\n  IdentityFile {server.identity}\n  UserKnownHostsFile none\n")
    host = server.host(agent.socket, config=config, no_config=False, known_hosts=None)
    assert isinstance(await refusal(host), HostKeyUnknown)


async def test_hosts_behind_one_jump_host_share_its_connection(server: Sshd, sockets: Path) -> None:
    async with (
        sshd(sockets / "bastion") as bastion,
        LoopbackAgent("mx1", 0, sockets / "1.sock").running() as first,
        LoopbackAgent("mx2", 1, sockets / "2.sock").running() as second,
    ):
        # The jump host is entered with the same key and known_hosts as the hosts behind it.
        (bastion.directory / "authorized_keys").write_text((server.directory / "client.pub").read_text())
        known = server.directory / "known_hosts"
        known.write_text(f"{server.known_hosts.read_text()}[127.0.0.1]:{bastion.port} {bastion.host_key}\n")
        jump = f"{USER}@127.0.0.1:{bastion.port}"
        config = FleetConfig(
            hosts={
                HostName("mx1"): server.host(first.socket, jump=jump),
                HostName("mx2"): server.host(second.socket, jump=jump),
            }
        )
        async with Fleet(config) as fleet:
            state = await fleet.settled(10)
            assert [host.state for host in state.hosts] == [LinkState.LIVE] * 2, [host.error for host in state.hosts]
        assert bastion.logins == 1
        assert server.logins == 2


async def test_a_jump_host_that_is_down_is_named(server: Sshd, agent: LoopbackAgent) -> None:
    error = await refusal(server.host(agent.socket, jump="127.0.0.1:1"))
    assert isinstance(error, Unreachable)
    assert re.match(r"jump host 127\.0\.0\.1:1: cannot connect", error.reason)


async def test_a_broken_connection_is_made_again(sockets: Path, agent: LoopbackAgent) -> None:
    async with sshd(sockets / "c") as server:
        assert server.known_hosts
        config = FleetConfig(hosts={MX1: server.host(agent.socket)})
        async with Fleet(config) as fleet:
            await fleet.settled(10)
            for session in server.sessions():
                os.kill(session, signal.SIGKILL)
            assert await fleet.until(lambda state: state.hosts[0].state is LinkState.LOST, within_s=5)
            assert await fleet.until(lambda state: state.hosts[0].state is LinkState.LIVE, within_s=10)


async def test_a_host_that_dies_while_it_owes_an_answer_is_lost_in_true_words(
    sockets: Path, agent: LoopbackAgent
) -> None:
    """Its socket is closed by then: to reset it failed, and stood on the screen as an internal error."""
    agent.faults.mute = {"operation"}
    async with sshd(sockets / "d") as server:
        assert server.known_hosts
        async with Fleet(FleetConfig(hosts={MX1: server.host(agent.socket)})) as fleet:
            await fleet.settled(10)
            with contextlib.suppress(NoAnswer):
                await fleet.ask(MX1, "operation", requests.OperationRequest(op_id=OpId("o")), deadline_s=0.05)
            for session in server.sessions():
                os.kill(session, signal.SIGKILL)
            assert await fleet.until(lambda state: state.hosts[0].state is LinkState.LOST, within_s=5)
            assert fleet.state.hosts[0].error == "Connection lost"
