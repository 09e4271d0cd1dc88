"""The database: its tables, its settings, and which library and file are good enough.

Times are milliseconds since 1970. Texts from outside are kept as bytes where they travel on (addresses, headers), and
as text where they are only shown (replies, decoded with backslashreplace on arrival).
"""

from pathlib import Path
from typing import Any

import apsw

from mailagent.api.domains import folded_address
from mailagent.spool.errors import SpoolUnusable
from mailagent.spool.ids import RECIPIENT_BITS
from mailagent.spool.records import HELD_DUE, WINDOW
from mailagent.spool.terms import A_LABELS

FILE_NAME = "spool.db"
PAGE_SIZE = 8192  # the best size for bodies of 10 to 100 KB inside the database
OLDEST_SQLITE = (3, 51, 3)
"""Older ones can corrupt a WAL database when a commit meets a checkpoint (the WAL-reset bug)."""
STATEMENTS_KEPT = 256
"""Compiled statements; those of many rows come in about twenty lengths each."""
WAL_KEPT_BYTES = 64 * 1024 * 1024
BUSY_TIMEOUT_MS = 2000

# The partial indices spell their conditions exactly as the statements do, or SQLite would not use them.
_TABLES = f"""
CREATE TABLE meta (name TEXT PRIMARY KEY, value ANY) STRICT, WITHOUT ROWID;

CREATE TABLE message (
    id INTEGER PRIMARY KEY,
    received_at INTEGER NOT NULL,
    expires_at INTEGER NOT NULL,
    sender BLOB NOT NULL,
    stream TEXT NOT NULL,
    pool TEXT NOT NULL,
    job TEXT NOT NULL,
    client TEXT NOT NULL,
    size INTEGER NOT NULL,
    eightbit INTEGER NOT NULL,
    added BLOB NOT NULL
) STRICT;

CREATE TABLE body (id INTEGER PRIMARY KEY, data BLOB NOT NULL) STRICT;

-- vmta, site, provider and reply are those of the last attempt; tried is when the last outcome was handed in
CREATE TABLE recipient (
    id INTEGER PRIMARY KEY,
    queue INTEGER NOT NULL,
    due INTEGER NOT NULL,
    address BLOB NOT NULL,
    attempts INTEGER NOT NULL DEFAULT 0,
    tried INTEGER NOT NULL DEFAULT 0,
    vmta TEXT NOT NULL DEFAULT '',
    site TEXT NOT NULL DEFAULT '',
    provider TEXT NOT NULL DEFAULT '',
    reply INTEGER
) STRICT;
CREATE INDEX recipient_due ON recipient (queue, due);
CREATE INDEX recipient_deferred ON recipient (provider, vmta, reply, due) WHERE reply IS NOT NULL;

-- parked: NULL, '{WINDOW}' while rows of it are in the active window, or the key of what blocks it
CREATE TABLE queue (
    id INTEGER PRIMARY KEY,
    pool TEXT NOT NULL,
    stream TEXT NOT NULL,
    priority TEXT NOT NULL,
    domain TEXT NOT NULL,
    next_due INTEGER,
    waiting INTEGER NOT NULL DEFAULT 0,
    site TEXT NOT NULL DEFAULT '',
    provider TEXT NOT NULL DEFAULT '',
    parked TEXT
) STRICT;
-- What goes with a recipient goes in the statement that deletes it: the fewer statements, the less the writer's thread
-- waits for the interpreter.
CREATE TRIGGER recipient_gone AFTER DELETE ON recipient BEGIN
    UPDATE queue SET waiting = waiting - 1 WHERE id = old.queue;
    DELETE FROM attempt WHERE recipient = old.id AND old.attempts;
    DELETE FROM message WHERE id = old.id >> {RECIPIENT_BITS} AND NOT EXISTS (
        SELECT 1 FROM recipient AS r
        WHERE r.id >= message.id << {RECIPIENT_BITS} AND r.id < (message.id + 1) << {RECIPIENT_BITS}
    );
END;
CREATE TRIGGER message_gone AFTER DELETE ON message BEGIN
    DELETE FROM body WHERE id = old.id;
END;

CREATE INDEX queue_due ON queue (priority, next_due) WHERE parked IS NULL AND next_due IS NOT NULL;
CREATE INDEX queue_parked ON queue (parked, next_due) WHERE parked IS NOT NULL AND parked <> '{WINDOW}';

CREATE TABLE reply (
    id INTEGER PRIMARY KEY,
    provider TEXT NOT NULL,
    code INTEGER NOT NULL,
    enhanced TEXT NOT NULL,
    text TEXT NOT NULL,
    sample TEXT NOT NULL
) STRICT;

CREATE TABLE attempt (
    recipient INTEGER NOT NULL,
    n INTEGER NOT NULL,
    at INTEGER NOT NULL,
    vmta TEXT NOT NULL,
    source TEXT NOT NULL,
    site TEXT NOT NULL,
    mx TEXT NOT NULL,
    remote TEXT NOT NULL,
    code INTEGER NOT NULL,
    enhanced TEXT NOT NULL,
    text TEXT NOT NULL,
    verb TEXT NOT NULL,
    local INTEGER NOT NULL,
    duration_s REAL NOT NULL,
    PRIMARY KEY (recipient, n)
) STRICT, WITHOUT ROWID;

CREATE TABLE operation (
    seq INTEGER PRIMARY KEY,
    op_id TEXT NOT NULL UNIQUE,
    at INTEGER NOT NULL,
    undone_by TEXT,
    data BLOB NOT NULL
) STRICT;

CREATE TABLE directive (id TEXT PRIMARY KEY, state TEXT NOT NULL, ended_at INTEGER, data BLOB NOT NULL)
    STRICT, WITHOUT ROWID;

CREATE TABLE in_doubt (
    id INTEGER PRIMARY KEY,
    recipient INTEGER NOT NULL,
    address BLOB NOT NULL,
    at INTEGER NOT NULL,
    vmta TEXT NOT NULL,
    site TEXT NOT NULL,
    remote TEXT NOT NULL,
    resolution TEXT NOT NULL DEFAULT 'open',
    resolved_at INTEGER
) STRICT;
CREATE UNIQUE INDEX in_doubt_recipient ON in_doubt (recipient, at);
"""
# utf8: needs SMTPUTF8; user: who authenticated; the others as the client gave them (RFC 3461), empty for most mail
_ENVELOPE = """
ALTER TABLE message ADD COLUMN utf8 INTEGER NOT NULL DEFAULT 0;
ALTER TABLE message ADD COLUMN user TEXT NOT NULL DEFAULT '';
ALTER TABLE message ADD COLUMN ret TEXT NOT NULL DEFAULT '';
ALTER TABLE message ADD COLUMN envid TEXT NOT NULL DEFAULT '';
ALTER TABLE recipient ADD COLUMN notify TEXT NOT NULL DEFAULT '';
ALTER TABLE recipient ADD COLUMN orcpt TEXT NOT NULL DEFAULT '';
"""
_VERDICTS = """
ALTER TABLE attempt ADD COLUMN category TEXT NOT NULL DEFAULT '';
ALTER TABLE attempt ADD COLUMN action TEXT NOT NULL DEFAULT '';
ALTER TABLE attempt ADD COLUMN scope TEXT NOT NULL DEFAULT '';
ALTER TABLE attempt ADD COLUMN rule TEXT NOT NULL DEFAULT '';
ALTER TABLE reply ADD COLUMN category TEXT NOT NULL DEFAULT '';
ALTER TABLE reply ADD COLUMN rule TEXT NOT NULL DEFAULT '';
"""
# data: the record as JSON; the last use stands apart, since it is written without an operation
_CREDENTIALS = """
CREATE TABLE credential (
    user TEXT PRIMARY KEY,
    data BLOB NOT NULL,
    used_at INTEGER NOT NULL DEFAULT 0,
    used_from TEXT NOT NULL DEFAULT ''
) STRICT, WITHOUT ROWID;
"""
_JOBS = """
ALTER TABLE queue ADD COLUMN job TEXT NOT NULL DEFAULT '';
CREATE INDEX queue_job ON queue (job) WHERE job <> '';
CREATE TABLE job (
    name TEXT PRIMARY KEY,
    created_at INTEGER NOT NULL,
    last_at INTEGER NOT NULL,
    accepted INTEGER NOT NULL DEFAULT 0,
    deferred INTEGER NOT NULL DEFAULT 0,
    delivered INTEGER NOT NULL DEFAULT 0,
    bounced INTEGER NOT NULL DEFAULT 0,
    cancelled INTEGER NOT NULL DEFAULT 0
) STRICT, WITHOUT ROWID;
"""
# key: of address and stream; reason: place in SuppressionReason; pending: not in effect until an operator says so
_SUPPRESSION = """
CREATE TABLE suppression (
    key INTEGER PRIMARY KEY,
    address TEXT NOT NULL,
    stream TEXT NOT NULL,
    reason INTEGER NOT NULL,
    added_at INTEGER NOT NULL,
    expires_at INTEGER,
    source TEXT NOT NULL,
    evidence TEXT NOT NULL,
    provider TEXT NOT NULL,
    pending INTEGER NOT NULL
) STRICT;
CREATE INDEX suppression_address ON suppression (address, stream);
CREATE INDEX suppression_end ON suppression (expires_at) WHERE expires_at IS NOT NULL;
CREATE INDEX suppression_pending ON suppression (provider) WHERE pending;
CREATE INDEX suppression_stream ON suppression (stream) WHERE stream <> '';

CREATE TABLE soft_bounce (
    key INTEGER PRIMARY KEY,
    messages INTEGER NOT NULL,
    first_at INTEGER NOT NULL,
    last_at INTEGER NOT NULL,
    message INTEGER NOT NULL
) STRICT;
CREATE INDEX soft_bounce_last ON soft_bounce (last_at);
"""
# header, secret: JSON; secret (source only) has both keys and the receipt to expect; closed: nothing is left to be done
_PARCELS = """
CREATE TABLE evacuation (
    id TEXT NOT NULL,
    direction TEXT NOT NULL,
    state TEXT NOT NULL,
    at INTEGER NOT NULL,
    ended_at INTEGER,
    data BLOB NOT NULL,
    PRIMARY KEY (id, direction)
) STRICT, WITHOUT ROWID;
CREATE TABLE parcel (
    id TEXT NOT NULL,
    direction TEXT NOT NULL,
    evacuation TEXT NOT NULL,
    n INTEGER NOT NULL,
    state TEXT NOT NULL,
    recipients INTEGER NOT NULL,
    closed INTEGER NOT NULL DEFAULT 0,
    header BLOB NOT NULL,
    secret BLOB,
    PRIMARY KEY (id, direction)
) STRICT, WITHOUT ROWID;
CREATE INDEX parcel_evacuation ON parcel (evacuation, direction, n);
CREATE INDEX parcel_open ON parcel (direction, evacuation) WHERE NOT closed;
CREATE TABLE parcel_part (
    id INTEGER PRIMARY KEY,
    parcel TEXT NOT NULL,
    part INTEGER NOT NULL,
    data BLOB NOT NULL
) STRICT;
CREATE UNIQUE INDEX parcel_part_of ON parcel_part (parcel, part);
"""
# What orders on mail have: the due time that each recipient had, and how far each order is. A trigger of its own, so
# that a recipient that leaves otherwise costs one comparison.
_HELD = f"""
CREATE TABLE held (
    recipient INTEGER PRIMARY KEY,
    mail_order TEXT NOT NULL,
    due INTEGER NOT NULL
) STRICT;
CREATE INDEX held_order ON held (mail_order, recipient);
CREATE TRIGGER held_gone AFTER DELETE ON recipient WHEN old.due = {HELD_DUE} BEGIN
    DELETE FROM held WHERE recipient = old.id;
END;
CREATE TABLE mail_order (
    id TEXT PRIMARY KEY,
    after INTEGER NOT NULL,
    in_flight INTEGER NOT NULL,
    settled INTEGER NOT NULL
) STRICT, WITHOUT ROWID;
"""
_SUPPRESSION_BY_PROVIDER = "CREATE INDEX suppression_provider ON suppression (provider, added_at);"
# Messages that orders on a Postfix queue are about: `mailagent.spool.frozen`.
_FROZEN = """
CREATE TABLE frozen (
    mail_order TEXT NOT NULL,
    name TEXT NOT NULL,
    message INTEGER NOT NULL,
    arrived_at INTEGER NOT NULL,
    sender BLOB NOT NULL,
    size INTEGER NOT NULL,
    recipients INTEGER NOT NULL,
    state INTEGER NOT NULL,
    PRIMARY KEY (mail_order, name)
) STRICT, WITHOUT ROWID;
CREATE INDEX frozen_message ON frozen (message);
"""
# Messages of another mail server's queue: `mailagent.spool.mirror`.
_MIRRORED = """
CREATE TABLE mirrored (
    message INTEGER PRIMARY KEY,
    queue_id TEXT NOT NULL UNIQUE,
    folder TEXT NOT NULL,
    digest INTEGER NOT NULL,
    due INTEGER NOT NULL
) STRICT;
"""
# Nothing of the tables: versions before this one do not know of the journal, and would leave out what it has.
_JOURNAL = ""
_FIRST_VERSION = 2
_STEPS = (
    _TABLES,
    _ENVELOPE,
    _VERDICTS,
    _CREDENTIALS,
    _JOBS,
    _SUPPRESSION,
    _PARCELS,
    _HELD,
    _SUPPRESSION_BY_PROVIDER,
    _FROZEN,
    _MIRRORED,
    _JOURNAL,
)
"""What makes each version out of the one before, the first out of nothing. A step is never changed, only followed."""
SCHEMA_VERSION = _FIRST_VERSION + len(_STEPS) - 1


