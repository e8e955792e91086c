"""A store of an older km is brought up to date by the next recorder; a newer one is left alone."""

import hashlib
import json
import os
import signal
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO

import apsw
import pytest

from kilometers import election, locks
from kilometers.store import APPLICATION_ID, SCHEMA_VERSION
from recorder.sessions import KM, Sessions, is_gone, wait_until
from screens.example import EVERYTHING
from screens.scripted_store import ScriptedStore, busy_steps

MINUTE_NS = 60_000_000_000
# As km 0.1 wrote it, before there were rollups.
SCHEMA_1 = """
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
TABLES = ("meta", "sessions", "events", "open_calls", "definitions", "shipping")
EVENTS = "event_id, at_us, kind, direction, method, target, status, duration_us, size_bytes, call_seq, wire, hash"
COPIES = 60


@pytest.fixture(scope="module")
def fresh(tmp_path_factory: pytest.TempPathFactory) -> Sessions:
    """A home whose store this km made: a session of everything, and two busy ones."""
    home = tmp_path_factory.mktemp("fresh") / "home"
    scripted = ScriptedStore(home)
    begin_ns = time.time_ns() - 60 * MINUTE_NS
    scripted.add(EVERYTHING, begin_ns=begin_ns, end_after_ms=47_000)
    for number in range(2):
        steps = busy_steps(500, client=f"client-{number}", seed=number)
        scripted.add(steps, begin_ns=begin_ns + number * 9 * MINUTE_NS, name=f"busy-{number}", end_after_ms=50_001)
    scripted.close()
    return Sessions(home)


@pytest.fixture
def old(fresh: Sessions, home: Path) -> Sessions:
    """A home with the same sessions in a store of schema 1."""
    connection = apsw.Connection(str(home / "store.db"))
    connection.pragma("auto_vacuum", 2)
    connection.pragma("journal_mode", "wal")
    connection.execute("ATTACH ? AS fresh", (fresh.home.store_file,))
    with connection:
        connection.execute(SCHEMA_1)
        for table in TABLES:
            connection.execute(f"INSERT INTO main.{table} SELECT * FROM fresh.{table}")
        connection.pragma("application_id", APPLICATION_ID)
        connection.pragma("user_version", 1)
    connection.close()
    return Sessions(home)


@pytest.fixture
def large(old: Sessions) -> Sessions:
    """The same with so many sessions that bringing it up to date takes a while."""
    connection = apsw.Connection(old.home.store_file)
    with connection:
        for number in range(1, COPIES):
            connection.execute(
                "INSERT INTO sessions SELECT session_no + 3 * :n, session_id || :n, journal_id || :n, continues,"
                " install_id, destination, name, started_at_us, ended_at_us, is_probe, kept_bytes, summary, state"
                " FROM sessions WHERE session_no <= 3",
                {"n": number},
            )
            connection.execute(
                f"INSERT INTO events ({EVENTS}) SELECT event_id + ((3 * :n) << 32), at_us, kind, direction, method,"
                " target, status, duration_us, size_bytes, call_seq, wire, hash FROM events WHERE event_id < 4 << 32",
                {"n": number},
            )
    connection.close()
    return old


def version(sessions: Sessions) -> int:
    return sessions.count("PRAGMA user_version")


def schema(sessions: Sessions) -> set[tuple[str, str]]:
    connection = apsw.Connection(sessions.home.store_file, flags=apsw.SQLITE_OPEN_READONLY)
    return set(connection.execute("SELECT name, sql FROM sqlite_schema"))


def fingerprint(sessions: Sessions) -> str:
    """Return what tells whether any event or session has changed."""
    connection = apsw.Connection(sessions.home.store_file, flags=apsw.SQLITE_OPEN_READONLY)
    digest = hashlib.sha256()
    for table in ("events", "sessions", "open_calls"):
        for row in connection.execute(f"SELECT * FROM {table} ORDER BY 1, 2"):
            digest.update(repr(row).encode())
    assert connection.execute("PRAGMA integrity_check").fetchone() == ("ok",)
    return digest.hexdigest()


def km(sessions: Sessions, *arguments: str) -> bytes:
    done = sessions.km(*arguments)
    assert done.returncode == 0, done.stderr
    return done.stdout


@contextmanager
def started(sessions: Sessions, *arguments: str) -> Iterator[subprocess.Popen[bytes]]:
    """Start a km command; killed if it has not ended by itself."""
    environment = {"PATH": os.environ["PATH"], "KILOMETERS_HOME": str(sessions.folder)}
    pipe = subprocess.PIPE
    with subprocess.Popen([*KM, *arguments], env=environment, stdout=pipe, stderr=pipe, bufsize=0) as process:
        try:
            yield process
        finally:
            process.kill()


def line_of(stream: IO[bytes] | None) -> bytes:
    assert stream is not None
    return stream.readline()


@pytest.mark.parametrize("command", ["sessions", "events", "show", "stats", "export"])
def test_any_reading_command_brings_an_old_store_up_to_date(old: Sessions, fresh: Sessions, command: str) -> None:
    before = fingerprint(old)

    printed = km(old, command)

    assert printed == km(fresh, command)
    assert version(old) == SCHEMA_VERSION
    assert schema(old) == schema(fresh)
    assert fingerprint(old) == before


@pytest.mark.parametrize("by", ["tool", "method"])
def test_statistics_are_those_of_a_store_that_was_always_new(old: Sessions, fresh: Sessions, by: str) -> None:
    expected = km(fresh, "stats", "--by", by, "--json")

    assert km(old, "stats", "--by", by, "--json") == expected
    assert b'"cancelled":1' in expected


def test_bringing_up_to_date_is_said_once_and_not_on_stdout(old: Sessions) -> None:
    first, second = old.km("sessions", "--json"), old.km("sessions", "--json")

    assert b"up to date" in first.stderr
    assert second.stderr == b""
    assert first.stdout == second.stdout


def test_session_that_begins_on_an_old_store_is_counted_too(old: Sessions) -> None:
    client = old.start()
    for number in range(5):
        client.call(number)
    client.wait_for_answers(5)
    client.end()
    old.wait_until_recorded()

    pings = [
        json.loads(line) for line in km(old, "stats", "--by", "method", "--server", "server-0", "--json").splitlines()
    ]

    assert [(line["method"], line["calls"]) for line in pings] == [("ping", 5)]
    assert version(old) == SCHEMA_VERSION


def test_recorder_that_is_killed_while_it_migrates_leaves_the_old_store_whole(large: Sessions) -> None:
    before, tables = fingerprint(large), schema(large)
    with started(large, "stats", "--json") as waiting:
        kill_in_transaction(large)
        left = (version(large), schema(large), fingerprint(large))
        waiting.communicate(timeout=30)
    counted = [json.loads(line) for line in km(large, "stats", "--json").splitlines()]

    assert left == (1, tables, before)
    assert waiting.returncode in {0, 1}
    assert (version(large), fingerprint(large)) == (SCHEMA_VERSION, before)
    assert sum(line["calls"] for line in counted) == large.count(
        "SELECT count(*) FROM events WHERE kind = 'request' AND method = 'tools/call'"
    )


def kill_in_transaction(sessions: Sessions) -> None:
    """kill -9 the recorder that migrates, once it is seen to hold the store."""
    connection = apsw.Connection(sessions.home.store_file)
    wait_until(lambda: not can_write(connection), 20)
    pid = sessions.recorder_pid()
    assert pid
    os.kill(pid, signal.SIGSTOP)
    assert not can_write(connection)
    assert version(sessions) == 1
    os.kill(pid, signal.SIGKILL)
    wait_until(lambda: is_gone(pid), 10)
    connection.close()


def can_write(connection: apsw.Connection) -> bool:
    try:
        connection.execute("BEGIN IMMEDIATE; ROLLBACK")
    except apsw.BusyError:
        return False
    return True


def test_commands_wait_for_a_recorder_that_migrates_already(large: Sessions, fresh: Sessions) -> None:
    blocker = apsw.Connection(large.home.store_file)
    blocker.execute("BEGIN IMMEDIATE")
    with started(large, "sessions", "--json") as first:
        said = [line_of(first.stderr)]
        large.wait_for_recorder()
        with started(large, "stats", "--json") as second:
            said.append(line_of(second.stderr))
            blocker.execute("ROLLBACK")
            counted, _ = second.communicate(timeout=60)
        first.communicate(timeout=60)

    assert (first.returncode, second.returncode) == (0, 0)
    assert said[0] == said[1] != b""
    assert counted.count(b"\n") == km(fresh, "stats", "--json").count(b"\n")


@pytest.fixture
def held(old: Sessions) -> Iterator[Sessions]:
    """A home in which a recorder of an older km works: it holds the lock, and knows nothing of rollups."""
    content = election.LockFile({"version": ["0.0.1"], "command": ["/nowhere/km"], "pid": [str(os.getpid())]})
    Path(old.home.recorder_lock).write_bytes(content.pack())
    fd = old.hold_recorder_lock()
    yield old
    locks.unlock(fd)
    os.close(fd)


@pytest.mark.parametrize(
    "arguments",
    [("sessions",), ("events",), ("events", "--all", "--status", "tool_error"), ("show",), ("show", ":3"), ("export",)],
    ids=" ".join,
)
def test_while_an_older_recorder_works_its_store_is_read(
    held: Sessions, fresh: Sessions, arguments: tuple[str, ...]
) -> None:
    done = held.km(*arguments)

    assert (done.returncode, done.stderr) == (0, b"")
    assert done.stdout == km(fresh, *arguments)
    assert version(held) == 1


def test_while_an_older_recorder_works_it_is_followed(held: Sessions) -> None:
    with started(held, "tail", "--json") as tail:
        shown = [json.loads(line_of(tail.stdout))["kind"] for _ in range(10)]
        tail.send_signal(signal.SIGINT)
        _, said = tail.communicate(timeout=20)

    assert (tail.returncode, said.strip()) == (130, b"")
    assert len(shown) == 10


def test_while_an_older_recorder_works_stats_says_what_to_do(held: Sessions) -> None:
    done = held.km("stats")

    assert (done.returncode, done.stdout) == (1, b"")
    assert b"older km" in done.stderr
    assert b"End the servers that it wraps" in done.stderr
    assert version(held) == 1


def test_old_store_whose_recorder_cannot_be_started_is_read(old: Sessions, fresh: Sessions) -> None:
    Path(old.home.recorder_lock).mkdir()

    done = old.km("sessions")

    assert (done.returncode, done.stdout) == (0, km(fresh, "sessions"))
    assert old.km("stats").returncode == 1


def make_newer(sessions: Sessions) -> str:
    """Give the store a schema that this km does not know, and return its fingerprint."""
    connection = apsw.Connection(sessions.home.store_file)
    connection.pragma("user_version", SCHEMA_VERSION + 1)
    connection.close()
    return fingerprint(sessions)


@pytest.mark.parametrize("command", ["sessions", "events", "show", "stats", "export", "tail"])
def test_newer_store_is_left_to_a_newer_km(old: Sessions, command: str) -> None:
    before = make_newer(old)

    done = old.km(command)

    assert (done.returncode, done.stdout) == (1, b"")
    assert b"made by a newer km. Update this km." in done.stderr
    assert (version(old), fingerprint(old)) == (SCHEMA_VERSION + 1, before)


def test_recorder_leaves_a_newer_store_where_it_is(old: Sessions) -> None:
    before = make_newer(old)
    log = Path(old.home.log_file)

    old.km("recorder")
    wait_until(lambda: log.exists() and "the store is newer" in log.read_text(), 20)

    assert (version(old), fingerprint(old)) == (SCHEMA_VERSION + 1, before)
    assert list(old.folder.glob("*damaged*")) == []


def test_beside_a_newer_store_servers_work_and_their_journal_waits(old: Sessions) -> None:
    before = make_newer(old)
    client = old.start()
    client.call(1)
    client.wait_for_answers(1)

    assert client.end() == 0

    assert fingerprint(old) == before
    apsw.Connection(old.home.store_file).pragma("user_version", 1)
    assert "server-0" in {one.summary["name"] for one in old.wait_until_recorded().values()}
    assert version(old) == SCHEMA_VERSION
