"""`km clear`: what goes, what stays, what is asked and said."""

import json
import os
import subprocess
from pathlib import Path

import apsw
import pytest

from kilometers.core.session_id import short_id
from recorder.clear_runs import SECRET, check_store, clear, execute, fill, names, write_sessions
from recorder.sessions import KM, Sessions
from recorder.terminal import Terminal


@pytest.fixture
def stored(home: Path, sessions: Sessions) -> Sessions:
    write_sessions(home)
    return sessions


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
    with Terminal([*KM, "clear", "--all"], stored.environment) as terminal:
        terminal.wait_for("Delete 4 sessions? [y/N]")
        terminal.type(answer if answer == "\x04" else f"{answer}\n")

        assert terminal.wait() == status
    assert len(names(stored)) == left


def test_ten_are_listed_and_the_rest_is_counted(sessions: Sessions) -> None:
    fill(sessions, count=13, events=1)

    done = sessions.km("clear", "--all", "--dry-run")

    assert done.stdout.count(b"\n") == 10
    assert "and 3 earlier sessions" in done.stderr.decode()


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


def test_session_begun_in_the_home_that_was_copied_can_go(stored: Sessions) -> None:
    execute(stored, "INSERT INTO meta (key, value) VALUES ('install_id', 'of the copy')")

    clear(stored, "--all", "--yes")

    assert names(stored) == []


def test_list_that_nobody_reads_does_not_keep_it_from_deleting(stored: Sessions) -> None:
    ours, theirs = os.pipe()
    os.close(ours)
    done = subprocess.run([*KM, "clear", "--all", "--yes"], env=stored.environment, stdout=theirs, check=False)
    os.close(theirs)

    assert done.returncode == 0
    assert names(stored) == ["gamma"]


def test_home_without_a_store_says_what_to_do(tmp_path: Path) -> None:
    sessions = Sessions(tmp_path / "nowhere")

    done = sessions.km("clear", "--all", "--yes")

    assert done.returncode == 1
    assert b"nothing has been recorded yet" in done.stderr
    assert not sessions.folder.exists()
