"""Users that may log in at intake, on disk: a row each, changed together with the operation that asks for it."""

from collections.abc import Sequence

import apsw
import msgspec

from mailagent.spool.bulk import execute_rows, fetch
from mailagent.spool.records import Credential, CredentialUse

_encode = msgspec.json.Encoder().encode
_credential = msgspec.json.Decoder(Credential)


def write(db: apsw.Connection, credential: Credential) -> None:
    """Store one, new or changed."""
    db.execute(
        "INSERT INTO credential (user, data) VALUES (?, ?) ON CONFLICT (user) DO UPDATE SET data = excluded.data",
        (credential.user, _encode(credential)),
    )


def write_uses(db: apsw.Connection, uses: Sequence[CredentialUse]) -> None:
    """Store when users were last there."""
    execute_rows(
        db,
        "UPDATE credential SET used_at = v.column2, used_from = v.column3 FROM ({values}) AS v"
        " WHERE credential.user = v.column1",
        [(use.user, use.at, use.client) for use in uses],
    )


def read_all(db: apsw.Connection) -> list[tuple[Credential, CredentialUse]]:
    """All of them, with their last use (at 0: never)."""
    return [
        (_credential.decode(data), CredentialUse(user, used_at, used_from))
        for user, data, used_at, used_from in fetch(db, "SELECT user, data, used_at, used_from FROM credential")
    ]
