"""What the names of queue files say: how many messages there are, and when each deferred one is tried next.

The queue manager sets a deferred file's modification time to the time of its next try. Nothing is opened; 100,000 names
take some tenths of a second and 16 bytes each.
"""

from array import array
from bisect import bisect_left
from collections import Counter
from typing import Final

from mailagent.postfix.commands import Programs
from mailagent.postfix.instance import Instance
from mailagent.postfix.queue_ids import digest, made_at_us

FOLDERS: Final = ("maildrop", "incoming", "active", "deferred", "hold")
_FORMAT: Final = "%H %f %T@\\n"


class NextTries:
    """The names of one moment. Not atomic: a file that moves meanwhile may be missed or be there twice."""

    def __init__(self) -> None:
        self.folders: Counter[str] = Counter()
        self.oldest_us: int | None = None  # by the long ids
        self._ids = array("q")
        self._at = array("q")

    def due_ms(self, queue_id: str) -> int | None:
        """Next try of a deferred message in milliseconds; None: it was not in `deferred`."""
        key = digest(queue_id.encode())
        place = bisect_left(self._ids, key)
        return self._at[place] if place < len(self._ids) and self._ids[place] == key else None

    def add(self, line: bytes) -> None:
        """One line of `find`: the folder, the file's name and its modification time."""
        path, queue_id, at = line.decode("utf-8", "replace").rsplit(" ", 2)
        folder = path.rpartition("/")[2]
        self.folders[folder] += 1
        made = made_at_us(queue_id)
        if made is not None and (self.oldest_us is None or made < self.oldest_us):
            self.oldest_us = made
        if folder == "deferred":
            self._ids.append(digest(queue_id.encode()))
            self._at.append(int(float(at) * 1000))

    def sort(self) -> None:
        """Make what was added known to `due_ms`."""
        order = sorted(range(len(self._ids)), key=self._ids.__getitem__)
        self._ids, self._at = (
            array("q", map(self._ids.__getitem__, order)),
            array("q", map(self._at.__getitem__, order)),
        )


async def read_names(programs: Programs, instance: Instance) -> NextTries:
    """The queue files that are there now.

    Raises:
        PostfixError: the folders cannot be read; for all but `maildrop` that takes root, or the user postfix.
    """
    found = NextTries()
    argv = programs.other("find", *(f"{instance.queue_dir}/{one}" for one in FOLDERS), "-type", "f", "-printf", _FORMAT)
    async with programs.stream(argv) as stream:
        async for lines in stream:
            for line in lines:
                found.add(line)
    found.sort()
    return found
