"""SQLite as the spool uses it: how a connection is opened, what a file is, what an error means."""

from __future__ import annotations

import sqlite3
from pathlib import Path
from typing import Final, TypeAlias

from ..errors import SpoolError
from .spool_files import Files
from .spool_rows import APPLICATION_ID, FORMAT, SCHEMA, Damaged

BUSY_TIMEOUT: Final = 0.5
"""Seconds that SQLite waits for a lock. Processes of ours wait for their turn; this is for somebody's `sqlite3`."""

PAGE_SIZE: Final = 4096

WAL_PAGES: Final = 1000
"""After how many pages the write-ahead log is copied into the database and begun again."""

FAILURES: Final = (sqlite3.Error, Damaged, UnicodeDecodeError)
"""What working with the connection raises. The last comes of Python, when SQLite's message quotes a damaged page."""

Failure: TypeAlias = sqlite3.Error | Damaged | UnicodeDecodeError

DAMAGE: Final = (sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB, sqlite3.SQLITE_TOOBIG)
"""SQLite's codes that mean a damaged file."""

# Kept at this size once it had it: on a full disk what was handed over can still be removed.
_WAL_KEPT: Final = 2 * WAL_PAGES * PAGE_SIZE

# Checked whole when it is opened, at 1.5 GB/s (measured, cached). In a larger one damage shows when it is read.
_CHECKED_SIZE: Final = 256 * 2**20

_SCHEMA: Final = {statement.encode() for statement in SCHEMA}
_SETTINGS: Final = (
    "PRAGMA synchronous = FULL",
    "PRAGMA fullfsync = ON",  # macOS' fsync stops at the drive's cache
    "PRAGMA checkpoint_fullfsync = ON",
    "PRAGMA secure_delete = ON",  # what is erased does not linger in free pages
    f"PRAGMA wal_autocheckpoint = {WAL_PAGES}",
    f"PRAGMA journal_size_limit = {_WAL_KEPT}",
    f"PRAGMA page_size = {PAGE_SIZE}",
)


class Unfit(Exception):
    """The file cannot be used.

    Attributes:
        kind: `"corrupt"` or `"foreign"`.
    """

    def __init__(self, kind: str) -> None:
        super().__init__(kind)
        self.kind = kind


def connect(path: Path, mode: str) -> sqlite3.Connection:
    """Open a connection as all expect it: no transaction by itself, text as bytes, no trust in what the file says.

    The file is not read yet, so whatever is wrong with it shows later.

    Args:
        path: the file; it must be there.
        mode: `"rw"` or `"ro"`.
    """
    connection = sqlite3.connect(
        f"{path.as_uri()}?mode={mode}", uri=True, timeout=BUSY_TIMEOUT, isolation_level=None, check_same_thread=False
    )
    try:
        connection.text_factory = bytes
        connection.execute("PRAGMA trusted_schema = OFF")
        connection.execute("PRAGMA cell_size_check = ON")
        connection.execute("PRAGMA mmap_size = 0")
        connection.execute("PRAGMA temp_store = MEMORY")
    except BaseException:
        connection.close()
        raise
    return connection


def read_format(connection: sqlite3.Connection, path: Path) -> int:
    """Give the number of the file's format, 0 where the file is empty yet.

    Raises:
        Unfit: it is damaged, or no spool.
        SpoolError: a newer trafficrelay made it.
    """
    connection.execute("PRAGMA cache_size = -2000")  # the file has a say in it otherwise
    (application,) = connection.execute("PRAGMA application_id").fetchone()
    (version,) = connection.execute("PRAGMA user_version").fetchone()
    schema = {row[0] for row in connection.execute("SELECT sql FROM sqlite_master").fetchall()}
    if not schema and not application and not version:
        return 0
    if application != APPLICATION_ID:
        raise Unfit("corrupt" if schema == _SCHEMA else "foreign")
    if connection.execute("SELECT format FROM about").fetchall() != [(version,)]:
        raise Unfit("corrupt")
    if version > FORMAT:
        raise SpoolError(
            f"The spool {path} was made by a newer trafficrelay (its format is {version}, {FORMAT} is known here). "
            "Use that one, or another file.",
            path=str(path),
        )
    if schema != _SCHEMA:
        raise Unfit("corrupt")
    return FORMAT


