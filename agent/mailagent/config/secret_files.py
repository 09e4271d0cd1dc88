"""Files that hold a secret: read when it is needed, so that a rotated one counts at once, and never shown."""

import os
from pathlib import Path

MAX_SECRET_BYTES = 16_384
MIN_KEY_BYTES = 16


def read_secret(file: Path) -> bytes:
    """The one line of `file`: a password, a token.

    Raises:
        OSError: it cannot be read.
        ValueError: it can be read by others than its owner and group, or is no line of text.
    """
    is_open, mode, content = _read(file)
    if is_open:
        raise ValueError(f"everybody on this host may read it (mode {mode:03o}); chmod o-rwx")
    secret = content.rstrip(b"\r\n")
    if not secret or len(secret) > MAX_SECRET_BYTES or any(byte < 0x20 or byte == 0x7F for byte in secret):
        raise ValueError("it does not hold one line of text")
    return secret


def read_key(file: Path) -> bytes:
    """The bytes of `file` without blanks at its ends: what requests are signed with.

    Raises:
        OSError: it cannot be read.
        ValueError: it can be read by others than its owner and group, or holds too little; the message names it.
    """
    is_open, _, content = _read(file)
    if is_open:
        raise ValueError(f"{file} can be read by others; chmod 600")
    key = content.strip()
    if len(key) < MIN_KEY_BYTES:
        raise ValueError(f"{file} has {len(key)} bytes; a secret has at least {MIN_KEY_BYTES}")
    return key


def _read(file: Path) -> tuple[bool, int, bytes]:
    """Whether everybody may read it, its mode, and what it holds."""
    with file.open("rb") as opened:
        mode = os.fstat(opened.fileno()).st_mode & 0o777
        return bool(mode & 0o007), mode, opened.read(MAX_SECRET_BYTES + 1)
