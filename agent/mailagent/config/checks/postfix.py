"""What `engine: postfix` and the `postfix` section mean together with the rest of a host."""

import re
from datetime import timedelta
from typing import Protocol

from mailagent.api.ids import VmtaName
from mailagent.config.nodes import Key
from mailagent.config.postfix import JOURNAL, EngineKind, Postfix
from mailagent.config.reading import Reader
from mailagent.config.structs import Intake, VirtualMta

LEAST_POLL = timedelta(seconds=1)
_NAME = re.compile(r"-|[A-Za-z0-9][A-Za-z0-9_.-]*")
"""A name of postmulti; `-` is the default instance."""


class _Host(Protocol):
    @property
    def engine(self) -> EngineKind: ...
    @property
    def postfix(self) -> Postfix: ...
    @property
    def intake(self) -> Intake: ...
    @property
    def virtual_mtas(self) -> dict[VmtaName, VirtualMta]: ...


def check_postfix(host: _Host, prefix: Key, report: Reader) -> None:
    """Report a section that nobody reads, values that no Postfix understands, and what Postfix does instead of us."""
    key: Key = (*prefix, "postfix")
    if host.engine is not EngineKind.POSTFIX:
        if host.postfix != Postfix():
            report.follow_up(key, "is not read; it needs `engine: postfix`")
        return
    if host.intake != Intake():
        report.follow_up((*prefix, "intake"), "is not read with `engine: postfix`: that Postfix takes the mail in")
    for name, vmta in host.virtual_mtas.items():
        if vmta.address is None and vmta.address6 is not None:  # neither is a mistake anywhere
            message = "has no `address`; Postfix would send from any address of the host"
            report.follow_up((*prefix, "virtual_mtas", name), message)
    _check_section(host.postfix, key, report)


def _check_section(postfix: Postfix, key: Key, report: Reader) -> None:
    if postfix.instance and not _is_path(postfix.instance) and not _NAME.fullmatch(postfix.instance):
        message = f"`{postfix.instance}` is no instance; write its configuration directory or its name in postmulti"
        report.follow_up((*key, "instance"), message)
    for name in ("command", "log_command", "helper"):
        words: tuple[str, ...] = getattr(postfix, name)
        if words and (not words[0] or words[0].startswith("-") or any("\0" in word for word in words)):
            report.follow_up((*key, name), "is no command; write a program and its arguments: [docker, exec, -i, NAME]")
    if postfix.log and postfix.log != JOURNAL and not _is_path(postfix.log):
        report.follow_up((*key, "log"), f"`{postfix.log}` is no log; write the path of a file, or {JOURNAL}")
    if postfix.log and postfix.log_command:
        report.follow_up((*key, "log"), "is not read beside `log_command`; take one of them out")
    if postfix.poll < LEAST_POLL:
        report.follow_up((*key, "poll"), "is shorter than a second; a listing of a full queue takes longer")
    if not timedelta(seconds=1) <= postfix.timeout <= timedelta(minutes=10):
        report.follow_up((*key, "timeout"), "is not between 1s and 10m")


def _is_path(text: str) -> bool:
    return text.startswith("/") and "\0" not in text
