"""Arrival times of waiting mail, counted slice by slice along the primary key: ids sort by arrival."""

import apsw
import msgspec

from mailagent.spool.bulk import rows_of
from mailagent.spool.ids import EPOCH_US, RECIPIENT_BITS, arrival_ms, at_ms, recipient_id
from mailagent.spool.inspection import slice_end
from mailagent.spool.selection import PROVIDER

FINE_MS = 10_000
"""Width of a slot of mail that arrived after the given time."""
COARSE_MS = 600_000
"""Width of one of older mail."""

AgeCount = tuple[str, str, int, int, int]
"""provider, stream, middle of the slot and first arrival in it (milliseconds since 1970), recipients."""

_rows = msgspec.json.Decoder(list[tuple[str, str, int, int, int, int]])
_COUNT = f"""
SELECT json_group_array(json_array(provider, stream, width, slot, first, n)) FROM (
    SELECT {PROVIDER} AS provider, q.stream AS stream, iif(r.id >= :fine, {FINE_MS}, {COARSE_MS}) AS width,
           ((r.id >> {RECIPIENT_BITS}) + {EPOCH_US}) / 1000 / iif(r.id >= :fine, {FINE_MS}, {COARSE_MS}) AS slot,
           min(r.id) AS first, count(*) AS n
    FROM recipient AS r JOIN queue AS q ON q.id = r.queue WHERE r.id > :after AND r.id <= :end GROUP BY 1, 2, 3, 4
)
"""


def age_slice(db: apsw.Connection, after: int, fine_from: int) -> tuple[list[AgeCount], int | None]:
    """Counts of the slice after the recipient `after`; where to go on, None at the end.

    Mail that arrived at `fine_from` (milliseconds since 1970) or later is counted in slots of FINE_MS.
    """
    end = slice_end(db, after, (1 << 63) - 1)
    if end is None:
        return [], None
    bindings = {"after": after, "end": end, "fine": recipient_id(at_ms(fine_from), 0)}
    return [
        (provider, stream, slot * width + width // 2, arrival_ms(first), count)
        for provider, stream, width, slot, first, count in rows_of(db, _COUNT, bindings, _rows)
    ], end
