"""What somebody else, or an accident, may do to the recorder's surroundings."""

import ctypes
import os
import shlex
import shutil
import sqlite3
import subprocess
import sys
import time
from pathlib import Path

import apsw
import pytest

from faults.disk_faults import DiskFaults
from kilometers import election
from kilometers.core import journal
from kilometers.core.session_id import make_session_id, session_bytes
from recorder.sessions import KM, Client, Sessions, assert_equation, is_gone, wait_until


def run_session(sessions: Sessions, calls: int = 3) -> Client:
    client = sessions.start()
    for number in range(calls):
        client.call(number)
    client.wait_for_answers(calls)
    return client


def forge(folder: Path) -> str:
    session_id = make_session_id(time.time_ns(), os.urandom(10))
    segment = journal.pack_page(session_bytes(session_id), 0, (0, 0, 0))
    start = journal.pack_fields([("session_id", session_id), ("name", "forged")])
    segment += journal.pack_record(journal.START, start, stream_offset=0, monotonic_ns=1, wall_ns=1)
    (folder / f"{session_id}.0").write_bytes(segment)
    return session_id


def test_folder_that_others_can_write_to_is_not_read(sessions: Sessions) -> None:
    folder = Path(sessions.home.ram_folders()[-1])
    folder.mkdir()
    folder.chmod(0o777)
    forge(folder)
    os.mkfifo(folder / f"{make_session_id(time.time_ns(), os.urandom(10))}.lock")
    run_session(sessions).end()

    wait_until(lambda: any("ended_at" in one.summary for one in sessions.recorded().values()), 20)
    assert [one.summary["name"] for one in sessions.recorded().values()] == ["server-0"]
    assert sessions.km("status").returncode == 0


def test_pipe_in_the_journals_folder_hangs_nobody(sessions: Sessions) -> None:
    folder = Path(sessions.home.ram_folders()[-1])
    folder.mkdir(mode=0o700)
    session_id = make_session_id(time.time_ns(), os.urandom(10))
    for ending in ("lock", "0"):
        os.mkfifo(folder / f"{session_id}.{ending}")
    run_session(sessions).end()

    wait_until(lambda: any(one.summary["name"] == "server-0" for one in sessions.recorded().values()), 20)


def test_line_that_never_ends_holds_back_no_other_stream(sessions: Sessions) -> None:
    script = "import sys; sys.stderr.write('listening... '); sys.stderr.flush(); exec(open(sys.argv.pop()).read())"
    server = Path(__file__).with_name("answering_server.py")
    client = sessions.start(command=[sys.executable, "-S", "-E", "-c", script, str(server)])
    for number in range(200):
        client.call(number, size=50_000)
        client.wait_for_answers(number + 1)
    (folder,) = [Path(folder) for folder in sessions.home.ram_folders() if Path(folder).exists()]
    wait_until(lambda: len([path for path in folder.iterdir() if path.suffix != ".lock"]) <= 3, 20)

    client.end()
    assert_equation([client], sessions.wait_until_recorded())


def test_full_disk_at_the_start_delays_recording_only(sessions: Sessions, fault_library: Path) -> None:
    run_session(sessions).end()
    sessions.wait_until_recorded()
    sessions.kill_recorder()
    with DiskFaults(sessions.folder, library=fault_library) as faults:
        faults.set("enospc")
        client = sessions.start(environment=faults.env())
        client.call(1)
        client.wait_for_answers(1)
        faults.clear()
        wait_until(lambda: len(sessions.recorded()) == 2, 20)
        client.end()

    assert_equation(sessions.clients, sessions.wait_until_recorded())


@pytest.mark.parametrize("command", [[sys.executable, "-c", "raise SystemExit(1)"], [__file__]])
def test_newest_km_that_cannot_record_is_given_up(sessions: Sessions, command: list[str]) -> None:
    content = election.LockFile({"version": ["99.0.0"], "command": command})
    Path(sessions.home.recorder_lock).write_bytes(content.pack())
    client = run_session(sessions)

    wait_until(sessions.recorded, 20)
    client.end()
    assert_equation([client], sessions.wait_until_recorded())


def test_recorder_without_inotify_looks_by_itself(sessions: Sessions) -> None:
    libc = ctypes.CDLL(None)
    taken = []
    while (fd := libc.inotify_init1(os.O_CLOEXEC)) >= 0:
        taken.append(fd)
    try:
        client = run_session(sessions)
        wait_until(lambda: any(len(one.events) == 6 for one in sessions.recorded().values()), 20)
        client.end()
        assert_equation([client], sessions.wait_until_recorded())
    finally:
        for fd in taken:
            os.close(fd)