def require_library(version: str | None = None) -> None:
    """Refuse an SQLite that can lose mail.

    Raises:
        SpoolUnusable: it is older than OLDEST_SQLITE.
    """
    found = version or apsw.sqlite_lib_version()
    if tuple(int(part) for part in found.split(".")) < OLDEST_SQLITE:
        wanted = ".".join(str(part) for part in OLDEST_SQLITE)
        raise SpoolUnusable(f"SQLite {found} can corrupt a spool (WAL reset); install apsw with {wanted} or newer")


def open_writer(path: Path, vfs: str | None = None) -> apsw.Connection:
    """The one connection that writes and checkpoints; makes the database when there is none, upgrades an older one.

    Raises:
        SpoolUnusable: the file is not ours, or of a newer version.
        apsw.Error: it cannot be opened.
    """
    require_library()
    db = apsw.Connection(str(path), vfs=vfs, statementcachesize=STATEMENTS_KEPT)
    _add_functions(db)
    db.set_busy_timeout(BUSY_TIMEOUT_MS)
    db.pragma("page_size", PAGE_SIZE)
    if db.pragma("journal_mode", "wal") != "wal":
        raise SpoolUnusable(f"{path}: this file system does not allow a write-ahead log; use a local one")
    db.pragma("synchronous", "FULL")
    db.pragma("secure_delete", False)  # some builds overwrite each deleted body with zeros
    db.pragma("mmap_size", 0)
    db.pragma("cache_size", -64 * 1024)
    db.pragma("temp_store", "memory")
    db.pragma("journal_size_limit", WAL_KEPT_BYTES)
    db.wal_autocheckpoint(0)
    version = db.pragma("user_version")
    if version and not _FIRST_VERSION <= version <= SCHEMA_VERSION:
        raise SpoolUnusable(f"{path}: schema version {version}, this mailagent knows {SCHEMA_VERSION}; upgrade it")
    _upgrade(db, version)
    return db


