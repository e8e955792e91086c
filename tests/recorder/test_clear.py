"""`km clear`: what is deleted is gone, everything else is untouched, whatever else is going on."""

import json
import os
import signal
import subprocess
import time
from pathlib import Path

import apsw
import pytest

from faults.disk_faults import DiskFaults, Mode
from kilometers.core import journal
from kilometers.core.session import new_state
from kilometers.core.session_id import make_session_id, short_id
from kilometers.core.summary import summarize
from kilometers.store import BALLAST_BYTES, SCHEMA_VERSION, SEQ_BITS, Store, make_ballast
from recorder.sessions import KM, Sessions, assert_equation, wait_until
from recorder.terminal import Terminal
from screens.scripted_store import ScriptedStore

SECRET = "what-nobody-should-find-again"
HOUR_NS = 3_600_000_000_000


@pytest.fixture
def stored(home: Path, sessions: Sessions) -> Sessions:
    """A home with three sessions of alpha (12, 11 and 10 days old), one of beta (2 h) and one of gamma that runs."""
    scripted = ScriptedStore(home)
    message = f'{{"jsonrpc":"2.0","id":1,"method":"ping","params":{{"p":"{SECRET}"}}}}\n'.encode()
    steps = [(1.0, journal.CLIENT_TO_SERVER, message)] * 3
    for name, age_h in (("alpha", 288), ("alpha", 264), ("alpha", 240), ("beta", 2)):
        scripted.add(steps, begin_ns=time.time_ns() - age_h * HOUR_NS, name=name, end_after_ms=5)
    scripted.add(steps, begin_ns=time.time_ns() - HOUR_NS, name="gamma")
    scripted.close()
    return sessions


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


def variables(sessions: Sessions) -> dict[str, str]:
    return {"PATH": os.environ["PATH"], "KILOMETERS_HOME": str(sessions.folder)}


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


@pytest.mark.parametrize("arguments", [[], ["--yes"], ["alpha", "--all"], ["--all", "--older-than", "7d"]])
def test_sessions_have_to_be_named_in_exactly_one_way(stored: Sessions, arguments: list[str]) -> None:
    done = stored.km("clear", *arguments)

    assert done.returncode == 2
    assert b"km clear --older-than 7d" in done.stderr
    assert len(names(stored)) == 5


def test_dry_run_says_what_would_go_and_deletes_nothing(stored: Sessions) -> None:
    done = stored.km("clear", "--all", "--dry-run")

    rows = [line.split("\t") for line in done.stdout.decode().splitlines()]
    assert [row[1] for row in rows] == ["beta", "alpha", "alpha", "alpha"]
    assert b"4 sessions with 12 events, about" in done.stderr
    assert names(stored) == ["alpha", "alpha", "alpha", "beta", "gamma"]


def test_all_goes_but_what_still_runs(stored: Sessions) -> None:
    said = clear(stored, "--all", "--yes")

    assert "1 session kept, still running or being recorded: gamma" in said
    assert "Deleted 4 sessions with 12 events" in said
    assert names(stored) == ["gamma"]
    assert stored.count("SELECT count(*) FROM events") == 3
    check_store(stored)


def test_session_goes_alone(stored: Sessions) -> None:
    clear(stored, "alpha", "--yes")

    listed = [json.loads(line) for line in stored.km("sessions", "--json").stdout.splitlines()]
    status = json.loads(stored.km("status", "--json").stdout)
    assert [one["name"] for one in listed] == ["gamma", "beta", "alpha", "alpha"]
    assert (status["sessions"], status["events"]) == (4, 12)
    check_store(stored)


@pytest.mark.parametrize(
    ("age", "left"),
    [
        ("13d", ["alpha", "alpha", "alpha", "beta", "gamma"]),
        ("250h", ["alpha", "beta", "gamma"]),
        ("1d", ["beta", "gamma"]),
        ("0s", ["gamma"]),
    ],
)
def test_older_ones_go(stored: Sessions, age: str, left: list[str]) -> None:
    clear(stored, "--older-than", age, "--yes")

    assert names(stored) == left


