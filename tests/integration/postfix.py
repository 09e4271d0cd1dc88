"""A Postfix of its own: configuration, queue and processes in one directory, gone afterwards. Needs root."""

import os
import subprocess
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path

from tests.conftest import program as installed
from tests.integration.processes import accepts, wait_until

MASTER_CF = """\
{listen} inet n - n - - smtpd
pickup unix n - n 60 1 pickup
cleanup unix n - n - 0 cleanup
qmgr unix n - n 300 1 qmgr
tlsmgr unix - - n 1000? 1 tlsmgr
rewrite unix - - n - - trivial-rewrite
bounce unix - - n - 0 bounce
defer unix - - n - 0 bounce
trace unix - - n - 0 bounce
verify unix - - n - 1 verify
flush unix n - n 1000? 0 flush
proxymap unix - - n - - proxymap
proxywrite unix - - n - 1 proxymap
smtp unix - - n - - smtp
showq unix n - n - - showq
error unix - - n - - error
retry unix - - n - - error
discard unix - - n - - discard
anvil unix - - n - 1 anvil
scache unix - - n - 1 scache
postlog unix-dgram n - n - 1 postlogd
"""


def master_cf(listen: str) -> str:
    """The services of every instance; smtpd listens at `listen`."""
    return MASTER_CF.format(listen=listen)


def main_cf(directory: Path, settings: Mapping[str, str]) -> str:
    """Settings that every instance has, then `settings`."""
    base = {
        "compatibility_level": "3.6",
        "queue_directory": str(directory / "queue"),
        "data_directory": str(directory / "data"),
        "maillog_file": str(directory / "log" / "mail.log"),
        "maillog_file_prefixes": str(directory),
        "myhostname": "postfix.example.test",
        "mydestination": "",
        "mynetworks": "127.0.0.0/8",
        "inet_interfaces": "127.0.0.1",
        "inet_protocols": "ipv4",
        "smtp_host_lookup": "native",
        "alias_maps": "",
        "alias_database": "",
        "notify_classes": "",
    }
    return "".join(f"{name} = {value}\n" for name, value in {**base, **settings}.items())


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
    text = master_cf(f"127.0.0.1:{port}") + master
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
