"""Stores to delete from and runs of `km clear`: what its tests share."""

import os
import time
from pathlib import Path

import apsw

from kilometers.core import journal
from kilometers.core.session import new_state
from kilometers.core.session_id import make_session_id
from kilometers.core.summary import summarize
from kilometers.store import SEQ_BITS, Store
from recorder.sessions import Sessions
from screens.scripted_store import ScriptedStore

SECRET = "what-nobody-should-find-again"
HOUR_NS = 3_600_000_000_000


def write_sessions(home: Path) -> None:
    """Write three sessions of alpha (12, 11 and 10 days old), one of beta (2 h) and one of gamma that runs."""
    scripted = ScriptedStore(home)
    message = f'{{"jsonrpc":"2.0","id":1,"method":"ping","params":{{"p":"{SECRET}"}}}}\n'.encode()
    steps = [(1.0, journal.CLIENT_TO_SERVER, message)] * 3
    for name, age_h in (("alpha", 288), ("alpha", 264), ("alpha", 240), ("beta", 2)):
        scripted.add(steps, begin_ns=time.time_ns() - age_h * HOUR_NS, name=name, end_after_ms=5)
    scripted.add(steps, begin_ns=time.time_ns() - HOUR_NS, name="gamma")
    scripted.close()


def fill(sessions: Sessions, *, count: int, events: int = 300) -> None:
    """Make a store with so many sessions that have ended, of so many events of 1 kB."""
    store = Store(sessions.home.store_file)
    for _ in range(count):
        ended_us = time.time_ns() // 1000
        session_id = make_session_id(ended_us * 1000, os.urandom(10))
        state = new_state(session_id)
        state.started_ns = state.ended_ns = ended_us * 1000
        state.next_seq, state.kept_bytes = events, events * 1000
        with store.transaction():
            number = store.add_session(state, journal_id=session_id, continues=None, install_id="")
            store.save_session(number, state, summarize(state, is_ended=True))
            rows = ((number << SEQ_BITS | seq, ended_us) for seq in range(events))
            store.connection.executemany(
                "INSERT INTO events (event_id, at_us, kind, wire, hash) VALUES (?, ?, 'log', zeroblob(1000), x'')", rows
            )
    store.close()


def clear(sessions: Sessions, *arguments: str) -> str:
    """Run `km clear`, which works, and return what it says on stderr."""
    done = sessions.km("clear", *arguments)
    assert done.returncode == 0, done.stderr
    return done.stderr.decode()


def names(sessions: Sessions) -> list[str]:
    return sessions.column("SELECT name FROM sessions ORDER BY started_at_us")


def execute(sessions: Sessions, sql: str) -> None:
    connection = apsw.Connection(sessions.home.store_file)
    connection.set_busy_timeout(5_000)
    connection.execute(sql)
    connection.close()


def check_store(sessions: Sessions) -> None:
    """The store is sound, and nothing is left of sessions that are gone."""
    assert sessions.column("PRAGMA integrity_check") == ["ok"]
    for table, number in (
        ("events", f"event_id >> {SEQ_BITS}"),
        ("open_calls", "session_no"),
        ("shipping", "session_no"),
        ("rollups", "session_no"),
    ):
        orphans = f"SELECT count(*) FROM {table} WHERE {number} NOT IN (SELECT session_no FROM sessions)"
        assert sessions.count(orphans) == 0, table
