"""The files of the accounting log as others may read them.

`current.jsonl.part` is being written. It becomes `acct-20300101T000000Z-000001.jsonl` by rename: when it was finished,
and a number that grows by one with each file and is never given twice, so that files sort by it. With compression the
file gets a `.gz` later, under the same number.
"""

import gzip
import re
from collections.abc import Iterable
from contextlib import suppress
from datetime import UTC, datetime
from pathlib import Path
from typing import IO, NamedTuple, cast

LIVE_NAME = "current.jsonl.part"

_NAME = re.compile(r"acct-(\d{8}T\d{6}Z)-(\d{6,})\.(jsonl|csv)(\.gz)?")
_STAMP = "%Y%m%dT%H%M%SZ"


class FinishedFile(NamedTuple):
    """A file that nobody writes any more, by the number that orders it."""

    number: int
    finished_at: float  # seconds since 1970
    path: Path

    @property
    def is_compressed(self) -> bool:
        """Whether it is packed with gzip."""
        return self.path.suffix == ".gz"


def stamp(at: float) -> str:
    """A time as file names have it."""
    return datetime.fromtimestamp(at, UTC).strftime(_STAMP)


def file_name(at: float, number: int, kind: str) -> str:
    """Name of a file finished at `at`; `kind` is `jsonl` or `csv`."""
    return f"acct-{stamp(at)}-{number:06d}.{kind}"


def finished_files(directory: Path, kind: str = "jsonl") -> list[FinishedFile]:
    """Finished files of one kind, oldest first; one that is there plain and packed is given plain.

    Raises:
        OSError: the directory cannot be read.
    """
    found: dict[int, FinishedFile] = {}
    for file in all_files(directory):
        if file.path.name.removesuffix(".gz").endswith(kind) and (
            file.number not in found or found[file.number].is_compressed
        ):
            found[file.number] = file
    return [found[number] for number in sorted(found)]


def all_files(directory: Path) -> Iterable[FinishedFile]:
    """Finished files of every kind and packing, in no order."""
    for path in directory.iterdir():
        match = _NAME.fullmatch(path.name)
        if match is not None:
            at = datetime.strptime(match[1], _STAMP).replace(tzinfo=UTC).timestamp()
            yield FinishedFile(int(match[2]), at, path)


def open_file(file: FinishedFile) -> IO[bytes] | None:
    """Read what `file` holds, though it was packed meanwhile; None when it was deleted."""
    for path in (file.path, file.path.with_name(f"{file.path.name}.gz")):
        with suppress(FileNotFoundError):
            if path.suffix == ".gz":
                return cast(IO[bytes], gzip.open(path))
            return path.open("rb")
    return None
