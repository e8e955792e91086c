"""`km status` at the moments of a home's life: before its first session, while one runs, between two."""

import json
import os
from pathlib import Path
from typing import Any

import pytest

from recorder.sessions import Sessions, wait_until
from relay.wrapped import ram_folders


def status_of(sessions: Sessions) -> dict[str, Any]:
    done = sessions.km("status", "--json")
    assert (done.returncode, done.stderr) == (0, b"")
    return json.loads(done.stdout)


def record_one(sessions: Sessions) -> None:
    """Record a session, and wait until its recorder has left and has taken the folder in memory with it."""
    client = sessions.start()
    client.call(1)
    client.wait_for_answers(1)
    client.end()
    sessions.wait_until_recorded()
    wait_until(lambda: sessions.recorder_pid() is None, 30)
    wait_until(lambda: not any(folder.exists() for folder in ram_folders(sessions.folder)), 10)


def test_journal_between_two_sessions_is_where_the_next_one_puts_it(sessions: Sessions) -> None:
    record_one(sessions)
    between = status_of(sessions)
    client = sessions.start()
    client.call(1)
    client.wait_for_answers(1)
    while_one_runs = status_of(sessions)

    assert "recorder_pid" not in between
    assert between["journal_in_memory"] is True
    assert Path(between["journal"]) in ram_folders(sessions.folder)
    assert list(Path(between["journal"]).glob("*.lock"))
    assert (between["journal"], True) == (while_one_runs["journal"], while_one_runs["journal_in_memory"])


def test_looking_makes_no_folder_in_memory(sessions: Sessions) -> None:
    status_of(sessions)

    assert not any(folder.exists() for folder in ram_folders(sessions.folder))
    assert list(sessions.folder.iterdir()) == []


def test_journal_that_was_set_is_the_one_that_is_shown(sessions: Sessions, tmp_path: Path) -> None:
    (sessions.folder / "config.toml").write_text(f'journal_dir = "{tmp_path / "own"}"\n')

    assert status_of(sessions)["journal"] == str(tmp_path / "own")


@pytest.mark.parametrize("arguments", [[], ["--json"]])
def test_home_that_is_not_there_has_no_journal_yet_and_is_not_made(tmp_path: Path, arguments: list[str]) -> None:
    done = Sessions(tmp_path / "nowhere").km("status", *arguments)

    assert done.returncode == 0
    assert (b"chosen when the next session begins" in done.stdout) == (not arguments)
    assert b"/dev/shm" not in done.stdout
    assert not (tmp_path / "nowhere").exists()


def test_what_is_pending_is_counted_once(sessions: Sessions) -> None:
    fd = sessions.hold_recorder_lock()
    client = sessions.start()
    client.call(1)
    client.wait_for_answers(1)
    client.end()
    files = [file for folder in ram_folders(sessions.folder) if folder.exists() for file in folder.iterdir()]

    assert status_of(sessions)["waiting_bytes"] == sum(file.stat().st_size for file in files) > 0

    os.close(fd)
    sessions.wait_until_recorded()
