"""What the helper may write into a Postfix: a file of root's says it, made by `mailagent postfix apply`.

Standard library only: the helper that runs as root checks by this what an agent asks for.
"""

import json
import os
import re
import stat
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Final

from mailagent.api.ids import StreamName
from mailagent.postfix.errors import PostfixError
from mailagent.postfix.tables import (
    ALLOWED,
    HELD_MAP,
    is_destination,
    is_waiting,
    map_text,
    rows_of,
    slot_names,
    slots_map,
    way,
)

APPLY: Final = "run mailagent postfix apply on the host"
_CONTROL: Final = re.compile(r"[^\t\n -~]")


class NotAllowed(PostfixError):
    """The helper does not write this; the message says what to do."""


@dataclass(frozen=True, slots=True)
class Allowed:
    """What stands in an instance by `apply`, as far as maps refer to it."""

    type: str  # of the tables
    vmtas: tuple[str, ...]  # that there is a service for
    streams: tuple[StreamName, ...]  # that have slots
    nexthop: str  # of the services; empty: Postfix's own choice

    @property
    def maps(self) -> tuple[str, ...]:
        """The maps that change at run time; all others are for `apply` alone."""
        return (HELD_MAP, *(slots_map(stream) for stream in self.streams))

    def text(self) -> str:
        """The file that says it."""
        return json.dumps(asdict(self), indent=2) + "\n"

    def check(self, maps: Mapping[str, str]) -> None:
        """Whether `maps`, texts by name, say nothing but what the agent of this instance may say.

        Raises:
            NotAllowed: one does.
        """
        for name, text in maps.items():
            if name not in self.maps:
                raise NotAllowed(f"{name[:60]!r} is no map that the agent writes here; {APPLY}")
            rows = rows_of(text)
            if _CONTROL.search(text) or map_text(rows.items()) != text:
                raise NotAllowed(f"{name}: not a table as mailagent writes it")
            self._check_rows(name, rows)

    def _check_rows(self, name: str, rows: Mapping[str, str]) -> None:
        if name == HELD_MAP:
            for key, value in rows.items():
                if not (is_destination(key) and is_waiting(value)):
                    raise NotAllowed(f"{name}: {key[:60]!r} may only wait, and only recipient domains may")
            return
        if tuple(rows) != slot_names():
            raise NotAllowed(f"{name}: a map of slots has the rows 00 to 99 and no others")
        ways = {way(vmta, self.nexthop) for vmta in self.vmtas}
        for key, value in rows.items():
            if value not in ways and not is_waiting(value):
                raise NotAllowed(f"{name}: slot {key} has {value[:60]!r}, which apply has not set up; {APPLY}")


def read(folder: Path) -> Allowed:
    """What may be written into `folder`.

    Raises:
        NotAllowed: nothing says so, or somebody else than this user could have written what does.
    """
    path = folder / ALLOWED
    try:
        with os.fdopen(os.open(path, os.O_RDONLY | os.O_NOFOLLOW), encoding="ascii") as file:
            for one, where in ((os.fstat(file.fileno()), path), (folder.lstat(), folder)):
                if one.st_uid != os.geteuid() or one.st_mode & (stat.S_IWGRP | stat.S_IWOTH):
                    raise NotAllowed(f"{where} could be written by others than uid {os.geteuid()}; mend owner and mode")
            said = json.load(file)
        return Allowed(
            type=str(said["type"]),
            vmtas=tuple(map(str, said["vmtas"])),
            streams=tuple(StreamName(str(one)) for one in said["streams"]),
            nexthop=str(said["nexthop"]),
        )
    except FileNotFoundError as exc:
        raise NotAllowed(f"{path} is not there, which says what may be written; {APPLY}") from exc
    except (OSError, ValueError, KeyError, TypeError) as exc:
        raise NotAllowed(f"{path} cannot be read ({exc}); {APPLY}") from exc
