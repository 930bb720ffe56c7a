"""What the spool's file holds: its tables, how an entry becomes rows, and how rows become an entry again.

An entry's payload lies in a table of its own, so that counting the entries, or passing over many, reads no payload.

Nothing in here begins or ends a transaction. Connections give text as bytes (`text_factory`): what a damaged page
holds need not be UTF-8.
"""

from __future__ import annotations

import hashlib
import json
import math
import sqlite3
import time
from collections import Counter
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final, TypeAlias

FORMAT: Final = 1
"""The format's number. It stands in `user_version` and in the table `about`; every format to come keeps both, so that
a flipped bit in one of them is not taken for a newer format."""

APPLICATION_ID: Final = 0x7452_6C79
"""SQLite's `application_id` of the file: "tRly" in ASCII."""

DAMAGED: Final = "damaged"
"""The `error` of an entry whose payload is not what was put in."""

NAMELESS: Final = "its description is damaged"
"""The `error` of an entry whose payload is what was put in, and all else may not be."""

BROKEN: Final = (DAMAGED, NAMELESS)
"""What is never given out to be handed over, nor released."""

_ENTRIES: Final = (
    "CREATE TABLE entries (seq INTEGER PRIMARY KEY, id TEXT NOT NULL, count INTEGER NOT NULL, dedupe TEXT, "
    "route TEXT NOT NULL, since REAL NOT NULL, doubtful INTEGER NOT NULL, error TEXT NOT NULL, digest BLOB NOT NULL)"
)
SCHEMA: Final = (
    "CREATE TABLE about (format INTEGER NOT NULL, touched INTEGER NOT NULL)",
    _ENTRIES,
    "CREATE TABLE payloads (seq INTEGER PRIMARY KEY, seal BLOB NOT NULL, payload BLOB NOT NULL)",
    # Not unique: of an entry that is damaged a whole one may be kept beside it. One writer at a time looks first.
    "CREATE INDEX entries_id ON entries (id)",
    "CREATE INDEX entries_dedupe ON entries (dedupe) WHERE dedupe IS NOT NULL",
)

_LAST_SEQ: Final = 2**62
_FIELDS: Final = (
    "SELECT entries.seq, id, count, dedupe, route, since, doubtful, error, digest, seal, payload "
    "FROM entries LEFT JOIN payloads ON payloads.seq = entries.seq "
)
_BY_ID: Final = _FIELDS + "WHERE id = ? ORDER BY entries.seq"
_BY_DEDUPE: Final = _FIELDS + "WHERE dedupe = ? ORDER BY entries.seq"
_BY_SEQ: Final = _FIELDS + "WHERE entries.seq = ?"
_PAYLOAD_ALONE: Final = (
    "SELECT seq, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, seal, payload FROM payloads WHERE seq = ?"
)
_ENTRY_ALONE: Final = (
    "SELECT seq, id, count, dedupe, route, since, doubtful, error, digest, NULL, NULL FROM entries WHERE seq = ?"
)
WAYS: Final = (
    "SELECT seq FROM entries ORDER BY seq",
    "SELECT seq FROM entries ORDER BY seq DESC",
    "SELECT seq FROM entries INDEXED BY entries_id ORDER BY id",
    "SELECT seq FROM entries INDEXED BY entries_id ORDER BY id DESC",
    "SELECT seq FROM payloads ORDER BY seq",
    "SELECT seq FROM payloads ORDER BY seq DESC",
)
"""The ways on which SQLite comes by entries' places. In a damaged file each may end somewhere else."""

RESCUES: Final = (_BY_SEQ, _PAYLOAD_ALONE, _ENTRY_ALONE)
"""How what is left of an entry can be read, if not one way then another."""

_PAGE: Final = _FIELDS + "WHERE entries.seq > ? ORDER BY entries.seq LIMIT ?"


