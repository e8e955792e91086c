"""The store: sessions and events in one SQLite database, written by the recorder.

    sessions     one row each: what lists show (`summary`), what is searched, and `state`, from which recording goes on
    events       event_id = session_no << 32 | seq; the wire form with its chain hash, and the columns that are searched
    open_calls   requests that wait for their answer
    definitions  tools, prompts and resources as servers described them
    rollups      calls, errors, latencies and bytes by session, period, method and tool (since schema 2)
    shipping     how far each session has reached the server
    meta         whose store this is, and what happened to it

WAL, synchronous=FULL; one transaction holds everything that a step of the recorder changed.  The recorder is the only
long-lived writer.  Text comes from the wire and may hold anything; JSON columns are msgspec's bytes.  A change of the
schema is one more step in STEPS; an older km leaves a newer store alone.
"""

import os
import time
from collections.abc import Iterator
from contextlib import contextmanager

import apsw
import msgspec

from kilometers import rollups
from kilometers.core.event import microseconds
from kilometers.core.pairing import Call
from kilometers.core.session import Row, SessionState
from kilometers.core.summary import SessionSummary
from kilometers.errors import KilometersError
from kilometers.priority import give_way

APPLICATION_ID = 0x4B4D5331  # "KMS1": file(1) and we know our own
BUSY_TIMEOUT_MS = 5_000
SEQ_BITS = 32
DELETE_ROWS = 2_000
BALLAST_BYTES = 4 << 20  # enough to checkpoint a WAL of the usual size

FIRST_SCHEMA = """
CREATE TABLE meta (
    key text PRIMARY KEY,
    value text NOT NULL
) WITHOUT ROWID;
CREATE TABLE sessions (
    session_no integer PRIMARY KEY,
    session_id text NOT NULL UNIQUE,
    journal_id text NOT NULL,
    continues text,
    install_id text NOT NULL,
    destination text,
    name text NOT NULL,
    started_at_us integer NOT NULL,
    ended_at_us integer,
    is_probe integer NOT NULL,
    kept_bytes integer NOT NULL,
    summary blob NOT NULL,
    state blob NOT NULL
);
CREATE INDEX sessions_journal_id ON sessions (journal_id);
CREATE INDEX sessions_started_at ON sessions (started_at_us);
CREATE TABLE events (
    event_id integer PRIMARY KEY,
    at_us integer NOT NULL,
    kind text NOT NULL,
    direction text,
    method text,
    target text,
    status text,
    duration_us integer,
    size_bytes integer,
    call_seq integer,
    wire blob NOT NULL,
    hash blob NOT NULL
);
CREATE INDEX events_at ON events (at_us);
CREATE TABLE open_calls (
    session_no integer NOT NULL,
    seq integer NOT NULL,
    call blob NOT NULL,
    PRIMARY KEY (session_no, seq)
) WITHOUT ROWID;
CREATE TABLE definitions (
    server text NOT NULL,
    kind text NOT NULL,
    name text NOT NULL,
    hash blob NOT NULL,
    definition blob NOT NULL,
    session_no integer NOT NULL,
    seq integer NOT NULL,
    PRIMARY KEY (server, kind, name, hash)
) WITHOUT ROWID;
CREATE TABLE shipping (
    session_no integer PRIMARY KEY,
    stream_id text NOT NULL,
    next_seq integer NOT NULL,
    tail_hash blob NOT NULL,
    problem text
);
"""
# Which sessions live is asked by whoever follows them, again and again.
LIVING = "CREATE INDEX sessions_living ON sessions (session_no) WHERE ended_at_us IS NULL;"
STEPS = (FIRST_SCHEMA, rollups.SCHEMA + LIVING)
SCHEMA_VERSION = len(STEPS)
ROLLUPS_SINCE = 2

_states = msgspec.msgpack.Decoder(SessionState)
_calls = msgspec.msgpack.Decoder(Call)
_summaries = msgspec.json.Decoder(SessionSummary)


class StoreDamaged(Exception):
    """The file is no store of ours, or what it holds cannot be read."""


class StoreTooNew(KilometersError):
    """A newer km made the store: this one must leave it alone."""


class KeptSession(msgspec.Struct):
    """A session as the store has it."""

    session_no: int
    state: SessionState
    calls: list[Call]
    is_ended: bool
    install_id: str


