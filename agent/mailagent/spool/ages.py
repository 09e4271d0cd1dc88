"""Arrival times of waiting mail, counted by blocks of ids: ids sort by arrival, so a block is a span of time.

Fresh mail is counted in blocks of 17 s, older mail in blocks of 9 minutes: 32 of the former make one of the latter.
"""

import apsw
import msgspec

from mailagent.spool.bulk import fetch, rows_of
from mailagent.spool.ids import EPOCH_US, RECIPIENT_BITS, arrival_ms, at_ms
from mailagent.spool.terms import PROVIDER

FRESH_BITS = RECIPIENT_BITS + 24
"""Bits of a recipient id below those that number its block: 2^24 microseconds."""
OLD_BITS = RECIPIENT_BITS + 29
SLICE_ROWS = 5_000
"""Rows that one slice looks at: some milliseconds."""

AgeCount = tuple[str, str, int, int]
"""provider, stream, first arrival (milliseconds since 1970), recipients."""

_rows = msgspec.json.Decoder(list[tuple[int, str, str, int, int]])
_COUNT = f"""
SELECT json_group_array(json_array(block, provider, stream, first, n)) FROM (
    SELECT r.id >> iif(r.id >= :fresh, {FRESH_BITS}, {OLD_BITS}) << iif(r.id >= :fresh, {FRESH_BITS}, {OLD_BITS})
           AS block, {PROVIDER} AS provider, q.stream AS stream, min(r.id) AS first, count(*) AS n
    FROM recipient AS r JOIN queue AS q ON q.id = r.queue WHERE r.id >= :first AND r.id <= :end GROUP BY 1, 2, 3
)
"""


def block_of(recipient: int, fresh_from: int) -> tuple[int, int]:
    """(first id of the block that holds `recipient`, first id after it); mail before `fresh_from` is in large ones."""
    bits = FRESH_BITS if recipient >= fresh_from else OLD_BITS
    first = recipient >> bits << bits
    return first, first + (1 << bits)


def fresh_from(ms: int) -> int:
    """The first id of the large block that holds `ms` (milliseconds since 1970): from there on blocks are small."""
    return at_ms(ms) << RECIPIENT_BITS >> OLD_BITS << OLD_BITS


def middle_ms(block: int, fresh: int) -> int:
    """The middle of the time of a block, in milliseconds since 1970."""
    bits = FRESH_BITS if block >= fresh else OLD_BITS
    return ((block + (1 << bits - 1) >> RECIPIENT_BITS) + EPOCH_US) // 1000


def age_slice(db: apsw.Connection, first: int, last: int, fresh: int) -> tuple[list[tuple[int, AgeCount]], int | None]:
    """Counts, each with its block, of some rows from the id `first` on and before `last`; where to go on, or None."""
    end = None
    for (found,) in db.execute(
        "SELECT id FROM recipient WHERE id >= ?1 AND id < ?2 ORDER BY id LIMIT 1 OFFSET ?3",
        (first, last, SLICE_ROWS - 1),
    ):
        end = int(found)
    if end is None:
        ((found,),) = fetch(db, "SELECT max(id) FROM recipient WHERE id >= ? AND id < ?", (first, last))
        if found is None:
            return [], None
    stop = end if end is not None else int(found)
    rows = rows_of(db, _COUNT, {"first": first, "end": stop, "fresh": fresh}, _rows)
    counts = [(block, (provider, stream, arrival_ms(lowest), n)) for block, provider, stream, lowest, n in rows]
    return counts, None if end is None else end + 1
