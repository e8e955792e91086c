"""`km clear` while others use the store, sessions change, disks fill up, or it is broken off."""

import os
import signal
import subprocess
from pathlib import Path

import apsw
import pytest

from faults.disk_faults import DiskFaults, Mode
from kilometers.core.session_id import short_id
from kilometers.store import BALLAST_BYTES, SCHEMA_VERSION, make_ballast
from recorder.clear_runs import check_store, clear, execute, fill, names, write_sessions
from recorder.sessions import KM, Sessions, assert_equation, wait_until
from recorder.terminal import Terminal


@pytest.fixture
def stored(home: Path, sessions: Sessions) -> Sessions:
    write_sessions(home)
    return sessions


def test_recorder_at_work_is_not_held_up(sessions: Sessions) -> None:
    fill(sessions, count=60)
    client = sessions.start()
    client.call(1)
    client.wait_for_answers(1)
    clearing = subprocess.Popen([*KM, "clear", "--all", "--yes"], env=sessions.environment, stdout=subprocess.DEVNULL)
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
        subprocess.Popen(
            command, env=sessions.environment, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True
        )
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
        [*KM, "clear", "--all", "--yes"], env=sessions.environment, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE
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
    with Terminal([*KM, "clear", "--all"], stored.environment) as terminal:
        terminal.wait_for("[y/N]")
        execute(stored, change)
        terminal.type("y\n")

        assert terminal.wait() == 0
    assert "1 session had gone or come back to life meanwhile" in terminal.shown
    assert names(stored) == ["beta", "gamma"]
    assert stored.count("SELECT count(*) FROM events") == 6


def test_session_that_gets_a_journal_while_a_person_thinks_is_kept(stored: Sessions) -> None:
    (beta,) = stored.column("SELECT session_id FROM sessions WHERE name = 'beta'")
    with Terminal([*KM, "clear", "beta"], stored.environment) as terminal:
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
        Terminal(command, {**stored.environment, **faults.env()}) as terminal,
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
        Terminal(command, {**stored.environment, **faults.env()}) as terminal,
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