def test_time_that_is_none_is_refused(stored: Sessions) -> None:
    done = stored.km("clear", "--older-than", "yesterday", "--yes")

    assert done.returncode == 2
    assert b'"yesterday" is no time' in done.stderr


def test_session_that_runs_is_refused(stored: Sessions) -> None:
    done = stored.km("clear", "gamma", "--yes")

    assert done.returncode == 1
    assert b"still runs" in done.stderr
    assert len(names(stored)) == 5


def test_nothing_to_delete_is_no_failure(stored: Sessions) -> None:
    assert "Nothing to delete." in clear(stored, "--older-than", "20d")


def test_without_a_terminal_nothing_goes_unless_confirmed(stored: Sessions) -> None:
    done = stored.km("clear", "--all")

    assert done.returncode == 1
    assert b"--yes" in done.stderr
    assert len(names(stored)) == 5


@pytest.mark.parametrize(("answer", "status", "left"), [("y", 0, 1), ("n", 1, 5), ("", 1, 5), ("\x04", 130, 5)])
def test_terminal_is_asked(stored: Sessions, answer: str, status: int, left: int) -> None:
    with Terminal([*KM, "clear", "--all"], variables(stored)) as terminal:
        terminal.wait_for("Delete 4 sessions? [y/N]")
        terminal.type(answer if answer == "\x04" else f"{answer}\n")

        assert terminal.wait() == status
    assert len(names(stored)) == left


def test_ten_are_listed_and_the_rest_is_counted(sessions: Sessions) -> None:
    fill(sessions, count=13, events=1)

    done = sessions.km("clear", "--all", "--dry-run")

    assert done.stdout.count(b"\n") == 10
    assert "and 3 earlier ones" in done.stderr.decode()


def test_what_was_not_shipped_is_named(stored: Sessions) -> None:
    execute(stored, "UPDATE sessions SET destination = 'somewhere' WHERE name = 'beta'")
    execute(
        stored,
        "INSERT INTO shipping (session_no, stream_id, next_seq, tail_hash)"
        " SELECT session_no, session_id, 1, x'' FROM sessions WHERE name = 'beta'",
    )
    (beta,) = stored.column("SELECT session_id FROM sessions WHERE name = 'beta'")

    assert f"Not shipped yet: 2 events of beta {short_id(beta)}" in clear(stored, "--all", "--dry-run")
    execute(stored, "UPDATE shipping SET next_seq = 3")
    assert "Not shipped" not in clear(stored, "--all", "--dry-run")
    execute(stored, "DELETE FROM shipping")
    assert "Not shipped yet: 3 events" in clear(stored, "beta", "--yes")


def test_nothing_of_what_is_deleted_is_left_in_the_files(stored: Sessions) -> None:
    execute(stored, "DELETE FROM events WHERE event_id >> 32 = (SELECT session_no FROM sessions WHERE name = 'gamma')")
    holder = apsw.Connection(stored.home.store_file)  # as a recorder: the WAL is not removed with the last connection
    holder.execute("SELECT 1 FROM sessions").fetchall()

    clear(stored, "--all", "--yes")

    files = list(stored.folder.glob("store.db*"))
    assert not any(SECRET.encode() in file.read_bytes() for file in files)
    assert Path(f"{stored.home.store_file}-wal").stat().st_size == 0
    holder.close()


def test_disk_gets_its_room_back(sessions: Sessions) -> None:
    fill(sessions, count=20)
    before_bytes = Path(sessions.home.store_file).stat().st_size

    said = clear(sessions, "--all", "--yes")

    assert before_bytes > 6_000_000
    assert Path(sessions.home.store_file).stat().st_size < 100_000
    assert sessions.count("PRAGMA freelist_count") == 0
    assert f"went from {before_bytes / 1e6:.3g} MB to" in said


