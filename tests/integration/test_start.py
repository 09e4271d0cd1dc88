"""What an agent refuses to start on, in one sentence and with the right exit code."""

import asyncio
import signal
import socket
import subprocess
from pathlib import Path

from tests.integration.processes import MAILAGENT
from tests.integration.rig import Rig, rig


async def test_a_second_agent_on_the_same_state_is_refused_by_name(tmp_path: Path) -> None:
    async with rig(tmp_path) as one:
        assert one.agent.process is not None
        second = tmp_path / "second.yaml"
        text = one.agent.config.read_text(encoding="utf-8")
        second.write_text(text.replace(f"port: {one.port}", "port: 0").replace("rpc.sock", "other.sock"))
        code, words = await started(second)
        assert code == 1
        assert str(one.agent.process.pid) in words
        assert str(tmp_path / "state") in words
        await one.accepted("r@a.example")
        await one.delivered("r@a.example")


async def test_a_living_socket_or_another_file_in_its_place_is_left_alone_and_a_dead_one_replaced(
    tmp_path: Path,
) -> None:
    async with rig(tmp_path) as one:
        await one.stop(signal.SIGKILL)
        assert one.agent.socket.exists()
        one.agent.socket.unlink()
        with socket.socket(socket.AF_UNIX) as other:
            other.bind(str(one.agent.socket))
            other.listen()
            code, words = await started(one.agent.config)
            assert code == 1
            assert str(one.agent.socket) in words
            assert "answers there" in words
        await one.start()  # the socket is dead now
        assert (await one.snapshot()).host.host == "mx1"
        await one.stop()
        one.agent.socket.write_text("not a socket", encoding="utf-8")
        code, words = await started(one.agent.config)
        assert code == 1
        assert "no socket" in words
        assert one.agent.socket.read_text(encoding="utf-8") == "not a socket"
        one.agent.socket.unlink()
        await one.start()


async def test_a_wrong_file_lists_every_mistake_and_exits_2(tmp_path: Path) -> None:
    async with rig(tmp_path) as one:
        wrong = tmp_path / "wrong.yaml"
        text = one.agent.config.read_text(encoding="utf-8")
        wrong.write_text(text.replace("mkt-2: {address: 127.0.1.2", "mkt-2: {adress: 127.0.1.2") + "retry: {}\n")
        code, words = await started(wrong)
        assert code == 2
        assert "wrong.yaml:12: virtual_mtas.mkt-2.adress" in words
        assert "adress" in words
        assert "retry" in words
        code, words = await started(tmp_path / "missing.yaml")
        assert code == 2
        assert "missing.yaml" in words
        assert await _runs(one)


async def started(config: Path) -> tuple[int, str]:
    """Exit code and words of an agent that is expected to end by itself."""
    done = await asyncio.to_thread(
        subprocess.run,
        [*MAILAGENT, "run", "--config", str(config)],
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        timeout=30,
    )
    return done.returncode, done.stdout


async def _runs(one: Rig) -> bool:
    return (await one.send("r@a.example")).startswith("250")
