"""Rollups in the store: counted in the transaction that adds the events, so that they never differ from them.

Counterparts: core/statistics.py, which says what is counted; statistics.py, which reads them.
"""

from collections.abc import Iterable

import apsw
import msgspec

from kilometers.core.session import Row
from kilometers.core.statistics import Call, Key, Rollup, call_of, key_of, latency_us

SCHEMA = """
CREATE TABLE rollups (
    session_no integer NOT NULL,
    period integer NOT NULL,
    direction text NOT NULL,
    method text NOT NULL,
    tool text NOT NULL,
    rollup blob NOT NULL,
    PRIMARY KEY (session_no, period, direction, method, tool)
) WITHOUT ROWID;
"""
# A cancellation counts for the request that it names.  An event_id is session_no << 32 | seq.
FACTS = """
SELECT event.event_id, event.at_us, event.kind, event.direction, event.method, event.target, event.status,
       event.duration_us, event.size_bytes, request.direction, request.method, request.target
  FROM events AS event
  LEFT JOIN events AS request
    ON event.status = 'cancelled' AND event.kind = 'notification'
   AND request.event_id = (event.event_id >> 32 << 32) | event.call_seq
"""
SESSIONS = "SELECT session_no, session_no << 32, (session_no + 1) << 32 FROM sessions"

Rollups = dict[Key, Rollup]
Fact = tuple[int, int, str, str, str, str, str, int, int, str, str, str]
_decoder = msgspec.msgpack.Decoder(Rollup)


def count_rows(connection: apsw.Connection, session_no: int, rows: list[Row], *, base: int) -> None:
    """Count a session's new events, which are in the store already; *base* is the event_id of its seq 0."""
    found: Rollups = {}
    for row in rows:
        call = call_of(row.kind, row.direction, row.method, row.target)
        if call is None and row.status == "cancelled" and row.call_seq is not None:
            call = _find_request(connection, base | row.call_seq)
        if call is not None:
            _count(found, call, row.at_us, row.kind, row.status, row.duration_us, row.size_bytes)
    _add(connection, session_no, found)


def count_facts(found: Rollups, facts: Iterable[Fact]) -> None:
    """Count events as FACTS yields them."""
    for _, at_us, kind, direction, method, target, status, duration_us, size_bytes, *request in facts:
        call = Call(*request) if request[0] else call_of(kind, direction, method, target)  # type: ignore[arg-type]
        if call is not None:
            _count(found, call, at_us, kind, status, duration_us, size_bytes)


def count_everything(connection: apsw.Connection) -> None:
    """Count all events that are in the store: an older km did not."""
    facts = f"{FACTS} WHERE event.event_id >= ? AND event.event_id < ?"
    for session_no, low, high in list(connection.execute(SESSIONS)):
        found: Rollups = {}
        count_facts(found, connection.execute(facts, (low, high)))
        _add(connection, session_no, found)


def decode(data: bytes) -> Rollup:
    """Return a kept rollup."""
    return _decoder.decode(data)


def _find_request(connection: apsw.Connection, event_id: int) -> Call | None:
    row = connection.execute(
        "SELECT direction, method, target FROM events WHERE event_id = ? AND kind = 'request'", (event_id,)
    ).fetchone()
    return Call(*row) if row else None


def _count(
    found: Rollups,
    call: Call,
    at_us: int,
    kind: str,
    status: str | None,
    duration_us: int | None,
    size_bytes: int | None,
) -> None:
    rollup = found.setdefault(key_of(call, at_us), Rollup())
    rollup.count(kind, status, latency_us(call, duration_us), size_bytes)


def _add(connection: apsw.Connection, session_no: int, found: Rollups) -> None:
    for key, rollup in found.items():
        place = (session_no, key.period, key.direction, key.method, key.tool)
        row = connection.execute(
            "SELECT rollup FROM rollups WHERE session_no = ? AND period = ? AND direction = ? AND method = ?"
            " AND tool = ?",
            place,
        ).fetchone()
        if row is not None:
            rollup.merge(decode(row[0]))
        connection.execute(
            "INSERT OR REPLACE INTO rollups (session_no, period, direction, method, tool, rollup)"
            " VALUES (?, ?, ?, ?, ?, ?)",
            (*place, msgspec.msgpack.encode(rollup)),
        )
