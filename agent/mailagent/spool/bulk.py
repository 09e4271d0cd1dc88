"""Many rows in one step.

APSW gives up the interpreter lock at each step of a statement and has to get it back from a busy event loop, which may
take as long as the switch interval. Measured beside a busy loop: 1,000 single-row inserts 44 ms, in rows of 100 3 ms;
1,000 rows fetched one by one 35 ms, as one JSON text 3 ms. So writes go out in statements of many rows, and reads
come back as one JSON text per page.
"""

from collections.abc import Iterator, Mapping, Sequence
from functools import lru_cache
from itertools import chain
from typing import Any

import apsw
import msgspec

CHUNK_ROWS = 64
CHUNK_STEP = 32

Bindings = tuple[Any, ...] | Mapping[str, Any]

_encode = msgspec.json.Encoder().encode


def json_text(value: object) -> str:
    """`value` as the JSON text that statements unpack with json_each."""
    return _encode(value).decode()


def fetch(db: apsw.Connection, sql: str, bindings: Bindings = ()) -> list[Any]:
    """All rows of a statement that gives few; each a tuple of what its columns hold."""
    return db.execute(sql, bindings).fetchall()


def rows_of(db: apsw.Connection, sql: str, bindings: Bindings, decoder: msgspec.json.Decoder[Any]) -> Any:
    """The one JSON text that `sql` gives, decoded."""
    ((text,),) = fetch(db, sql, bindings)
    return decoder.decode(text)


def _chunks(count: int) -> Iterator[tuple[int, int]]:
    """Spans of at most CHUNK_ROWS rows, few for any count: each is one more statement that has to get the lock back.

    Their lengths are those up to CHUNK_STEP and its multiples, so that few statements are compiled.
    """
    start = 0
    while start < count:
        length = min(CHUNK_ROWS, count - start)
        if length > CHUNK_STEP:
            length -= length % CHUNK_STEP
        yield start, start + length
        start += length


@lru_cache(maxsize=256)
def _values(template: str, columns: int, rows: int) -> str:
    row = "(" + ",".join("?" * columns) + ")"
    return template.format(values="VALUES " + ",".join([row] * rows))


def execute_rows(db: apsw.Connection, template: str, rows: Sequence[Sequence[Any]]) -> None:
    """Run `template`, whose `{values}` becomes a VALUES clause, over all rows."""
    for start, end in _chunks(len(rows)):
        part = rows[start:end]
        sql = _values(template, len(part[0]), len(part))
        db.execute(sql, list(chain.from_iterable(part)))