def open_in_memory() -> apsw.Connection:
    """An empty database that nobody else sees."""
    db = apsw.Connection(":memory:")
    _add_functions(db)
    _upgrade(db, 0)
    return db


def _add_functions(db: apsw.Connection) -> None:
    """What conditions on mail need beside SQLite's own functions."""
    db.create_scalar_function(A_LABELS, _a_labels, 1, deterministic=True)


def _a_labels(*values: Any) -> str:
    """A stored address with its domain in A-labels; bytes that are no text stay outside of every name."""
    (address,) = values
    return folded_address(address.decode(errors="replace") if isinstance(address, bytes) else str(address))


def _upgrade(db: apsw.Connection, version: int) -> None:
    """Make the tables what they are now; those of version 0 are not there."""
    if version != SCHEMA_VERSION:
        with db:
            for step in _STEPS[version - _FIRST_VERSION + 1 if version else 0 :]:
                db.execute(step)
            db.pragma("user_version", SCHEMA_VERSION)


def open_reader(path: Path) -> apsw.Connection:
    """A read-only connection beside the writer; it never checkpoints.

    Raises:
        SpoolUnusable: there is no spool, or one of another version.
        apsw.Error: it is damaged.
    """
    require_library()
    try:
        db = apsw.Connection(str(path), flags=apsw.SQLITE_OPEN_READONLY)
    except apsw.CantOpenError as exc:
        raise SpoolUnusable(f"{path}: no spool there, or no permission to read it") from exc
    try:
        _add_functions(db)
        db.set_busy_timeout(BUSY_TIMEOUT_MS)
        db.pragma("query_only", True)
        db.pragma("temp_store", "memory")
        db.pragma("cache_size", -32 * 1024)
        db.wal_autocheckpoint(0)
        version = db.pragma("user_version")
    except apsw.Error:
        db.close()
        raise
    if version != SCHEMA_VERSION:
        db.close()
        advice = "upgrade it" if version > SCHEMA_VERSION else "its next start brings the spool up to date"
        raise SpoolUnusable(f"{path}: schema version {version}, this mailagent knows {SCHEMA_VERSION}; {advice}")
    return db


def meta(db: apsw.Connection, name: str) -> str | int | bytes | None:
    """One value of the spool's own facts, None when it is not there."""
    for (value,) in db.execute("SELECT value FROM meta WHERE name = ?", (name,)):
        return value  # type: ignore[no-any-return]
    return None


def set_meta(db: apsw.Connection, name: str, value: str | int | bytes) -> None:
    """Remember one of the spool's own facts."""
    db.execute("INSERT INTO meta VALUES (?, ?) ON CONFLICT (name) DO UPDATE SET value = excluded.value", (name, value))