def test_recorder_at_work_is_not_held_up(sessions: Sessions) -> None:
    fill(sessions, count=60)
    client = sessions.start()
    client.call(1)
    client.wait_for_answers(1)
    clearing = subprocess.Popen([*KM, "clear", "--all", "--yes"], env=variables(sessions), stdout=subprocess.DEVNULL)
    number = 1
    while clearing.poll() is None:
        number += 1
        client.call(number)
        client.wait_for_answers(number)
    client.end()

    assert clearing.returncode == 0
    assert number > 20
    assert_equation([client], sessions.wait_until_recorded())
    assert b"cannot be written" not in Path(sessions.home.log_file).read_bytes()
    check_store(sessions)


def test_two_at_once_delete_everything_once(sessions: Sessions) -> None:
    fill(sessions, count=30)
    command = [*KM, "clear", "--all", "--yes"]
    both = [
        subprocess.Popen(command, env=variables(sessions), stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True)
        for _ in range(2)
    ]

    said = [one.communicate(timeout=60)[1] for one in both]

    assert [one.returncode for one in both] == [0, 0], said
    assert names(sessions) == []
    check_store(sessions)


@pytest.mark.parametrize(("sent", "status"), [(signal.SIGKILL, -signal.SIGKILL), (signal.SIGINT, 130)])
def test_what_is_broken_off_is_finished_by_the_next(sessions: Sessions, sent: signal.Signals, status: int) -> None:
    fill(sessions, count=100)
    clearing = subprocess.Popen(
        [*KM, "clear", "--all", "--yes"], env=variables(sessions), stdout=subprocess.DEVNULL, stderr=subprocess.PIPE
    )
    wait_until(lambda: sessions.count("SELECT count(*) FROM sessions") < 98, 20)
    clearing.send_signal(sent)
    _, said = clearing.communicate(timeout=20)

    assert clearing.returncode == status
    assert 0 < len(names(sessions)) < 98
    assert (b"Deleted " in said) == (sent == signal.SIGINT)
    check_store(sessions)
    clear(sessions, "--all", "--yes")
    assert names(sessions) == []
    check_store(sessions)


@pytest.mark.parametrize(
    "change",
    [
        "UPDATE sessions SET ended_at_us = NULL WHERE name = 'beta'",
        "UPDATE sessions SET session_id = 'another', name = 'beta' WHERE name = 'beta'",
    ],
)
def test_session_that_changes_while_a_person_thinks_is_kept_whole(stored: Sessions, change: str) -> None:
    with Terminal([*KM, "clear", "--all"], variables(stored)) as terminal:
        terminal.wait_for("[y/N]")
        execute(stored, change)
        terminal.type("y\n")

        assert terminal.wait() == 0
    assert "1 session had gone or come back to life meanwhile" in terminal.shown
    assert names(stored) == ["beta", "gamma"]
    assert stored.count("SELECT count(*) FROM events") == 6


def test_session_that_gets_a_journal_while_a_person_thinks_is_kept(stored: Sessions) -> None:
    (beta,) = stored.column("SELECT session_id FROM sessions WHERE name = 'beta'")
    with Terminal([*KM, "clear", "beta"], variables(stored)) as terminal:
        terminal.wait_for("[y/N]")
        os.makedirs(stored.home.journal_folder, mode=0o700)
        Path(stored.home.marker(beta)).write_text(stored.home.journal_folder)
        terminal.type("y\n")

        assert terminal.wait() == 0
    assert "beta" in names(stored)
    Path(stored.home.marker(beta)).unlink()


def test_session_that_is_still_being_recorded_is_kept(stored: Sessions) -> None:
    (beta,) = stored.column("SELECT session_id FROM sessions WHERE name = 'beta'")
    os.makedirs(stored.home.journal_folder, mode=0o700)
    Path(stored.home.marker(beta)).write_text(stored.home.journal_folder)
    lock = stored.hold_recorder_lock()

    said = clear(stored, "--all", "--dry-run")

    Path(stored.home.marker(beta)).unlink()
    os.close(lock)
    assert "2 sessions kept, still running or being recorded: gamma" in said
    assert f"beta {short_id(beta)}" in said
    assert "3 sessions with 9 events" in said


