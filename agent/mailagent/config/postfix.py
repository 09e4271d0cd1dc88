"""The `engine` key and the `postfix` section: a host whose mail a Postfix carries, and how the agent reaches it."""

from datetime import timedelta
from enum import StrEnum

import msgspec

JOURNAL = "journal"
"""`postfix.log: journal`: the log is read from systemd's journal."""


class EngineKind(StrEnum):
    """What carries a host's mail."""

    MAILAGENT = "mailagent"
    POSTFIX = "postfix"


class Postfix(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """One Postfix instance. Paths are those that Postfix's programs see: with `command`, inside the container."""

    instance: str = ""  # configuration directory, or name as in postmulti; empty: the default instance
    command: tuple[str, ...] = ()  # stands before each of Postfix's programs: [docker, exec, -i, mailcow-postfix]
    log: str = ""  # file, or `journal`; empty: what maillog_file says, else /var/log/mail.log
    log_command: tuple[str, ...] = ()  # prints the log's new lines for as long as it runs; then `log` is not read
    helper: tuple[str, ...] = ()  # of an agent that is not root: its socket, or the command that starts it (sudo)
    poll: timedelta = timedelta(seconds=30)  # between two listings of the queue
    timeout: timedelta = timedelta(seconds=60)  # of one command; a listing may take ten times as long

    @property
    def identity(self) -> str:
        """What tells instances on one machine apart: how they are reached, and their name."""
        return " ".join((*self.command, self.instance or "-"))
