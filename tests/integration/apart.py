"""A place apart on this machine, as a container is one: its own mounts and its own processes. Needs root."""

import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

from tests.conftest import program


@dataclass(frozen=True)
class Apart:
    """One that is there. `prefix` before a command has it run inside, as `docker exec -i NAME` would."""

    prefix: tuple[str, ...]

    def run(self, *command: str, stdin: str = "") -> str:
        """What a command inside said."""
        done = subprocess.run([*self.prefix, *command], check=False, capture_output=True, text=True, input=stdin)
        assert done.returncode == 0, f"{command}: {done.stdout}{done.stderr}"
        return done.stdout


@contextmanager
def apart(setup: str, *arguments: str) -> Iterator[Apart]:
    """A place where `setup`, for the shell, has been run with `arguments`. Whatever runs there ends with the block.

    Its network and all files that `setup` mounts nothing over are those of this machine.
    """
    command = [str(program("unshare")), "--mount", "--pid", "--fork", "--kill-child", "--mount-proc"]
    script = f"set -e\n{setup}\necho ready\nexec sleep infinity"
    keeper = subprocess.Popen(
        [*command, "sh", "-c", script, "sh", *arguments], stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, text=True
    )
    try:
        assert keeper.stdout is not None
        said = keeper.stdout.readline()
        assert said == "ready\n", f"no place apart could be made ({said!r}); may this user mount?"
        spaces = (f"--mount=/proc/{keeper.pid}/ns/mnt", f"--pid=/proc/{keeper.pid}/ns/pid_for_children")
        yield Apart((str(program("nsenter")), *spaces, "--"))
    finally:
        keeper.kill()
        keeper.communicate()