class Damaged(Exception):
    """The file is damaged in a way that SQLite itself does not notice."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Entry:
    """An event as it is put into the spool.

    Attributes:
        id: the event's id.
        count: how many jobs it becomes.
        dedupe: what a repeated event is known by, already hashed; `None` where nothing tells.
        route: the route's rule.
        since: when it was spooled, as `time.time` counts.
        doubtful: whether Redis was sent it and did not answer.
        payload: what is to be handed over; opaque here.
    """

    id: str
    count: int
    dedupe: str | None
    route: str
    since: float
    doubtful: bool
    payload: bytes = field(repr=False)


@dataclass(frozen=True, slots=True)
class Kept:
    """What became of an entry.

    Attributes:
        id: the id of the entry that is kept: of a repeated one the first's.
        count: how many jobs that one becomes.
        duplicate: whether it was there already.
    """

    id: str
    count: int
    duplicate: bool


@dataclass(frozen=True, slots=True)
class Stored:
    """An entry as it lies in the spool.

    Attributes:
        seq: its place; never given again, not even in a fresh file.
        entry: the entry. Of a damaged one what could be read, so trust nothing of it; of a nameless one the payload.
        error: why it is held back, `""` if it is not; `DAMAGED` and `NAMELESS` if a digest does not fit.
    """

    seq: int
    entry: Entry
    error: str


@dataclass(frozen=True, slots=True)
class Summary:
    """What is in the spool.

    Attributes:
        waiting: how many entries can be taken.
        held: how many are held back, damaged ones too.
        oldest: when the oldest that waits was spooled, as `time.time` counts; `None` where none waits.
        size: bytes on disk, with the write-ahead log. The file does not shrink; what is freed is used again.
        max_size: how large the file may become, in bytes, without the log.
        routes: how many entries each route has, held ones too.
    """

    waiting: int
    held: int
    oldest: float | None
    size: int
    max_size: int
    routes: Mapping[str, int]


Row: TypeAlias = tuple[str, int, str | None, str, float, int, bytes, bytes, bytes]
"""An entry ready to be written: its fields in order, their digest, the payload's, and the payload."""


def to_row(entry: Entry) -> Row:
    """Make an entry ready to be written.

    Raises:
        ValueError: SQLite would not give back what was put in.
    """
    # Whatever fails in SQLite would fail for all that share the commit.
    for text in (entry.id, entry.route, entry.dedupe or ""):
        text.encode("utf-8")
    if not math.isfinite(entry.since) or not 0 <= entry.count < 2**31:
        raise ValueError("an entry's time or count is out of range")
    since, payload = float(entry.since), bytes(entry.payload)
    fields = (entry.id, entry.count, entry.dedupe, entry.route, since, int(entry.doubtful))
    seal = _seal(payload)
    return (*fields, _digest(fields, seal), seal, payload)


def to_stored(row: Sequence[Any]) -> Stored:
    """Make an entry of what SQLite gave, damaged or not."""
    seq, id_, count, dedupe, route, since, doubtful, error, digest, seal, payload = row
    if not isinstance(payload, bytes) or seal != _seal(payload):
        return Stored(seq, _best_guess(row), DAMAGED)
    try:
        fields = (
            id_.decode(),
            count,
            dedupe if dedupe is None else dedupe.decode(),
            route.decode(),
            since,
            doubtful,
        )
        fits = digest == _digest(fields, seal)
        reason = error.decode()
    except (AttributeError, TypeError, ValueError):
        fits = False
    if not fits:
        return Stored(seq, _best_guess(row), NAMELESS)
    entry = Entry(
        id=fields[0],
        count=count,
        dedupe=fields[2],
        route=fields[3],
        since=since,
        doubtful=bool(doubtful),
        payload=payload,
    )
    return Stored(seq, entry, reason)


