"""Whether a virtual MTA's addresses are on this host."""

import socket

from mailagent.config.structs import VirtualMta


def bind_problem(vmta: VirtualMta) -> str | None:
    """Why its addresses cannot be bound at this moment; None when they can."""
    for address, family in ((vmta.address, socket.AF_INET), (vmta.address6, socket.AF_INET6)):
        if address is not None:
            with socket.socket(family, socket.SOCK_STREAM) as sock:
                try:
                    sock.bind((str(address), 0))
                except OSError as exc:
                    return f"{address} cannot be bound: {exc.strerror}"
    return None
