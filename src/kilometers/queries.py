# ruff: noqa: S608  # SQL is put together from this module's own pieces; every value is bound
"""Reading the store: what the commands ask, in pages, so that no reader holds the WAL back.

Counterpart: store.py, which writes.  A page is fetched whole, and its read transaction ends, before its rows are used.
"""

import json
import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import datetime
from typing import Any

import apsw
import msgspec

from kilometers.core.event import at_time
from kilometers.core.suggestions import suggest
from kilometers.core.summary import SessionSummary
from kilometers.errors import KilometersError
from kilometers.paths import Home
from kilometers.store import APPLICATION_ID, BUSY_TIMEOUT_MS, SCHEMA_VERSION, SEQ_BITS, StoreTooNew, decode_summary

PAGE_ROWS = 2_000
PAGE_BYTES = 4 << 20
FACTS_BYTES = 64 << 10  # of a wire form: all that stands before its payload
LOOKAHEAD = 100_000  # how many events are looked at for an answer: a tenth of a second
MIN_DIGITS = 4  # fewer are no id: a server may be called "a1"
NO_LIMIT = 2**62  # above every id, time and number of rows


class EventFilter(msgspec.Struct, frozen=True):
    """Which events; globs for method and tool, *search* is a substring of the event's JSON, in either ASCII case."""

    method: str | None = None
    tool: str | None = None
    status: str | None = None
    since_us: int | None = None
    search: str | None = None

    def conditions(self) -> tuple[str, dict[str, object]]:
        """Return SQL conditions and their values."""
        parts = ["1"]
        if self.method is not None:
            parts.append("method GLOB :method")
        if self.tool is not None:
            parts.append("method = 'tools/call' AND target GLOB :tool")
        if self.status is not None:
            parts.append("status = :status")
        if self.since_us is not None:
            parts.append("at_us >= :since_us")
        if self.search is not None:
            # As it was typed, or as JSON writes it inside a string.
            parts.append("(instr(lower(wire), lower(:search)) > 0 OR instr(lower(wire), lower(:escaped)) > 0)")
        return " AND ".join(parts), {**msgspec.structs.asdict(self), "escaped": json.dumps(self.search or "")[1:-1]}


class Totals(msgspec.Struct, frozen=True, kw_only=True):
    """What a store holds; *since* is when its oldest session began."""

    sessions: int
    events: int
    gaps: int
    size_bytes: int
    since: datetime | None


def read_summary(data: bytes) -> SessionSummary:
    """Return a session's summary.  Raises KilometersError for what is none."""
    with damage_explained():
        return decode_summary(data)


class NothingRecorded(KilometersError):
    """There is no store yet."""

    def __init__(self) -> None:
        super().__init__("nothing has been recorded yet.", "Wrap a server: km monitor -- COMMAND   or try: km demo")