class Store:
    """A connection that writes."""

    def __init__(self, path: str) -> None:
        """Open or make the store.  Raises apsw errors (a damaged file: NotADBError, CorruptError) and StoreTooNew."""
        self.path = path
        self.connection = apsw.Connection(path)
        os.chmod(path, 0o600)
        self._inode = os.stat(path).st_ino
        try:
            self._prepare()
        except BaseException:
            self.connection.close()
            raise

    def is_in_place(self) -> bool:
        """Whether the file that is open is still the one at the store's path."""
        try:
            return os.stat(self.path).st_ino == self._inode
        except FileNotFoundError:
            return False

    def close(self) -> None:
        """Close the connection; the last one checkpoints the WAL."""
        self.connection.close()

    @contextmanager
    def transaction(self) -> Iterator[None]:
        """Everything in it is kept, durably, or nothing is."""
        self.connection.execute("BEGIN IMMEDIATE")
        try:
            yield
            self.connection.execute("COMMIT")
        except BaseException:
            if self.connection.in_transaction:
                self.connection.execute("ROLLBACK")
            raise

    def meta(self, key: str) -> str:
        """Return a value of `meta`, "" where there is none."""
        row = self.connection.execute("SELECT value FROM meta WHERE key = ?", (key,)).fetchone()
        return str(row[0]) if row else ""

    def set_meta(self, key: str, value: str) -> None:
        """Set a value of `meta`."""
        self.connection.execute(
            "INSERT INTO meta (key, value) VALUES (?, ?) ON CONFLICT (key) DO UPDATE SET value = excluded.value",
            (key, value),
        )

    def find_session(self, journal_id: str) -> KeptSession | None:
        """Return the session that records a relay's journal: the newest of them."""
        row = self.connection.execute(
            "SELECT session_no, state, ended_at_us, install_id FROM sessions"
            " WHERE journal_id = ? ORDER BY session_no DESC LIMIT 1",
            (journal_id,),
        ).fetchone()
        if row is None:
            return None
        number, state, ended_at_us, install_id = row
        calls = self.connection.execute("SELECT call FROM open_calls WHERE session_no = ? ORDER BY seq", (number,))
        try:
            decoded = [_calls.decode(call) for (call,) in calls]
            return KeptSession(number, _states.decode(state), decoded, ended_at_us is not None, install_id)
        except msgspec.MsgspecError as error:
            raise StoreDamaged(f"session {journal_id}: {error}") from error

    def add_session(self, state: SessionState, *, journal_id: str, continues: str | None, install_id: str) -> int:
        """Make a session's row and return its number."""
        self.connection.execute(
            "INSERT INTO sessions (session_id, journal_id, continues, install_id, name, started_at_us, is_probe,"
            " kept_bytes, summary, state) VALUES (?, ?, ?, ?, '', ?, 0, 0, x'', x'')",
            (state.session_id, journal_id, continues, install_id, time.time_ns() // 1000),
        )
        return self.connection.last_insert_rowid()

    def save_session(self, number: int, state: SessionState, summary: SessionSummary) -> None:
        """Keep a session's state and summary."""
        self.connection.execute(
            "UPDATE sessions SET name = ?, started_at_us = coalesce(nullif(?, 0), started_at_us), ended_at_us = ?,"
            " is_probe = ?, kept_bytes = ?, summary = ?, state = ? WHERE session_no = ?",
            (
                summary.name.encode("utf-8", "replace").decode(),
                state.started_ns // 1000,
                microseconds(summary.ended_at) if summary.ended_at else None,
                summary.is_probe,
                state.kept_bytes,
                msgspec.json.encode(summary),
                msgspec.msgpack.encode(state),
                number,
            ),
        )

    def add_events(self, number: int, rows: list[Row]) -> None:
        """Add a session's next events."""
        base = number << SEQ_BITS
        self.connection.executemany(
            "INSERT INTO events (event_id, at_us, kind, direction, method, target, status, duration_us, size_bytes,"
            " call_seq, wire, hash) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)",
            _values(base, rows),
        )
        rollups.count_rows(self.connection, number, rows, base=base)

    def save_calls(self, number: int, changes: dict[int, Call | None]) -> None:
        """Follow what has changed among a session's open calls."""
        gone = [(number, seq) for seq, call in changes.items() if call is None]
        kept = [(number, seq, msgspec.msgpack.encode(call)) for seq, call in changes.items() if call is not None]
        if gone:
            self.connection.executemany("DELETE FROM open_calls WHERE session_no = ? AND seq = ?", gone)
        if kept:
            self.connection.executemany(
                "INSERT OR REPLACE INTO open_calls (session_no, seq, call) VALUES (?, ?, ?)", kept
            )

    def unended_sessions(self, install_id: str) -> list[str]:
        """Return the journal ids of this install's sessions without an end."""
        found = self.connection.execute(
            "SELECT journal_id FROM sessions WHERE ended_at_us IS NULL AND install_id = ?", (install_id,)
        )
        return [str(journal_id) for (journal_id,) in found]

    def delete_page(self, number: int) -> bool:
        """Delete DELETE_ROWS of a session's events in a transaction of their own; whether the session is gone.

        Its row goes last, so that a crash in between leaves it findable.
        """
        low, high = number << SEQ_BITS, (number + 1) << SEQ_BITS
        with self.transaction():
            self.connection.execute(
                "DELETE FROM events WHERE event_id IN"
                " (SELECT event_id FROM events WHERE event_id >= ? AND event_id < ? LIMIT ?)",
                (low, high, DELETE_ROWS),
            )
            if self.connection.changes() == DELETE_ROWS:
                return False
            for table in ("open_calls", "shipping", "rollups", "sessions"):
                self.connection.execute(f"DELETE FROM {table} WHERE session_no = ?", (number,))  # noqa: S608  # names from the line above
        return True

    def oldest_ended_session(self) -> tuple[int, int] | None:
        """Return (session_no, ended_at_us) of the oldest session that has ended."""
        row = self.connection.execute(
            "SELECT session_no, ended_at_us FROM sessions WHERE ended_at_us IS NOT NULL ORDER BY started_at_us LIMIT 1"
        ).fetchone()
        return (int(row[0]), int(row[1])) if row else None

    def ended_bytes(self) -> int:
        """Return what the sessions that have ended take up: those that live can only be kept whole."""
        row = self.connection.execute(
            "SELECT coalesce(sum(kept_bytes), 0) FROM sessions WHERE ended_at_us IS NOT NULL"
        ).fetchone()
        return int(row[0]) if row else 0

    def give_back(self) -> None:
        """Return free pages to the file system, some at a time."""
        self.connection.execute("PRAGMA incremental_vacuum(2000)").fetchall()

    def _prepare(self) -> None:
        connection = self.connection
        connection.set_busy_timeout(BUSY_TIMEOUT_MS)
        is_empty = not connection.execute("SELECT 1 FROM sqlite_schema LIMIT 1").fetchone()
        if not is_empty and int(connection.pragma("application_id")) != APPLICATION_ID:
            raise StoreDamaged(f"{self.path} is somebody else's database")
        if is_empty:
            connection.pragma("auto_vacuum", 2)  # incremental; only settable before the first table
        connection.pragma("journal_mode", "wal")
        connection.pragma("synchronous", 2)
        connection.pragma("fullfsync", 1)
        connection.pragma("checkpoint_fullfsync", 1)
        connection.pragma("cache_size", -4096)
        self._migrate()

    def _migrate(self) -> None:
        version = int(self.connection.pragma("user_version"))
        if version > SCHEMA_VERSION:
            raise StoreTooNew(
                f"the store {self.path} was made by a newer km (schema {version}, this km knows {SCHEMA_VERSION}).",
                "Update this km.",
            )
        if version == SCHEMA_VERSION:
            return
        with self.transaction():
            version = int(self.connection.pragma("user_version"))  # somebody may have been quicker
            for step in STEPS[version:]:
                self.connection.execute(step)
            if version < ROLLUPS_SINCE:
                rollups.count_everything(self.connection)
            self.connection.pragma("application_id", APPLICATION_ID)
            self.connection.pragma("user_version", SCHEMA_VERSION)


def _values(base: int, rows: list[Row]) -> Iterator[tuple[object, ...]]:
    """Yield the values of each row, giving way to the sessions in between."""
    for row in rows:
        give_way()
        yield (base | row.seq, *msgspec.structs.astuple(row)[1:])


def decode_summary(data: bytes) -> SessionSummary:
    """Return the summary that `save_session` kept."""
    return _summaries.decode(data)


def move_aside(path: str) -> str:
    """Rename a damaged store with its side files and return its new name."""
    aside = f"{path}.damaged-{time.strftime('%Y%m%d-%H%M%S')}"
    for ending in ("", "-wal", "-shm"):
        if os.path.exists(path + ending):
            os.rename(path + ending, aside + ending)
    return aside


def make_ballast(path: str) -> None:
    """Keep 4 MB that can be given up when the disk is full, so that the store can still be put in order."""
    if os.path.exists(path):
        return
    try:
        with open(path, "xb", opener=lambda name, flags: os.open(name, flags, 0o600)) as file:
            file.write(bytes(BALLAST_BYTES))
    except OSError:
        if os.path.exists(path):
            os.unlink(path)
