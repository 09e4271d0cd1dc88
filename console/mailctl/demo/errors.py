"""What can go wrong with the demo.

DemoError
├── NoFreeNetwork       every loopback network is taken, or its ports are
├── PathTooLong         the directory's path leaves no room for a socket
├── NotWritable         a file of the run cannot be written
├── AgentFailed         an agent ended, or did not answer in time
├── NoPostfix           the fourth host cannot be started here
└── NoSuchIncident      a name that is not in the list
"""


class DemoError(Exception):
    """Base of all."""


class NoFreeNetwork(DemoError, OSError):
    """No 127.A.B.0/24 with free ports."""

    def __init__(self, tried: int) -> None:
        super().__init__(f"none of {tried} loopback networks is free; are other demos still running?")


class PathTooLong(DemoError, ValueError):
    """A Unix socket's path has at most 107 bytes."""

    def __init__(self, path: str) -> None:
        super().__init__(f"{path}: longer than the 107 bytes of a socket path; choose a shorter --dir (or TMPDIR)")


class NotWritable(DemoError, OSError):
    """A file of the run cannot be written."""

    def __init__(self, path: str, why: str) -> None:
        super().__init__(f"{path}: {why}; choose another --dir (or TMPDIR)")


class AgentFailed(DemoError, RuntimeError):
    """An agent ended, or did not answer in time."""

    def __init__(self, host: str, what: str, log: str, tail: str) -> None:
        super().__init__(f"{host}: the agent {what}; see {log}" + (f"\n{tail}" if tail else ""))
        self.host = host


class NoPostfix(DemoError, RuntimeError):
    """A Postfix of one's own is not possible here."""

    def __init__(self, program: str, why: str) -> None:
        super().__init__(f"{program}: {why}; --no-postfix goes without it")


class NoSuchIncident(DemoError, LookupError):
    """A name that is not in the list."""

    def __init__(self, name: str, known: tuple[str, ...]) -> None:
        super().__init__(f"no incident {name!r}; there are {', '.join(known)}")