def test_session_begun_in_the_home_that_was_copied_can_go(stored: Sessions) -> None:
    execute(stored, "INSERT INTO meta (key, value) VALUES ('install_id', 'of the copy')")

    clear(stored, "--all", "--yes")

    assert names(stored) == []


def test_journal_that_waits_is_recorded_and_then_deleted(sessions: Sessions) -> None:
    first = sessions.start()
    first.call(1)
    first.wait_for_answers(1)
    wait_until(sessions.recorded, 20)
    client = sessions.start()
    os.kill(sessions.wait_for_recorder(), signal.SIGSTOP)
    client.call(1)
    client.wait_for_answers(1)
    client.end()
    first.end()
    sessions.kill_recorder()

    said = clear(sessions, "--all", "--yes")

    assert "Deleted 2 sessions" in said
    assert names(sessions) == []
    assert sessions.wait_until_recorded() == {}


@pytest.mark.parametrize("version", [SCHEMA_VERSION - 1, SCHEMA_VERSION + 1])
def test_store_of_another_schema_is_left_alone(stored: Sessions, version: int) -> None:
    execute(stored, f"PRAGMA user_version = {version}")
    lock = stored.hold_recorder_lock()  # as another km's recorder

    done = stored.km("clear", "--all", "--yes")

    os.close(lock)
    assert done.returncode == 1
    assert b"km" in done.stderr
    assert stored.count("PRAGMA user_version") == version
    assert len(names(stored)) == 5


@pytest.mark.parametrize("mode", ["enospc", "eio", "erofs"])
def test_store_that_cannot_be_written_is_named_and_can_be_cleared_later(
    stored: Sessions, fault_library: Path, mode: Mode
) -> None:
    command = [*KM, "clear", "--all"]
    with (
        DiskFaults(stored.folder, library=fault_library) as faults,
        Terminal(command, {**variables(stored), **faults.env()}) as terminal,
    ):
        terminal.wait_for("[y/N]")
        faults.set(mode)
        terminal.type("y\n")

        assert terminal.wait() == 1
    assert "cannot be cleared" in terminal.shown
    assert len(names(stored)) == 5
    clear(stored, "--all", "--yes")
    assert names(stored) == ["gamma"]


def test_full_disk_takes_the_ballast_and_gives_it_back(stored: Sessions, fault_library: Path) -> None:
    ballast = Path(stored.home.ballast)
    make_ballast(str(ballast))
    holder = apsw.Connection(stored.home.store_file)  # as a recorder: the store is open before the disk is full
    holder.execute("SELECT 1 FROM sessions").fetchall()
    command = [*KM, "clear", "--all"]
    with (
        DiskFaults(stored.folder, library=fault_library) as faults,
        Terminal(command, {**variables(stored), **faults.env()}) as terminal,
    ):
        terminal.wait_for("[y/N]")
        faults.set("enospc")
        terminal.type("y\n")
        terminal.wait()

    assert "disk is full" in terminal.shown
    assert not ballast.exists()
    clear(stored, "--all", "--yes")
    assert ballast.stat().st_size == BALLAST_BYTES
    holder.close()


def test_list_that_nobody_reads_does_not_keep_it_from_deleting(stored: Sessions) -> None:
    ours, theirs = os.pipe()
    os.close(ours)
    done = subprocess.run([*KM, "clear", "--all", "--yes"], env=variables(stored), stdout=theirs, check=False)
    os.close(theirs)

    assert done.returncode == 0
    assert names(stored) == ["gamma"]


def test_home_without_a_store_says_what_to_do(tmp_path: Path) -> None:
    sessions = Sessions(tmp_path / "nowhere")

    done = sessions.km("clear", "--all", "--yes")

    assert done.returncode == 1
    assert b"nothing has been recorded yet" in done.stderr
    assert not sessions.folder.exists()