class StoreReader:
    """A connection that only reads."""

    def __init__(self, home: Home) -> None:
        """Open the store.  Raises KilometersError where there is none, or it cannot be read."""
        path = home.store_file
        try:
            os.stat(path)
        except FileNotFoundError:
            raise NothingRecorded from None
        except OSError as error:
            raise KilometersError(f"the store {path} cannot be read: {error.strerror}.", "See: km doctor") from error
        try:
            self.connection = apsw.Connection(path, flags=apsw.SQLITE_OPEN_READONLY)
            self.connection.set_busy_timeout(BUSY_TIMEOUT_MS)
            version = int(self.connection.pragma("user_version"))
        except apsw.Error as error:
            raise KilometersError(f"the store {path} cannot be read: {error}.", "See: km doctor") from error
        if version == 0 and not self.rows("SELECT 1 FROM sqlite_schema LIMIT 1", {}):
            raise NothingRecorded  # a recorder is just making it
        if int(self.connection.pragma("application_id")) != APPLICATION_ID:
            raise KilometersError(f"{path} is no store of km.", "See: km doctor")
        if version > SCHEMA_VERSION:
            raise StoreTooNew(f"the store {path} was made by a newer km.", "Update this km.")
        self.version = version
        self.on_page: Callable[[int], None] = lambda _at_us: None
        """Called after each page of events with the time it has come to: a search may take seconds."""

    def data_version(self) -> int:
        """Return a number that changes with every commit of another connection; it costs next to nothing."""
        return int(self.connection.pragma("data_version"))

    def meta(self, key: str) -> str:
        """Return a value of `meta`, "" where there is none."""
        row = self.rows("SELECT value FROM meta WHERE key = :key", {"key": key})
        return str(row[0][0]) if row else ""

    def sessions(
        self, *, limit: int | None, since_us: int | None, search: str | None, with_probes: bool
    ) -> Iterator[SessionSummary]:
        """Yield sessions, newest first."""
        before, left = (NO_LIMIT, NO_LIMIT), limit if limit is not None else NO_LIMIT
        while left > 0:
            page = self.rows(
                "SELECT started_at_us, session_no, summary FROM sessions"
                " WHERE (started_at_us, session_no) < (:at_us, :number) AND started_at_us >= :since_us"
                " AND (:with_probes OR NOT is_probe)"
                " AND (:search IS NULL OR instr(lower(summary), lower(:search)) > 0)"
                " ORDER BY started_at_us DESC, session_no DESC LIMIT :page",
                {
                    "at_us": before[0],
                    "number": before[1],
                    "since_us": since_us or 0,
                    "with_probes": with_probes,
                    "search": search,
                    "page": min(left, PAGE_ROWS),
                },
            )
            for at_us, number, summary in page:
                before = (at_us, number)
                left -= 1
                if summary:
                    yield read_summary(summary)
            if len(page) < PAGE_ROWS:
                return

    def find_session(self, name: str | None) -> tuple[int, SessionSummary]:
        """Return (session_no, summary) of a full id, its last 8 digits, a server's latest, or the latest session.

        Raises KilometersError where there is none, or several.
        """
        found = self.rows(
            "SELECT session_no, summary, session_id FROM sessions WHERE summary <> x''"
            " AND ((:name IS NULL OR name = :name) AND NOT is_probe OR session_id = lower(:name)"
            f" OR (length(:name) >= {MIN_DIGITS} AND substr(session_id, -length(:name)) = lower(:name)))"
            " ORDER BY started_at_us DESC, session_no DESC LIMIT 100",
            {"name": name},
        )
        if not found:
            if name is None:
                raise KilometersError("no session has been recorded yet.", "Wrap a server with: km monitor -- COMMAND")
            guess = suggest(name, self.names())
            raise KilometersError(f'no session "{name}".{guess}', "See the ids and names with: km sessions --all")
        by_id = {row[2] for row in found if name and str(row[2]).endswith(name.lower())}
        if len(by_id) > 1:
            raise KilometersError(f'"{name}" is the end of {len(by_id)} session ids.', "Use more digits.")
        return int(found[0][0]), read_summary(found[0][1])

    def names(self) -> list[str]:
        """Return the servers' names, the latest first."""
        sql = (
            "SELECT name FROM sessions WHERE name <> '' AND NOT is_probe GROUP BY name ORDER BY max(started_at_us) DESC"
        )
        return [str(name) for (name,) in self.rows(sql, {})]

    def living(self) -> list[str]:
        """Return the names of the servers whose sessions live, the oldest session first."""
        sql = "SELECT name FROM sessions WHERE ended_at_us IS NULL AND name <> '' ORDER BY session_no"
        return [str(name) for (name,) in self.rows(sql, {})]

    def event(self, session_no: int, seq: int) -> bytes:
        """Return the wire form of one event.  Raises KilometersError where there is none."""
        is_possible = seq < 1 << SEQ_BITS
        sql = "SELECT wire FROM events WHERE event_id = :id"
        rows = self.rows(sql, {"id": session_no << SEQ_BITS | seq}) if is_possible else []
        if not rows:
            raise KilometersError(f"the session has no event {seq}.", "See its events with: km events SESSION")
        return bytes(rows[0][0])

    def events(
        self,
        session_no: int | None,
        wanted: EventFilter,
        *,
        limit: int | None = None,
        newest_first: bool = False,
        first_seq: int = 0,
        end_seq: int = 1 << SEQ_BITS,
    ) -> Iterator[bytes]:
        """Yield the wire form of the wanted events: of one session or of all, in their order or newest first.

        Of one session those with *first_seq* ≤ seq < *end_seq*.  A page looks at PAGE_ROWS events, whether they are
        wanted or not, so that no search holds a transaction long.
        """
        conditions, values = wanted.conditions()
        low = 0 if session_no is None else (session_no << SEQ_BITS) + first_seq
        high = NO_LIMIT if session_no is None else (session_no << SEQ_BITS) + end_seq
        order, compare = ("DESC", "<") if newest_first else ("ASC", ">")
        # The same millisecond may hold events of many sessions: (at_us, event_id) is the place in the order of all.
        key = "event_id" if session_no is not None else "(at_us, event_id)"
        after = (high, high) if newest_first else (low - 1, low - 1)
        left = limit if limit is not None else NO_LIMIT
        while left > 0:
            place = ":after_id" if session_no is not None else "(:after_us, :after_id)"
            bounds = "at_us >= :since_us AND" if wanted.since_us is not None else ""
            if session_no is not None:  # the order is seq: times may step back
                bounds = "event_id >= :low AND event_id < :high AND"
            by = f"event_id {order}" if session_no is not None else f"at_us {order}, event_id {order}"
            page_sql = f"SELECT * FROM events WHERE {bounds} {key} {compare} {place} ORDER BY {by} LIMIT {PAGE_ROWS}"
            values |= {"low": low, "high": high, "after_us": after[0], "after_id": after[1]}
            sql = f"SELECT at_us, event_id, iif({conditions}, wire, NULL) FROM ({page_sql}) ORDER BY {by}"
            page, is_whole = self._bounded_page(sql, values)
            for _, _, wire in page:
                if wire is not None:
                    yield wire
                    left -= 1
                    if left == 0:
                        return
            if is_whole and len(page) < PAGE_ROWS:
                return
            after = (page[-1][0], page[-1][1])
            self.on_page(after[0])

    def end_seq(self, session_no: int) -> int:
        """Return the seq that a session's next event will have."""
        sql = "SELECT max(event_id) FROM events WHERE event_id >= :low AND event_id < :high"
        (last,) = self.rows(sql, {"low": session_no << SEQ_BITS, "high": (session_no + 1) << SEQ_BITS})[0]
        return 0 if last is None else (int(last) & ((1 << SEQ_BITS) - 1)) + 1

    def endings(self, session_no: int, call_seqs: range, *, after_seq: int) -> Iterator[bytes]:
        """Yield what may have ended calls, from *after_seq* on, within the next LOOKAHEAD events; payloads are cut."""
        base = session_no << SEQ_BITS
        sql = (
            f"SELECT substr(wire, 1, {FACTS_BYTES}) FROM"
            " (SELECT * FROM events WHERE event_id >= :low AND event_id < :high"
            f" ORDER BY event_id LIMIT {LOOKAHEAD})"
            " WHERE duration_us IS NOT NULL AND call_seq BETWEEN :first AND :last"
        )
        high = (session_no + 1) << SEQ_BITS
        values: dict[str, object] = {"low": base + after_seq, "high": high}
        values |= {"first": call_seqs.start, "last": call_seqs.stop - 1}
        yield from (wire for (wire,) in self.rows(sql, values))

    def totals(self) -> Totals:
        """Return what there is, all sessions together."""
        sessions, events, gaps, since_us = self.rows(
            "SELECT count(*), coalesce(sum(json_extract(summary, '$.events')), 0),"
            " coalesce(sum(json_extract(summary, '$.gaps')), 0), min(started_at_us)"
            " FROM (SELECT CAST(summary AS text) AS summary, started_at_us FROM sessions WHERE summary <> x'')",
            {},
        )[0]
        pages, page_size = (int(self.connection.pragma(name)) for name in ("page_count", "page_size"))
        since = None if since_us is None else at_time(since_us * 1000)
        return Totals(sessions=sessions, events=events, gaps=gaps, size_bytes=pages * page_size, since=since)

    def _bounded_page(self, sql: str, values: dict[str, object]) -> tuple[list[tuple[Any, ...]], bool]:
        """Return the rows of a page of events, up to PAGE_BYTES, and whether these are all of it."""
        page, size_bytes = [], 0
        with damage_explained():
            cursor = self._execute(sql, values)
            for row in cursor:
                page.append(row)
                size_bytes += len(row[2] or b"")
                if size_bytes > PAGE_BYTES:
                    cursor.close()  # and with it its read transaction
                    return page, False
        return page, True

    def rows(self, sql: str, values: dict[str, object]) -> list[tuple[Any, ...]]:
        """Return all rows of a query; its read transaction has ended then."""
        with damage_explained():
            return list(self._execute(sql, values))

    def _execute(self, sql: str, values: dict[str, object]) -> apsw.Cursor:
        return self.connection.execute(sql, {name: value for name, value in values.items() if f":{name}" in sql})


@contextmanager
def damage_explained() -> Iterator[None]:
    """Say of a store that cannot be read what is to be done: the rows are only looked at while they are fetched."""
    try:
        yield
    except (apsw.CorruptError, apsw.NotADBError, apsw.SQLError, UnicodeDecodeError, msgspec.MsgspecError) as error:
        raise KilometersError(f"the store is damaged: {error}.", "See: km doctor") from error
    except (apsw.IOError, apsw.BusyError, apsw.CantOpenError) as error:
        raise KilometersError(f"the store cannot be read: {error}.", "See: km doctor") from error
