"""Homes that have been copied, upgraded, or are nearly full: whose sessions they are, and how long they stay."""

import json
import os
import shlex
import shutil
import signal
import subprocess
import time
import zlib
from collections.abc import Iterator
from pathlib import Path

import apsw
import pytest

from faults.disk_faults import DiskFaults
from kilometers import __version__, election, paths
from kilometers.core import journal
from kilometers.core.pairing import Call
from kilometers.core.session import new_state
from kilometers.core.session_id import make_session_id
from kilometers.core.summary import summarize
from kilometers.retention import DAY_US, Retention, limits
from kilometers.store import Store
from recorder.sessions import KM, Sessions, assert_equation, wait_until
from relay.wrapped import home_in


@pytest.fixture
def copied(tmp_path: Path) -> Iterator[Sessions]:
    """An empty home to copy the other one into."""
    with home_in(tmp_path / "copy") as home:
        copied = Sessions(home)
        yield copied
        copied.close()


def test_newest_km_seen_is_the_one_that_records(sessions: Sessions, tmp_path: Path) -> None:
    newer = tmp_path / "newer-km"
    newer.write_text(f'#!/bin/sh\necho "$@" > {tmp_path}/started\nexec {shlex.join(KM)} "$@"\n')
    newer.chmod(0o755)
    content = election.LockFile({"version": ["99.0.0"], "command": [str(newer)]})
    Path(sessions.home.recorder_lock).write_bytes(content.pack())

    client = sessions.start()
    client.call(1)
    client.end()
    sessions.wait_until_recorded()

    assert (tmp_path / "started").read_text() == "recorder\n"


def test_newest_km_that_is_gone_is_forgotten(sessions: Sessions) -> None:
    content = election.LockFile({"version": ["99.0.0"], "command": ["/nowhere/km"]})
    Path(sessions.home.recorder_lock).write_bytes(content.pack())

    client = sessions.start()
    client.call(1)
    client.end()

    assert len(sessions.wait_until_recorded()) == 1


def test_restarts_back_off_when_recorders_get_nowhere() -> None:
    delays = [election.restart_delay_s(failures) for failures in range(12)]

    assert delays[:2] == [0, 0]
    assert delays == sorted(delays)
    assert delays[-1] == election.MAX_DELAY_S


def test_copied_home_does_not_end_the_sessions_of_the_original(sessions: Sessions, copied: Sessions) -> None:
    client = sessions.start()
    client.call(1)
    client.wait_for_answers(1)
    wait_until(sessions.recorded, 10)
    shutil.copytree(sessions.folder, copied.folder, ignore=shutil.ignore_patterns("journal"), dirs_exist_ok=True)
    own = copied.start()
    own.call(1)
    own.end()
    wait_until(lambda: any(one.summary.get("ended_at") for one in copied.recorded().values()), 10)

    lives_on = [one for one in copied.recorded().values() if "ended_at" not in one.summary]
    installs = copied.column("SELECT DISTINCT install_id FROM sessions")
    client.end()

    assert len(lives_on) == 1
    assert len(installs) == 2


def test_journal_that_was_copied_with_its_home_is_not_recorded_again(sessions: Sessions, copied: Sessions) -> None:
    sessions.folder.joinpath("config.toml").write_text(f'journal_dir = "{sessions.home.journal_folder}"\n')
    client = sessions.start()
    client.call(1)
    client.wait_for_answers(1)
    wait_until(lambda: any(len(one.events) == 2 for one in sessions.recorded().values()), 10)
    shutil.copytree(sessions.folder, copied.folder, dirs_exist_ok=True)
    copied.km("recorder")
    wait_until(lambda: not list(Path(copied.home.journal_folder).iterdir()), 20)

    (one,) = copied.recorded().values()
    client.end()
    assert "ended_at" not in one.summary
    assert_equation([client], sessions.wait_until_recorded())


