"""What all tests share: the marker for system programs, and hypothesis without a stopwatch."""

import os
import shutil
import subprocess
from collections.abc import Iterable
from functools import cache
from pathlib import Path

import pytest
from hypothesis import settings

from mailagent.version import is_compiled

AGENT = Path(__file__).parents[1] / "agent"
PACKAGES = {
    "awk": "mawk",
    "libplain.so": "libsasl2-modules",
    "journalctl": "systemd",
    "nsenter": "util-linux",
    "opendkim": "opendkim",
    "postfix": "postfix",
    "promtool": "prometheus",
    "saslpasswd2": "sasl2-bin",
    "smtp-sink": "postfix",
    "smtp-source": "postfix",
    "ssh-keygen": "openssh-client",
    "sshd": "openssh-server",
    "systemd-analyze": "systemd",
    "tmux": "tmux",
    "unbound": "unbound",
    "unshare": "util-linux",
}
"""Programs and plug-ins that tests use, and the Debian package that has each."""
ROOT_USER = "root"
"""What a test needs whose program changes users, as Postfix does."""
MOUNTS = "mounts"
"""What a test needs that mounts something; in a container even root may lack the right (CAP_SYS_ADMIN)."""
RIGHTS = frozenset((ROOT_USER, MOUNTS))
"""Needs that no package fills."""

_SBIN = ("/usr/sbin", "/usr/local/sbin", "/sbin")
_MISSING = "missing"
"""The property of a skipped test's report that lists the programs it lacks."""

# A busy machine is slow at times; each test has a time limit of its own.
settings.register_profile("mailctl", deadline=None)
settings.load_profile("mailctl")


def program(name: str) -> Path | None:
    """Where `name` is installed; system programs count though they are not on a user's path.

    `.so` is a plug-in of Cyrus SASL.
    """
    if name.endswith(".so"):
        return next(Path("/usr/lib").glob(f"*/sasl2/{name}"), None)
    found = shutil.which(name, path=os.pathsep.join((os.environ.get("PATH", os.defpath), *_SBIN)))
    return Path(found) if found else None


def apt_line(programs: Iterable[str]) -> str:
    """The command that installs what is missing."""
    return f"apt-get install {' '.join(sorted({PACKAGES[name] for name in programs}))}"


def pytest_configure(config: pytest.Config) -> None:
    for source in _outdated():
        pytest.exit(f"{source} is newer than its compiled form: make compiled, or make plain to go without", 2)
    config.addinivalue_line("markers", "needs(*programs): uses these, or is root; without skipped, in CI failed")


def pytest_report_header() -> str:
    return "hot path: compiled" if is_compiled() else "hot path: not compiled"


def _outdated() -> Iterable[Path]:
    for library in AGENT.rglob("*.so"):
        source = library.with_name(library.name.split(".")[0].removesuffix("__mypyc") + ".py")
        if not source.exists() or source.stat().st_mtime > library.stat().st_mtime:
            yield source


def pytest_runtest_setup(item: pytest.Item) -> None:
    names = {name for marker in item.iter_markers("needs") for name in marker.args}
    missing = {name for name in names - RIGHTS if program(name) is None}
    reasons = [f"needs {', '.join(sorted(missing))}: {apt_line(missing)}"] if missing else []
    if ROOT_USER in names and os.geteuid() != 0:
        reasons.append("needs root")
    elif MOUNTS in names and not _may_mount():
        reasons.append("needs the right to mount (CAP_SYS_ADMIN)")
    if not reasons:
        return
    reason = "; ".join(reasons)
    if os.environ.get("CI") == "true":
        pytest.fail(reason, pytrace=False)
    if missing:
        item.user_properties.append((_MISSING, sorted(missing)))
    pytest.skip(reason)


@cache
def _may_mount() -> bool:
    done = subprocess.run([program("unshare") or "unshare", "--mount", "true"], check=False, capture_output=True)
    return done.returncode == 0


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    reports = terminalreporter.getreports("skipped")
    skipped = [programs for report in reports for name, programs in report.user_properties if name == _MISSING]
    if skipped:
        line = apt_line(set().union(*skipped))
        terminalreporter.write_line(f"{len(skipped)} tests skipped for lack of system programs; to run them: {line}")
