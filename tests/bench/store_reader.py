"""The recorder's database, read as any command would."""

import time
from pathlib import Path

import apsw

BUSY_TIMEOUT_MS = 2_000
BATCH_ROWS = 1_000


def wait_for(store: Path, *, limit_s: float = 5.0) -> None:
    """Wait until the recorder has made the store."""
    deadline = time.monotonic() + limit_s
    while time.monotonic() < deadline:
        if store.exists():
            connection = apsw.Connection(str(store), flags=apsw.SQLITE_OPEN_READONLY)
            connection.set_busy_timeout(BUSY_TIMEOUT_MS)
            is_made = connection.pragma("user_version") != 0
            connection.close()
            if is_made:
                return
        time.sleep(0.02)
    raise RuntimeError(f"no store at {store} after {limit_s:.0f} s")


class StoreReader:
    """A read connection to store.db; each question is a transaction of its own, so the log is never pinned."""

    def __init__(self, store: Path) -> None:
        wait_for(store)
        self.connection = apsw.Connection(str(store), flags=apsw.SQLITE_OPEN_READONLY)
        self.connection.set_busy_timeout(BUSY_TIMEOUT_MS)

    def close(self) -> None:
        self.connection.close()

    def ask(self, question: str, *values: int | str) -> int:
        """Return the one number that *question* yields."""
        [(number,)] = self.connection.execute(question, values).fetchall()
        assert isinstance(number, int)
        return number

    def count_events(self) -> int:
        return self.ask("SELECT count(*) FROM events")

    def count_gaps(self) -> int:
        return self.ask("SELECT count(*) FROM events WHERE kind = 'gap'")

    def last_id(self) -> int:
        return self.ask("SELECT coalesce(max(event_id), 0) FROM events")

    def has_method(self, method: str, *, after_id: int) -> bool:
        return self.ask("SELECT count(*) FROM events WHERE event_id > ? AND method = ?", after_id, method) > 0


class BareStore:
    """The least that a durable store costs: one table, one row a frame, as durable as the recorder's."""

    def __init__(self, file: Path) -> None:
        self.connection = apsw.Connection(str(file))
        self.connection.execute("PRAGMA journal_mode = WAL").fetchall()
        self.connection.execute("PRAGMA synchronous = FULL")
        self.connection.execute("CREATE TABLE events (id INTEGER PRIMARY KEY, at INTEGER, method TEXT, wire BLOB)")

    def close(self) -> None:
        self.connection.close()

    def add(self, rows: list[tuple[int, str, bytes]]) -> None:
        """Store *rows*, committing as often as a recorder under load would."""
        for start in range(0, len(rows), BATCH_ROWS):
            with self.connection:
                statement = "INSERT INTO events (at, method, wire) VALUES (?, ?, ?)"
                self.connection.executemany(statement, rows[start : start + BATCH_ROWS])