def test_session_without_end_and_without_journal_is_closed_with_a_gap(sessions: Sessions) -> None:
    """As after a power loss: the store has the beginning, the journal in memory is gone."""
    client = sessions.start()
    client.call(1)
    client.wait_for_answers(1)
    wait_until(lambda: any(len(one.events) == 2 for one in sessions.recorded().values()), 10)
    recorder = sessions.wait_for_recorder()
    os.kill(recorder, signal.SIGSTOP)
    client.kill()
    for folder in sessions.home.ram_folders():
        shutil.rmtree(folder, ignore_errors=True)
    sessions.kill_recorder()

    (one,) = sessions.wait_until_recorded().values()

    assert [event.kind for event in one.events] == ["request", "response", "gap"]
    assert one.summary["is_clean"] is False
    assert one.events[-1].gap is not None
    assert one.events[-1].gap.reason == "lost_journal"


def add_session(store: Store, *, ended_us: int, size_bytes: int = 0) -> int:
    session_id = make_session_id(ended_us * 1000, os.urandom(10))
    state = new_state(session_id)
    state.started_ns = state.ended_ns = ended_us * 1000
    with store.transaction():
        number = store.add_session(state, journal_id=session_id, continues=None, install_id="")
        store.save_session(number, state, summarize(state, is_ended=True))
        call = Call(
            seq=0, direction="client_to_server", key="n:1", method="m", monotonic_ns=1, request_id="1", call_seq=0
        )
        store.save_calls(number, {0: call})
        if size_bytes:
            store.connection.execute("UPDATE sessions SET kept_bytes = ? WHERE session_no = ?", (size_bytes, number))
            store.connection.execute(
                "INSERT INTO events (event_id, at_us, kind, wire, hash) VALUES (?, ?, 'log', zeroblob(?), x'')",
                (number << 32, ended_us, size_bytes),
            )
    return number


def numbers(store: Store) -> list[int]:
    return [number for (number,) in store.connection.execute("SELECT session_no FROM sessions ORDER BY 1")]


def test_retention_deletes_sessions_that_are_too_old(home: Path) -> None:
    store = Store(str(home / "store.db"))
    now_us = time.time_ns() // 1000
    old = add_session(store, ended_us=now_us - 31 * DAY_US)
    young = add_session(store, ended_us=now_us - 29 * DAY_US)

    Retention(store, home=paths.Home(str(home), str(home / "config.toml"))).apply()

    assert old not in numbers(store)
    assert numbers(store) == [young]
    assert list(store.connection.execute("SELECT session_no FROM open_calls")) == [(young,)]
    store.close()


def test_retention_deletes_the_oldest_while_the_store_is_too_large(home: Path) -> None:
    (home / "config.toml").write_text("retention_mb = 3\n")
    store = Store(str(home / "store.db"))
    now_us = time.time_ns() // 1000
    kept = [add_session(store, ended_us=now_us - 10_000_000 + step, size_bytes=1_000_000) for step in range(5)]

    Retention(store, home=paths.Home(str(home), str(home / "config.toml"))).apply()

    assert numbers(store) == kept[-3:]
    assert store.ended_bytes() <= 3_000_000
    store.close()


def test_session_that_lives_costs_no_other_its_place(home: Path) -> None:
    (home / "config.toml").write_text("retention_mb = 3\n")
    store = Store(str(home / "store.db"))
    now_us = time.time_ns() // 1000
    ended = add_session(store, ended_us=now_us, size_bytes=1_000_000)
    lives = add_session(store, ended_us=now_us, size_bytes=50_000_000)
    store.connection.execute("UPDATE sessions SET ended_at_us = NULL WHERE session_no = ?", (lives,))

    Retention(store, home=paths.Home(str(home), str(home / "config.toml"))).apply()

    assert numbers(store) == [ended, lives]
    store.close()


@pytest.mark.parametrize("config", ["a = " + "[" * 3000, 'retention_mb = "much"', "\0", "[servers"])
def test_config_that_makes_no_sense_means_the_defaults(home: Path, config: str) -> None:
    (home / "config.toml").write_text(config)

    assert limits(paths.Home(str(home), str(home / "config.toml"))) == (30, 1000)


