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
from mailagent.postfix.queue_ids import made_at_us

FOLDERS: Final = ("maildrop", "incoming", "active", "deferred", "hold")
_FORMAT: Final = "%H %f %T@\\n"


class NextTries:
    """The names of one moment. Not atomic: a file that moves meanwhile may be missed or be there twice."""

    def __init__(self) -> None:
        self.folders: Counter[str] = Counter()
        self._least = ""
        self._ids = array("q")
        self._at = array("q")

    @property
    def oldest_us(self) -> int | None:
        """When the oldest queue file was made, by the long ids, which sort by time; None: they are short."""
        return made_at_us(self._least)

    def due_ms(self, queue_id: str) -> int | None:
        """Next try of a deferred message in milliseconds; None: it was not in `deferred`."""
        key = hash(queue_id)
        place = bisect_left(self._ids, key)
        return self._at[place] if place < len(self._ids) and self._ids[place] == key else None

    def add(self, line: bytes) -> None:
        """One line of `find`: the folder, the file's name and its modification time."""
        path, queue_id, at = line.decode("utf-8", "replace").rsplit(" ", 2)
        folder = path.rpartition("/")[2]
        self.folders[folder] += 1
        if (queue_id < self._least or not self._least) and "z" in queue_id:
            self._least = queue_id
        if folder == "deferred":
            self._ids.append(hash(queue_id))
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
    folders = [f"{instance.queue_dir}/{one}" for one in FOLDERS]
    # files that move meanwhile are no errors
    argv = programs.other("find", *folders, "-ignore_readdir_race", "-type", "f", "-printf", _FORMAT)
    async with programs.stream(argv) as stream:
        async for lines in stream:
            for line in lines:
                found.add(line)
    found.sort()
    return found