def spoil_a_row(store: str) -> None:
    connection = apsw.Connection(store)
    connection.execute("UPDATE sessions SET state = x'c1', summary = x'00', ended_at_us = NULL")
    connection.close()


def put_a_foreign_database(store: str) -> None:
    for path in Path(store).parent.glob("store.db*"):
        path.unlink()
    connection = sqlite3.connect(store)
    connection.execute("CREATE TABLE sessions (a, b)")
    connection.commit()
    connection.close()


@pytest.mark.parametrize("spoil", [spoil_a_row, put_a_foreign_database])
def test_store_that_makes_no_sense_is_moved_aside(sessions: Sessions, spoil: object) -> None:
    run_session(sessions).end()
    sessions.wait_until_recorded()
    sessions.kill_recorder()
    assert callable(spoil)
    spoil(sessions.home.store_file)
    shown = sessions.km("sessions")
    client = run_session(sessions)
    client.end()

    wait_until(lambda: list(sessions.folder.glob("store.db.damaged-*")), 20)
    assert shown.returncode == 1
    assert b"no store of km" in shown.stderr or b"damaged" in shown.stderr
    assert_equation([client], sessions.wait_until_recorded())


def test_recorder_leaves_with_its_home(sessions: Sessions) -> None:
    client = run_session(sessions)
    recorder = sessions.wait_for_recorder()
    wait_until(sessions.recorded, 10)
    shutil.rmtree(sessions.folder)
    client.call(100)
    client.wait_for_answers(4)
    client.end()

    wait_until(lambda: is_gone(recorder), 20)


def test_lock_that_is_removed_under_a_living_relay_loses_no_count(sessions: Sessions) -> None:
    client = run_session(sessions)
    wait_until(lambda: any(len(one.events) == 6 for one in sessions.recorded().values()), 20)
    for folder in sessions.home.ram_folders():
        for path in Path(folder).glob("*.lock"):
            path.unlink()
    for number in range(100, 130):
        client.call(number)
        time.sleep(0.1)  # the relay looks at its lock once a second
    client.wait_for_answers(33)
    client.end()

    assert_equation([client], sessions.wait_until_recorded())


def test_many_tiny_frames_do_not_grow_the_recorder(sessions: Sessions) -> None:
    client = sessions.start(command=["cat"])
    client.write(b"1\n" * 150_000)
    wait_until(lambda: len(client.received) == client.written, 60)
    recorder = sessions.wait_for_recorder()
    wait_until(lambda: sessions.count("SELECT count(*) FROM events") == 300_000, 100)
    peak = next(line for line in Path(f"/proc/{recorder}/status").read_text().splitlines() if "VmHWM" in line)
    client.end()

    assert int(peak.split()[1]) < 80_000
    assert_equation([client], sessions.wait_until_recorded())


def test_relays_that_start_after_a_boot_keep_their_journals_in_memory(sessions: Sessions) -> None:
    content = election.LockFile({"version": ["0.0.1"], "command": [], "boot_id": ["the one before"]})
    Path(sessions.home.recorder_lock).write_bytes(content.pack())
    clients = [sessions.start() for _ in range(8)]
    for client in clients:
        client.call(1)
    for client in clients:
        client.wait_for_answers(1)

    assert not list(Path(sessions.home.journal_folder).glob("*.0"))
    for client in clients:
        client.end()
    assert_equation(clients, sessions.wait_until_recorded())


def test_name_that_would_move_the_cursor_is_shown_harmless(sessions: Sessions) -> None:
    command = [*KM, "monitor", "--name", "\x1b]0;x\x07\x1b[2J", "--", "true"]
    subprocess.run(command, env=sessions.environment, check=True, stdin=subprocess.DEVNULL)
    sessions.wait_until_recorded()

    assert b"\x1b" not in sessions.km("show").stdout


@pytest.mark.parametrize(
    ("redirection", "status", "said"),
    [(">&-", 0, ""), (">/dev/full", 1, "cannot write the output"), ("--search $(printf '\\377')", 2, "no valid text")],
)
def test_odd_output_and_input_of_a_command(sessions: Sessions, redirection: str, status: int, said: str) -> None:
    run_session(sessions).end()
    sessions.wait_until_recorded()
    line = f"{shlex.join(KM)} events {redirection}"
    done = subprocess.run(["sh", "-c", line], env=sessions.environment, capture_output=True, text=True, check=False)

    assert (done.returncode, said in done.stderr) == (status, True), done.stderr
    assert "Traceback" not in done.stderr