def is_sound(connection: sqlite3.Connection) -> bool:
    """Say whether SQLite finds nothing wrong with the database, if it is small enough to be looked at."""
    (pages,) = connection.execute("PRAGMA page_count").fetchone()
    return bool(pages * PAGE_SIZE > _CHECKED_SIZE or connection.execute("PRAGMA quick_check(1)").fetchone() == (b"ok",))


def judged(error: BaseException, files: Files) -> str:
    """Say what a file is that could not be opened: `"corrupt"`, `"foreign"`, or `""` if nothing is wrong with it.

    SQLite's locks may be gone afterwards: set the file aside, or close the connection.
    """
    if isinstance(error, Unfit):
        return error.kind
    code = code_of(error)
    if code == sqlite3.SQLITE_NOTADB:
        return "corrupt" if files.looks_like(APPLICATION_ID) else "foreign"
    if code == sqlite3.SQLITE_READONLY:
        # The disk may be, or the file; or a flipped bit says so.
        return "corrupt" if files.forbids_writing() else ""
    # Of the statements with which a file is opened none is wrong by itself: its tables are not what they were.
    return "corrupt" if code in (*DAMAGE, sqlite3.SQLITE_ERROR) else ""


def settle(connection: sqlite3.Connection, path: Path, *, is_new: bool) -> None:
    """Make a connection one that writes: for good when a commit returns. Of an empty file make a spool.

    Raises:
        SpoolError: it lies where there can be no write-ahead log.
        sqlite3.Error: it cannot be written.
    """
    for setting in _SETTINGS:
        connection.execute(setting)
    if connection.execute("PRAGMA journal_mode = WAL").fetchone() != (b"wal",):
        raise SpoolError(
            f"The spool {path} lies where SQLite cannot keep a write-ahead log; put it on a local disk.", path=str(path)
        )
    connection.execute("BEGIN IMMEDIATE")
    if is_new:
        for statement in SCHEMA:
            connection.execute(statement)
        connection.execute("INSERT INTO about VALUES (?, 0)", (FORMAT,))
        connection.execute(f"PRAGMA application_id = {APPLICATION_ID}")
        connection.execute(f"PRAGMA user_version = {FORMAT}")
        connection.execute("COMMIT")
    else:
        # A file that cannot be written shows it with the first statement that writes.
        connection.execute("UPDATE about SET touched = touched")
        connection.execute("ROLLBACK")


def frames_seen(connection: sqlite3.Connection) -> int:
    """Say how many frames of the write-ahead log SQLite sees. It copies them into the database."""
    return int(connection.execute("PRAGMA wal_checkpoint").fetchone()[1])


def touch(connection: sqlite3.Connection) -> None:
    """Commit something that means nothing: it takes the place in the log of what was refused, and tries the disk."""
    connection.execute("BEGIN IMMEDIATE")
    connection.execute("UPDATE about SET touched = touched + 1")
    connection.execute("COMMIT")


def log_is_emptied(connection: sqlite3.Connection) -> bool:
    """Copy the log into the database, empty it, and say whether nobody was in the way."""
    return bool(connection.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchone()[0] == 0)


def code_of(error: BaseException) -> int:
    """Give SQLite's primary code, of which an extended one is in the upper bits; 0 where it is none of SQLite's."""
    if isinstance(error, Damaged | UnicodeDecodeError):
        return sqlite3.SQLITE_CORRUPT
    return int(getattr(error, "sqlite_errorcode", 0)) & 0xFF
