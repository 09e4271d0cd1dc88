"""Message bodies: written once, never changed, gone with the message (by a trigger of the schema).

The only module that knows where bodies are. They stand inside the database, so that a message is one atomic commit;
append-only segment files can take their place here when large bodies ask for it.
"""

from collections.abc import Iterable, Sequence

import apsw

from mailagent.spool.bulk import execute_rows, fetch, json_text
from mailagent.spool.records import NewMessage


def write(db: apsw.Connection, messages: Iterable[NewMessage]) -> None:
    """Store the bodies of new messages."""
    execute_rows(db, "INSERT INTO body {values}", [(message.id, message.body) for message in messages])


def read(db: apsw.Connection, messages: Sequence[int]) -> dict[int, bytes]:
    """The bodies that are there, by message id."""
    listed = json_text(list(messages))
    return dict(fetch(db, "SELECT id, data FROM body WHERE id IN (SELECT value FROM json_each(?))", (listed,)))


def head(db: apsw.Connection, message: int, limit: int) -> bytes:
    """The first `limit` bytes of one body, empty when it is gone."""
    for (data,) in db.execute("SELECT substr(data, 1, ?) FROM body WHERE id = ?", (limit, message)):
        return data or b""  # SQLite gives NULL for a part of nothing
    return b""
