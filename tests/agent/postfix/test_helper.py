"""The helper that runs as root, and how the agent asks it. A script stands for postsuper."""

import asyncio
import json
import os
import socket
import sys
from pathlib import Path

import pytest

from mailagent.config.postfix import Postfix
from mailagent.postfix import helper
from mailagent.postfix.acts import Act
from mailagent.postfix.asking import Helper
from mailagent.postfix.commands import Programs
from mailagent.postfix.hands import Helped, Own

OWN = Own(Programs(Postfix()))
ONE, TWO = "4jXnt21FWbzJMGw", "4jXnt21G2mzJMMQ"
POSTSUPER = """\
#!/bin/sh
echo "$@" >> {log}
while read id; do
  [ "$id" = 4jXnt21G2mzJMMQ ] && {{ echo "postsuper: fatal: disk on fire" >&2; exit 1; }}
  echo "postsuper: $id: placed on hold" >&2
done
"""


POSTCAT = """\
#!/bin/sh
echo "$@" >> {log}
[ "$5" = 4jXnt21FWbzJMGw ] || {{ echo "postcat: fatal: open queue file $5: No such file or directory" >&2; exit 1; }}
printf 'Subject: gr\\303\\274n\\n\\n'
while [ -z "$STOP" ]; do echo endless || exit 1; done
"""


@pytest.fixture
def programs(tmp_path: Path) -> Path:
    for name, text in (("postsuper", POSTSUPER), ("postcat", POSTCAT)):
        (tmp_path / name).write_text(text.format(log=tmp_path / "ran"))
        (tmp_path / name).chmod(0o755)
    return tmp_path


def ask(programs: Path, request: object) -> tuple[set[str], str]:
    done = helper.answer(json.dumps(request).encode(), Path("/etc/postfix"), programs)
    return set(done.ids), done.trouble


def test_it_does_what_is_on_its_list_with_fixed_arguments(programs: Path) -> None:
    assert ask(programs, {"act": "hold", "ids": [ONE]}) == ({ONE}, "")
    assert (programs / "ran").read_text() == "-c /etc/postfix -h -\n"


def test_half_of_it_done_is_told_with_the_reason(programs: Path) -> None:
    done, trouble = ask(programs, {"act": "hold", "ids": [ONE, TWO]})
    assert (done, trouble) == ({ONE}, "postsuper: exit code 1: postsuper: fatal: disk on fire")


@pytest.mark.parametrize(
    "request_",
    [
        {"act": "purge", "ids": [ONE]},
        {"act": "delete", "ids": ["ALL"]},
        {"act": "delete", "ids": [[ONE]]},
        {"act": "delete", "ids": ONE},
        {"act": "delete"},
        {"act": "show", "id": "/etc/shadow", "most": 10},
        {"act": "show", "id": ONE, "most": "all"},
        {"act": "show", "id": ONE},
        [],
        None,
    ],
)
def test_anything_else_is_refused_and_nothing_runs(programs: Path, request_: object) -> None:
    done, trouble = ask(programs, request_)
    assert not done
    assert trouble.startswith("the request is none")
    assert not (programs / "ran").exists()


def test_a_message_is_shown_as_far_as_asked_and_no_further(programs: Path) -> None:
    done = helper.answer(helper.show_question(ONE, 27), Path("/etc/postfix"), programs)
    assert (done.text, done.trouble) == (b"Subject: gr\xc3\xbcn\n\nendless\nend", "")
    assert (programs / "ran").read_text() == f"-c /etc/postfix -hb -q {ONE}\n"
    gone = helper.answer(helper.show_question(TWO, 30), Path("/etc/postfix"), programs)
    assert not gone.text
    assert "No such file or directory" in gone.trouble


async def test_the_agent_is_shown_every_byte(programs: Path) -> None:
    asked = Helper([sys.executable, "-c", SERVE.format(user=user_name(), programs=str(programs))])
    shown = helper.understood(await asked.ask(helper.show_question(ONE, 14)))
    assert shown.text == b"Subject: gr\xc3\xbcn"


def test_a_program_that_is_missing_is_trouble(tmp_path: Path) -> None:
    trouble = ask(tmp_path, {"act": "hold", "ids": [ONE]})[1]
    assert "postsuper cannot be started: No such file or directory" in trouble


def test_the_peer_of_a_connection_counts_and_sudo_says_who_called_it() -> None:
    here, there = socket.socketpair()
    with here, there:
        assert helper.caller({"SUDO_UID": "12345"}, there.fileno()) == os.getuid()
        here.sendall(b'{"act":')
        here.sendall(b"1}\nrest")
        assert helper.read_request(there.fileno()) == b'{"act":1}'
    reading, writing = os.pipe()
    assert helper.caller({"SUDO_UID": "12345"}, reading) == 12345
    os.write(writing, b"x" * 10)
    os.close(writing)
    assert helper.read_request(reading) == b"x" * 10
    os.close(reading)


SERVE = """\
import sys
from pathlib import Path
from mailagent.config.postfix import Postfix
from mailagent.postfix import helper
sys.exit(helper.serve(Path("/etc/postfix"), {user!r}, Path({programs!r})))
"""


def user_name() -> str:
    import pwd

    return pwd.getpwuid(os.getuid()).pw_name


async def test_the_agent_asks_by_command(programs: Path) -> None:
    code = SERVE.format(user=user_name(), programs=str(programs))
    done = await Helped(Helper([sys.executable, "-c", code]), OWN).act(Act.HOLD, [ONE])
    assert (set(done.ids), done.trouble) == ({ONE}, "")


async def test_the_agent_asks_by_socket(programs: Path, tmp_path: Path) -> None:
    path = tmp_path / "helper.sock"
    code = SERVE.format(user=user_name(), programs=str(programs))

    async def accept(server: socket.socket) -> None:
        """As systemd does with Accept=yes: standard input is the connection."""
        loop = asyncio.get_running_loop()
        connection, _ = await loop.sock_accept(server)
        connection.setblocking(True)
        with connection:
            process = await asyncio.create_subprocess_exec(sys.executable, "-c", code, stdin=connection.fileno())
            assert await process.wait() == 1

    with socket.socket(socket.AF_UNIX) as server:
        server.bind(str(path))
        server.listen()
        server.setblocking(False)
        async with asyncio.TaskGroup() as group:
            group.create_task(accept(server), name="accept")
            done = await Helped(Helper([str(path)]), OWN).act(Act.HOLD, [ONE, TWO])
    assert done.ids == {ONE}
    assert "disk on fire" in done.trouble


async def test_a_helper_that_is_not_there_or_says_nothing_is_trouble(tmp_path: Path) -> None:
    missing = await Helped(Helper([str(tmp_path / "none")]), OWN).act(Act.HOLD, [ONE])
    assert "cannot be asked" in missing.trouble
    silent = await Helped(Helper(["/bin/true"]), OWN).act(Act.HOLD, [ONE])
    assert (silent.ids, "did not answer" in silent.trouble) == (frozenset(), True)


def test_another_user_is_refused(
    programs: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(helper, "caller", lambda _: 54321)
    assert helper.serve(Path("/etc/postfix"), "root", programs) == 1
    assert "may not ask" in json.loads(capfd.readouterr().out)["trouble"]
    assert helper.serve(Path("/etc/postfix"), "no-such-user-here", programs) == 2