def put(connection: sqlite3.Connection, rows: Sequence[Row]) -> list[Kept]:
    """Write entries, and say of each what became of it.

    Raises:
        Damaged: the last entry's place cannot be right.
    """
    (last,) = connection.execute("SELECT max(seq) FROM entries").fetchone()
    # From the clock on, so that a fresh file does not give places again that somebody may still hold and remove.
    seq = max((last or 0) + 1, time.time_ns() // 1000)
    if seq >= _LAST_SEQ:
        raise Damaged
    kept = []
    for row in rows:
        first = _known(connection, row)
        if first is not None:
            kept.append(Kept(first.entry.id, first.entry.count, duplicate=True))
            continue
        connection.execute("INSERT INTO entries VALUES (?, ?, ?, ?, ?, ?, ?, '', ?)", (seq, *row[:-2]))
        # There is no payload at this place, unless damage put one there.
        connection.execute("INSERT OR REPLACE INTO payloads VALUES (?, ?, ?)", (seq, *row[-2:]))
        kept.append(Kept(row[0], row[1], duplicate=False))
        seq += 1
    return kept


def page(connection: sqlite3.Connection, after: int, limit: int) -> list[Stored]:
    """Give the next entries, held ones too, in order."""
    return [to_stored(row) for row in connection.execute(_PAGE, (after, limit)).fetchall()]


def takeable(connection: sqlite3.Connection, after: int, limit: int, skip_routes: Collection[str]) -> list[Stored]:
    """Give the next entries that are not held back, in order."""
    marks = ", ".join("?" * len(skip_routes))
    query = (
        # Only question marks are put in. The payloads are read last, of those entries alone that are given.
        f"{_FIELDS}WHERE entries.seq > ? AND error = '' AND route NOT IN ({marks}) ORDER BY entries.seq LIMIT ?"
    )
    return [to_stored(row) for row in connection.execute(query, (after, *skip_routes, limit)).fetchall()]


def rescued(connection: sqlite3.Connection, seq: int, query: str) -> Stored | None:
    """Give what one of `RESCUES` leads to at a place."""
    row = connection.execute(query, (seq,)).fetchone()
    return None if row is None else to_stored(row)


def remove(connection: sqlite3.Connection, seqs: Collection[int]) -> int:
    """Erase entries, and say how many there were."""
    places = [(seq,) for seq in seqs]
    connection.executemany("DELETE FROM payloads WHERE seq = ?", places)
    return connection.executemany("DELETE FROM entries WHERE seq = ?", places).rowcount


def hold(connection: sqlite3.Connection, seqs: Collection[int], error: str) -> None:
    """Hold entries back. One that is damaged stays so."""
    rows = [(error, seq, *BROKEN) for seq in seqs]
    connection.executemany("UPDATE entries SET error = ? WHERE seq = ? AND error NOT IN (?, ?)", rows)


def release(connection: sqlite3.Connection) -> int:
    """Let entries that are held back be taken again, and say how many; not those that are damaged."""
    return connection.execute("UPDATE entries SET error = '' WHERE error NOT IN ('', ?, ?)", BROKEN).rowcount


def is_empty(connection: sqlite3.Connection) -> bool:
    """Say whether there is no entry at all."""
    return connection.execute("SELECT 1 FROM entries LIMIT 1").fetchone() is None


def has(connection: sqlite3.Connection, event_id: str) -> bool:
    """Say whether there is an entry of an event."""
    return connection.execute("SELECT 1 FROM entries WHERE id = ?", (event_id,)).fetchone() is not None


def probe(connection: sqlite3.Connection, size: int) -> None:
    """Write a payload of nothing, to see whether there is room; to be rolled back."""
    connection.execute("INSERT OR REPLACE INTO payloads VALUES (?, '', zeroblob(?))", (_LAST_SEQ, size))


def summed(connection: sqlite3.Connection, *, size: int, max_size: int) -> Summary:
    """Count the entries."""
    query = (
        "SELECT route, count(*), sum(error IS NOT ''), min(CASE error WHEN '' THEN since END) FROM entries "
        "GROUP BY route"
    )
    groups = connection.execute(query).fetchall()
    held = sum(row[2] for row in groups)
    return Summary(
        waiting=sum(row[1] for row in groups) - held,
        held=held,
        oldest=min((row[3] for row in groups if isinstance(row[3], float)), default=None),
        size=size,
        max_size=max_size,
        routes={_text(row[0]): row[1] for row in groups},
    )


def counted(entries: Iterable[Stored], *, size: int, max_size: int) -> Summary:
    """Count entries one by one: of a file in which SQLite cannot."""
    routes: Counter[str] = Counter()
    held = 0
    oldest: float | None = None
    for stored in entries:
        routes[stored.entry.route] += 1
        held += bool(stored.error)
        if not stored.error:
            oldest = stored.entry.since if oldest is None else min(oldest, stored.entry.since)
    return Summary(routes.total() - held, held, oldest, size, max_size, routes=dict(routes))


def _known(connection: sqlite3.Connection, row: Row) -> Stored | None:
    """Find the first whole entry of the same id, or else of the same duplicate key.

    A damaged one does not count: what is acknowledged on the strength of it would be lost.
    """
    id_, dedupe = row[0], row[2]
    for found in connection.execute(_BY_ID, (id_,)).fetchall():
        stored = to_stored(found)
        if stored.error not in BROKEN and stored.entry.id == id_:
            return stored
    if dedupe is None:
        return None
    for found in connection.execute(_BY_DEDUPE, (dedupe,)).fetchall():
        stored = to_stored(found)
        if stored.error not in BROKEN and stored.entry.dedupe == dedupe:
            return stored
    return None


def _seal(payload: bytes) -> bytes:
    return hashlib.blake2b(payload, digest_size=8).digest()


def _digest(fields: tuple[Any, ...], seal: bytes) -> bytes:
    # JSON in ASCII is the same in every version of Python; `repr` is not.
    return hashlib.blake2b(json.dumps(fields).encode("ascii") + seal, digest_size=8).digest()


def _best_guess(row: Sequence[Any]) -> Entry:
    _, id_, count, dedupe, route, since, doubtful, _, _, _, payload = row
    return Entry(
        id="" if id_ is None else _text(id_),
        count=count if isinstance(count, int) else 0,
        dedupe=None if dedupe is None else _text(dedupe),
        route="" if route is None else _text(route),
        since=since if isinstance(since, float) else 0.0,
        doubtful=bool(doubtful),
        payload=payload if isinstance(payload, bytes) else b"",
    )


def _text(value: object) -> str:
    return value.decode("utf-8", "replace") if isinstance(value, bytes) else str(value)
