"""Deleting sessions for `km clear`, while a recorder may be at work and other clearings too.

    choose ──▶ a person agrees ──▶ of each session: pages of its events, then its row ──▶ free pages ──▶ empty WAL

Every page is a short transaction that first looks whether the session is still the one that was chosen, and over; then
a pause as long as the page took, so that the recorder gets its turn.  A session's row goes last: after kill -9 whoever
clears again finds it and finishes.  What is deleted is overwritten, in the store and by emptying the WAL.

Counterpart: retention.py, which deletes in the recorder.
"""

import os
import shutil
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager

import apsw
import msgspec

from kilometers import paths
from kilometers.errors import KilometersError
from kilometers.paths import Home
from kilometers.queries import StoreReader
from kilometers.store import DELETE_ROWS, SEQ_BITS, Store, StoreDamaged, make_ballast

# Deleting overwrites, so a page's bytes go through the WAL; and the ballast has to make room for one.
PAGE_BYTES = 1 << 20
SHRINK_PAGES = 500  # half of SQLite's cache: what does not fit into it goes through the WAL
PAUSE_S = 0.1  # as long as SQLite sleeps between two tries to get hold of the store

# A session without an end from the home that this one is a copy of will never get one here.
IS_OVER = (
    "(ended_at_us IS NOT NULL OR install_id <> coalesce((SELECT value FROM meta WHERE key = 'install_id'), install_id))"
)
# Its columns are those of StoredSession, in their order.
CHOOSE = f"""
SELECT session_no, session_id, journal_id, name, started_at_us, ended_at_us, events, kept_bytes, is_over,
       iif(destination IS NULL, 0, max(0, events - coalesce(next_seq, 0))) AS unshipped
  FROM (SELECT *, {IS_OVER} AS is_over,
               iif(summary = x'', 0, json_extract(CAST(summary AS text), '$.events')) AS events
          FROM sessions)
  LEFT JOIN shipping USING (session_no)
 WHERE (:number IS NULL OR session_no = :number) AND (:before_us IS NULL OR started_at_us < :before_us)
 ORDER BY started_at_us DESC, session_no DESC
"""  # noqa: S608  # put together from the line above; every value is bound

# The last event of a page: PAGE_BYTES at most, but one event at least; NULL where there is none.
PAGE = """
SELECT coalesce(max(event_id) FILTER (WHERE total_bytes <= ?), min(event_id))
  FROM (SELECT event_id, sum(size_bytes) OVER (ORDER BY event_id) AS total_bytes
          FROM (SELECT event_id, length(wire) AS size_bytes
                  FROM events
                 WHERE event_id >= ? AND event_id < ?
                 ORDER BY event_id
                 LIMIT ?))
"""


class StoredSession(msgspec.Struct, frozen=True):
    """A session as far as deleting it goes; one row of CHOOSE."""

    number: int
    session_id: str
    journal_id: str
    name: str
    started_at_us: int
    ended_at_us: int | None
    events: int
    size_bytes: int
    is_over: bool
    unshipped: int


class Choice(msgspec.Struct, frozen=True):
    """What would be deleted, and what stays because it still runs or is still being recorded; newest first."""

    sessions: list[StoredSession]
    staying: list[StoredSession]


class SessionChanged(Exception):
    """The session is not there any more, or not over any more."""


def choose(reader: StoreReader, waiting: set[str], *, number: int | None, before_us: int | None) -> Choice:
    """Return which sessions can be deleted: over, and without a journal to record from (*waiting*: their ids).

    One session by its number, those that began before a time, or all.
    """
    found = [StoredSession(*row) for row in reader.rows(CHOOSE, {"number": number, "before_us": before_us})]
    return Choice(
        [one for one in found if one.is_over and one.journal_id not in waiting],
        [one for one in found if not one.is_over or one.journal_id in waiting],
    )


def delete(home: Home, sessions: Iterable[StoredSession]) -> Iterator[StoredSession]:
    """Delete the sessions one by one and yield each that was deleted: that was still there, and still over.

    Raises KilometersError where the store cannot be written; what has been deleted until then stays deleted.
    """
    with explained(home):
        store = ClearedStore(home)
        try:
            for session in sessions:
                if store.delete(session):
                    yield session
            store.shrink()
        finally:
            store.close()
        make_ballast(home.ballast)  # it may have been given up


