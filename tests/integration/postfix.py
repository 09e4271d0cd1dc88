"""A Postfix of its own: configuration, queue and processes in one directory, gone afterwards. Needs root."""

import os
import subprocess
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path

from mailctl.demo import instance
from tests.conftest import program as installed
from tests.integration.processes import accepts, wait_until

TESTED = {"myhostname": "postfix.example.test", "smtp_host_lookup": "native"}
"""Settings that every instance of a test has."""


def main_cf(directory: Path, settings: Mapping[str, str]) -> str:
    """The file of an instance in `directory`."""
    return instance.main_cf(directory, {**TESTED, **settings})


@contextmanager
def postfix(
    directory: Path,
    port: int,
    settings: Mapping[str, str],
    *,
    master: str = "",
    sasl: str = "",
    prefix: Sequence[str] = (),
) -> Iterator[Path]:
    """A running instance that listens on 127.0.0.1:`port`; yields its log file. `master` is added to master.cf, `sasl`
    is what Cyrus SASL reads, `prefix` stands before its program where it runs in a place apart.

    Raises:
        PermissionError: this user is not root; Postfix's master changes users.
    """
    if os.geteuid() != 0:
        raise PermissionError("a Postfix of one's own needs root")
    command = [*prefix, str(installed("postfix")), "-c", str(directory / "etc")]
    for name in ("etc", "queue", "data", "log"):
        (directory / name).mkdir(parents=True)
    for parent in (directory, *directory.parents):
        if parent.stat().st_uid == 0 and not parent.stat().st_mode & 0o001:
            parent.chmod(parent.stat().st_mode | 0o011)  # its processes run as user postfix
    subprocess.run(["chown", "postfix:", str(directory / "data")], check=True)
    (directory / "etc" / "main.cf").write_text(main_cf(directory, settings), encoding="utf-8")
    text = instance.master_cf(f"127.0.0.1:{port}") + master
    (directory / "etc" / "master.cf").write_text(text, encoding="utf-8")
    if sasl:  # Debian's smtpd looks here, whatever cyrus_sasl_config_path says
        (directory / "etc" / "sasl").mkdir()
        (directory / "etc" / "sasl" / "smtpd.conf").write_text(sasl, encoding="ascii")
    started = subprocess.run([*command, "start"], check=False, capture_output=True, text=True)
    if started.returncode:
        raise RuntimeError(f"postfix does not start: {started.stderr}{_tail(directory)}")
    try:
        wait_until(lambda: accepts(port), "postfix greets")
        yield directory / "log" / "mail.log"
    finally:
        subprocess.run([*command, "abort"], check=False, capture_output=True)


def _tail(directory: Path) -> str:
    log = directory / "log" / "mail.log"
    return log.read_text(encoding="utf-8")[-2000:] if log.exists() else ""
