"""Errors of intake.

IntakeError
├── CertificateUnusable    a certificate or its key cannot be used: fix the files
└── ListenFailed           a listener's address cannot be bound: fix the configuration, or stop who holds it
"""

import errno
import os
from pathlib import Path


class IntakeError(Exception):
    """Intake cannot do what the configuration asks."""


_ADVICE = {
    errno.EADDRINUSE: "another process listens there; stop it, or change intake.listeners",
    errno.EADDRNOTAVAIL: "this host does not have the address; add it to an interface, or change intake.listeners",
    errno.EACCES: "ports below 1024 need CAP_NET_BIND_SERVICE; grant it, or listen on a higher port",
}


class CertificateUnusable(IntakeError, ValueError, OSError):
    """A listener's certificate cannot be used."""

    def __init__(self, path: Path, why: str) -> None:
        super().__init__(f"{path}: {why}")
        self.path = path


class ListenFailed(IntakeError, OSError):
    """A listener could not be opened."""

    def __init__(self, address: str, port: int, cause: OSError) -> None:
        number = cause.errno or 0
        shown = f"[{address}]:{port}" if ":" in address else f"{address}:{port}"
        why = os.strerror(number) if number else str(cause)
        advice = _ADVICE.get(number, "check intake.listeners")
        super().__init__(number, f"cannot listen on {shown}: {why}; {advice}")
        self.address = address
        self.port = port

    def __str__(self) -> str:
        return str(self.args[1])
