"""The files of a Postfix that has a directory to itself: configuration, queue and log, on loopback."""

from collections.abc import Mapping
from pathlib import Path

_MASTER = """\
{listen} inet n - n - - smtpd
pickup unix n - n 60 1 pickup
cleanup unix n - n - 0 cleanup
qmgr unix n - n {runs_s} 1 qmgr
tlsmgr unix - - n 1000? 1 tlsmgr
rewrite unix - - n - - trivial-rewrite
bounce unix - - n - 0 bounce
defer unix - - n - 0 bounce
trace unix - - n - 0 bounce
verify unix - - n - 1 verify
flush unix n - n 1000? 0 flush
proxymap unix - - n - - proxymap
proxywrite unix - - n - 1 proxymap
smtp unix - - {chroot} - - smtp
showq unix n - n - - showq
error unix - - n - - error
retry unix - - n - - error
discard unix - - n - - discard
anvil unix - - n - 1 anvil
scache unix - - n - 1 scache
postlog unix-dgram n - n - 1 postlogd
"""


def main_cf(directory: Path, settings: Mapping[str, object]) -> str:
    """What every such instance has, then `settings`."""
    base = {
        "compatibility_level": "3.6",
        "queue_directory": directory / "queue",
        "data_directory": directory / "data",
        "maillog_file": directory / "log" / "mail.log",
        "maillog_file_prefixes": directory,
        "mydestination": "",
        "mynetworks": "127.0.0.0/8",
        "inet_interfaces": "127.0.0.1",
        "inet_protocols": "ipv4",
        "alias_maps": "",
        "alias_database": "",
        "notify_classes": "",
    }
    return "".join(f"{name} = {value}\n" for name, value in {**base, **settings}.items())


def master_cf(listen: str, *, runs_s: int = 300, chroot: bool = False) -> str:
    """The services. smtpd listens at `listen`, the queue manager looks every `runs_s`; with `chroot` SMTP clients run
    in the queue's directory.
    """
    return _MASTER.format(listen=listen, runs_s=runs_s, chroot="y" if chroot else "n")