def test_reader_that_is_slow_does_not_hold_the_wal_back(sessions: Sessions) -> None:
    client = sessions.start(command=["cat"])
    for number in range(3_000):
        client.call(number, size=1_000)
    client.end()
    sessions.wait_until_recorded()
    reader = subprocess.Popen([*KM, "events", "--json"], env=sessions.environment, stdout=subprocess.PIPE)
    assert reader.stdout is not None
    json.loads(reader.stdout.readline())  # and now it is blocked, with its pipe full

    connection = apsw.Connection(sessions.home.store_file)
    connection.set_busy_timeout(2_000)
    busy, _, _ = next(connection.execute("PRAGMA wal_checkpoint(TRUNCATE)"))
    connection.close()
    reader.kill()
    reader.stdout.close()
    reader.wait()

    assert busy == 0


def test_recorder_that_this_home_cannot_see_makes_the_journal_go_to_the_home(sessions: Sessions) -> None:
    """A container shares the home with a host whose recorder works: its RAM folders are not ours."""
    fd = sessions.hold_recorder_lock()
    content = election.LockFile({"version": [__version__], "command": election.own_command(), "boot_id": ["another"]})
    election.write_lock(fd, content)
    client = sessions.start()
    client.call(1)
    client.wait_for_answers(1)

    assert sorted(path.suffix for path in Path(sessions.home.journal_folder).iterdir()) == ["", ".0", ".lock"]
    client.end()
    os.close(fd)
    assert len(sessions.wait_until_recorded()) == 1


def test_what_a_dead_recorder_said_of_its_machine_means_nothing(sessions: Sessions) -> None:
    content = election.LockFile({"version": [__version__], "command": election.own_command(), "boot_id": ["another"]})
    Path(sessions.home.recorder_lock).write_bytes(content.pack())
    fd = os.open(sessions.home.recorder_lock, os.O_RDWR)
    client = sessions.start()
    client.call(1)
    client.wait_for_answers(1)

    # A marker only, which is made beside the session's first bytes.
    wait_until(lambda: [path.suffix for path in Path(sessions.home.journal_folder).iterdir()] == [""], 10)
    assert any(Path(folder).exists() for folder in sessions.home.ram_folders())
    client.end()
    os.close(fd)
    assert len(sessions.wait_until_recorded()) == 1


def test_newer_journal_is_left_to_the_newer_km(sessions: Sessions) -> None:
    folder = Path(sessions.home.ram_folders()[-1])
    os.makedirs(sessions.home.journal_folder, mode=0o700)
    folder.mkdir(mode=0o700)
    session_id = make_session_id(time.time_ns(), os.urandom(10))
    page = bytearray(journal.pack_page(bytes.fromhex(session_id.replace("-", "")), 0, (0, 0, 0)))
    page[4:6] = (99).to_bytes(2, "little")
    page[52:56] = zlib.crc32(page[:52]).to_bytes(4, "little")
    segment = folder / f"{session_id}.0"
    segment.write_bytes(page)

    done = sessions.km("recorder")
    wait_until(lambda: b"newer km wrote this journal" in log_of(sessions), 10)

    assert done.returncode == 0
    assert segment.read_bytes() == page


def log_of(sessions: Sessions) -> bytes:
    path = Path(sessions.home.log_file)
    return path.read_bytes() if path.exists() else b""


def test_ballast_goes_when_the_disk_is_full_and_comes_back(sessions: Sessions, fault_library: Path) -> None:
    ballast = sessions.folder / "ballast"
    with DiskFaults(sessions.folder, library=fault_library) as faults:
        environment = {**sessions.environment, **faults.env()}
        subprocess.run([*KM, "recorder"], env=environment, check=True, timeout=20)
        wait_until(ballast.exists, 10)
        faults.set("enospc")
        client = sessions.start()
        for number in range(300):
            client.call(number, size=5_000)
        wait_until(lambda: not ballast.exists(), 20)
        faults.clear()
        wait_until(ballast.exists, 20)
        client.end()

    assert_equation([client], sessions.wait_until_recorded())