def make_room(home: Home) -> None:
    """Give up the ballast on a disk so full that not even reading begins."""
    try:
        is_full = shutil.disk_usage(home.store_folder).free < PAGE_BYTES
    except OSError:
        return  # there is no such folder yet
    if is_full:
        give_up_ballast(home)


def give_up_ballast(home: Home) -> None:
    """Remove the ballast: this is what it is for."""
    try:
        os.unlink(home.ballast)
    except OSError:
        pass  # it is not there, or not ours


def file_bytes(home: Home) -> int:
    """Return how much of the disk the store takes up."""
    return sum(paths.file_size(path) for path in (home.store_file, f"{home.store_file}-wal"))


@contextmanager
def explained(home: Home) -> Iterator[None]:
    """Raise KilometersError for what a full disk, other users of the store or damage do."""
    try:
        yield
    except (apsw.CorruptError, apsw.NotADBError, StoreDamaged) as error:
        raise KilometersError(f"the store is damaged: {error}.", "See: km doctor") from error
    except (apsw.FullError, apsw.IOError, apsw.BusyError, apsw.CantOpenError, apsw.ReadOnlyError, OSError) as error:
        raise KilometersError(
            f"the store {home.store_file} cannot be cleared (any further): {error}.",
            "What is deleted stays deleted; once this is mended, run the same command again.",
        ) from error


class ClearedStore(Store):
    """A connection that deletes sessions, and makes sure of each in every transaction."""

    def __init__(self, home: Home) -> None:
        """Open the store, of this km's own schema.  Raises what Store raises."""
        self.home = home
        self.session: StoredSession | None = None
        super().__init__(home.store_file)
        self.connection.pragma("secure_delete", 1)

    @contextmanager
    def transaction(self) -> Iterator[None]:
        """Hold the store; raises SessionChanged unless the session at hand is still there and over."""
        with super().transaction():
            if self.session is not None and not self.is_as_chosen(self.session):
                raise SessionChanged
            yield

    def is_as_chosen(self, session: StoredSession) -> bool:
        """Whether the session's row is still its own (numbers are used again) and says that it is over."""
        sql = f"SELECT 1 FROM sessions WHERE session_no = ? AND session_id = ? AND {IS_OVER}"  # noqa: S608  # our own text
        return self.connection.execute(sql, (session.number, session.session_id)).fetchone() is not None

    def delete(self, session: StoredSession) -> bool:
        """Delete a session, page by page; False where it has changed meanwhile."""
        self.session = session
        try:
            while self.take_a_step(lambda: self.delete_some(session.number)):
                pass
        except SessionChanged:
            return False
        finally:
            self.session = None
        return True

    def delete_some(self, number: int) -> bool:
        """Delete events of PAGE_BYTES, or one that is larger; or, where none are left, the rest.  Whether to go on."""
        low, high = number << SEQ_BITS, (number + 1) << SEQ_BITS
        last = self.connection.execute(PAGE, (PAGE_BYTES, low, high, DELETE_ROWS)).fetchall()[0][0]
        if last is None:
            return not self.delete_page(number)
        with self.transaction():
            self.connection.execute("DELETE FROM events WHERE event_id >= ? AND event_id <= ?", (low, last))
        return True

    def shrink(self) -> None:
        """Return free pages to the file system, and empty the WAL unless somebody reads."""
        while self.take_a_step(self.shrink_some):
            pass
        self.empty_wal()

    def shrink_some(self) -> bool:
        """Return some free pages; whether to go on: not if they are used again as fast as they come."""
        before = int(self.connection.pragma("freelist_count"))
        self.connection.execute(f"PRAGMA incremental_vacuum({SHRINK_PAGES})").fetchall()
        return 0 < int(self.connection.pragma("freelist_count")) < before

    def take_a_step(self, step: Callable[[], bool]) -> bool:
        """Take a step, once more with all the room there is on a full disk; then give a recorder as long as it took."""
        begin_s = time.monotonic()
        try:
            goes_on = step()
        except apsw.FullError:
            give_up_ballast(self.home)
            self.empty_wal()
            goes_on = step()
        time.sleep(min(time.monotonic() - begin_s, PAUSE_S))
        return goes_on

    def empty_wal(self) -> None:
        """Move what is in the WAL to its place, and cut it, unless somebody reads."""
        self.connection.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchall()
