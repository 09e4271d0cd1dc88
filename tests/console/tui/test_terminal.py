import os
import pty
import signal
import subprocess
import sys
from pathlib import Path

import pytest

FLEET = """\
hosts:
  mx1:
    transport: local
    state_dir: ./mx1
    rpc: {socket: ./mx1/rpc.sock}
    virtual_mtas:
      a1: {address: 127.0.0.1, ehlo: mx1.example.test}
pools:
  default: {active: [a1]}
streams:
  default: {pool: default}
"""


@pytest.mark.parametrize("is_ignored", [False, True])
def test_a_console_ends_with_its_terminal(tmp_path: Path, *, is_ignored: bool) -> None:
    """Also where nobody sends it a SIGHUP: that goes to the first process of a session alone."""
    fleet = tmp_path / "fleet.yaml"
    fleet.write_text(FLEET, encoding="utf-8")
    mailctl = [str(Path(sys.executable).with_name("mailctl")), "--fleet", str(fleet)]
    ours, theirs = pty.openpty()
    console = subprocess.Popen(
        ["sh", "-c", "trap '' HUP; exec \"$@\"", "sh", *mailctl] if is_ignored else mailctl,
        stdin=theirs,
        stdout=theirs,
        stderr=theirs,
        start_new_session=True,
        env={**os.environ, "TERM": "xterm-256color", "HOME": str(tmp_path)},
        cwd=tmp_path,
    )
    os.close(theirs)
    try:
        drawn = b""
        while b"Fleet" not in drawn:
            drawn += os.read(ours, 65536)
        os.close(ours)
        ended = console.wait(timeout=30)
    finally:
        console.kill()
    assert ended == -(signal.SIGTERM if is_ignored else signal.SIGHUP)
