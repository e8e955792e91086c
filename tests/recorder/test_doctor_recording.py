"""`km doctor` on stores and recorders that do not work, and its own test recording."""

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path

import apsw
import pytest

from kilometers import election, locks, paths
from kilometers.core.session_id import make_session_id
from kilometers.temporary_home import temporary_home
from recorder.doctor_runs import Doctor, states
from recorder.sessions import KM, Sessions, is_gone, wait_until
from relay.wrapped import ram_folders, survivors


def test_store_that_is_no_store_fails_until_a_recorder_has_put_it_aside(recorded: Doctor) -> None:
    recorded.sessions.kill_recorder()
    for ending in ("", "-wal", "-shm"):
        Path(recorded.sessions.home.store_file + ending).unlink(missing_ok=True)
    Path(recorded.sessions.home.store_file).write_bytes(b"no database" * 1000)
    check = recorded.check("store", status=1)

    assert check["state"] == "fail"
    recorded.type(check["fix"])
    recorded.sessions.wait_until_recorded()
    after = recorded.check("store", status=0)
    assert (after["state"], "moved aside" in after["detail"]) == ("warn", True)
    recorded.type(after["fix"].partition(": ")[2])
    assert recorded.check("store")["state"] == "ok"


def test_damage_inside_the_store_is_found_and_its_fix_helps(recorded: Doctor) -> None:
    recorded.sessions.kill_recorder()
    damage_a_page(recorded.sessions.home.store_file)
    check = recorded.check("store", status=1)

    assert (check["state"], "damaged" in check["detail"]) == ("fail", True)
    recorded.type(check["fix"])
    assert recorded.check("store")["detail"] == "nothing has been recorded yet"


def damage_a_page(store: str) -> None:
    """Overwrite the page of an index, which reading sessions and events does not need."""
    connection = apsw.Connection(store)
    connection.pragma("wal_checkpoint(TRUNCATE)")
    root = connection.execute("SELECT rootpage FROM sqlite_schema WHERE name = 'sessions_journal_id'").fetchone()[0]
    size = connection.pragma("page_size")
    connection.close()
    with open(store, "r+b") as file:
        file.seek((root - 1) * size)
        file.write(b"\xff" * size)


def test_store_of_a_newer_km_fails_and_names_that_km(recorded: Doctor) -> None:
    recorded.sessions.kill_recorder()
    connection = apsw.Connection(recorded.sessions.home.store_file)
    connection.pragma("user_version", 99)
    connection.close()
    write_lock_file(recorded, version=["99.0.0"], command=["/bin/sh", "-c"])
    report = recorded.report(status=1)

    assert {states(report)[name] for name in ("store", "versions")} == {"fail", "warn"}
    fixes = [check["fix"] for check in report["checks"] if check["id"] in {"store", "versions"}]
    assert all(fix.endswith(": /bin/sh -c") for fix in fixes)


def write_lock_file(doctor: Doctor, **fields: list[str]) -> None:
    Path(doctor.sessions.home.recorder_lock).write_bytes(election.LockFile(fields).pack())


def test_newer_km_that_is_gone_is_no_warning(doctor: Doctor) -> None:
    write_lock_file(doctor, version=["99.0.0"], command=["/nowhere/km"])
    check = doctor.check("versions")

    assert (check["state"], "is gone" in check["detail"]) == ("ok", True)


def test_recorder_at_work_is_named(recorded: Doctor) -> None:
    client = recorded.sessions.start()
    pid = recorded.sessions.wait_for_recorder()
    check = recorded.check("recorder")
    client.end()

    assert (check["state"], f"pid {pid}" in check["detail"]) == ("ok", True)


def test_recorders_that_get_nowhere_fail_and_the_log_is_named(doctor: Doctor) -> None:
    write_lock_file(doctor, failures=["3"])
    check = doctor.check("recorder", status=1)

    assert (check["state"], "3 recorders" in check["detail"]) == ("fail", True)
    assert check["fix"].endswith("log/km.log")


def test_recorder_of_an_older_km_warns(recorded: Doctor) -> None:
    client = recorded.sessions.start()
    pid = recorded.sessions.wait_for_recorder()
    log = Path(recorded.sessions.home.log_file)
    log.write_text(log.read_text().replace('"version": "', '"version": "0.0.'))
    check = recorded.check("recorder", status=0)

    assert (check["state"], "older km (0.0." in check["detail"]) == ("warn", True)
    recorded.type(check["fix"])
    wait_until(lambda: is_gone(pid), 10)
    wait_until(lambda: recorded.sessions.recorder_pid() not in {None, pid}, 20)
    client.end()


def test_journal_that_nobody_records_fails_until_a_reading_command_starts_a_recorder(doctor: Doctor) -> None:
    client = doctor.sessions.start()
    client.call(1)
    client.wait_for_answers(1)
    doctor.sessions.wait_for_recorder()
    client.kill()
    doctor.sessions.kill_recorder()
    if not ram_journals(doctor):  # the recorder was quicker than the kill
        leave_a_journal(doctor.home)
    check = doctor.check("recorder", status=1)

    assert (check["state"], "nobody records" in check["detail"], check["fix"]) == ("fail", True, "km sessions")
    doctor.type(check["fix"])
    assert doctor.check("recorder")["state"] == "ok"


def ram_journals(doctor: Doctor) -> list[Path]:
    return [path for folder in ram_folders(doctor.home) if folder.is_dir() for path in folder.iterdir()]


def leave_a_journal(home: Path) -> None:
    """As a session does whose relay was killed and that nobody has recorded."""
    folder = home / "journal"
    folder.mkdir(mode=0o700, exist_ok=True)
    session_id = make_session_id(time.time_ns(), bytes(10))
    (folder / f"{session_id}.0").write_bytes(bytes(5000))
    (folder / f"{session_id}.lock").write_bytes(b"")


def test_lock_that_no_recorder_holds_fails(doctor: Doctor) -> None:
    leave_a_journal(doctor.home)
    fd = doctor.sessions.hold_recorder_lock()
    check = doctor.check("recorder", status=1)
    os.close(fd)

    assert check["state"] == "fail"
    assert "by no recorder" in check["detail"]
    assert "does not get on" in check["detail"]


def test_recorder_that_stands_still_fails_until_it_is_ended(recorded: Doctor) -> None:
    client = recorded.sessions.start()
    client.call(1)
    client.wait_for_answers(1)
    pid = recorded.sessions.wait_for_recorder()
    os.kill(pid, signal.SIGSTOP)
    client.call(2)
    client.wait_for_answers(2)
    client.end()
    check = recorded.check("recorder", status=1)

    assert (check["state"], check["fix"]) == ("fail", f"kill -9 {pid}")
    recorded.type(check["fix"])
    recorded.sessions.wait_until_recorded()
    assert recorded.check("recorder")["state"] == "ok"


@pytest.mark.parametrize(("age", "state"), [(timedelta(hours=1), "warn"), (timedelta(days=2), "ok")])
def test_last_error_in_the_log_is_shown_for_a_day(doctor: Doctor, age: timedelta, state: str) -> None:
    log = Path(doctor.sessions.home.log_file)
    log.parent.mkdir(mode=0o700)
    line = {
        "event": "recorder failed",
        "level": "error",
        "timestamp": (datetime.now(UTC) - age).isoformat(),
        "exception": "Traceback\n  somewhere\nOSError: gone",
    }
    log.write_text(f'{{"cut off\n{json.dumps(line)}\n{json.dumps({**line, "level": "info"})}\nnot json\n')
    log.chmod(0o600)
    check = doctor.check("recorder", status=0)

    assert check["state"] == state
    assert (f"{log}: recorder failed (OSError: gone)" in check["detail"]) == (state == "warn")


def test_recording_that_does_not_work_fails(doctor: Doctor) -> None:
    """As with an installation whose Python does not find km: here it is only on the path of this one process."""
    bare = Path(sys.base_prefix, "bin", "python3")
    found = [*sys.path, str(Path(election.__file__).parents[1])]
    code = f"import sys; sys.path[:0] = {found!r}; sys.argv = ['km', 'doctor', '--json']"
    command = [bare, "-S", "-c", f"{code}; from kilometers.__main__ import main; sys.exit(main())"]
    shown = subprocess.run(
        command, env=doctor.environment, cwd=doctor.project, capture_output=True, timeout=60, check=False
    )
    assert shown.stderr == b""
    check = next(check for check in json.loads(shown.stdout)["checks"] if check["id"] == "recording")

    assert shown.returncode == 1
    assert (check["state"], "No module named" in check["detail"]) == ("fail", True)
    assert list(doctor.temporary.iterdir()) == []


@pytest.mark.parametrize("kill", [os.kill, os.killpg])
@pytest.mark.parametrize(("number", "status"), [(signal.SIGINT, 130), (signal.SIGTERM, 143), (signal.SIGHUP, 129)])
def test_signal_during_the_test_recording_leaves_nothing_behind(
    doctor: Doctor, number: signal.Signals, status: int, kill: Callable[[int, int], None]
) -> None:
    process = doctor.start(stderr=subprocess.PIPE, start_new_session=True)
    wait_until(lambda: list(doctor.temporary.glob("*/journal/*")), 20)
    (folder,) = doctor.temporary.iterdir()
    folders = ram_folders(folder)
    kill(process.pid, number)
    process.communicate(timeout=60)

    assert process.returncode == status
    assert list(doctor.temporary.iterdir()) == []
    wait_until(lambda: not survivors(folder), 10)  # a relay that the signal reached ends its server
    wait_until(lambda: not any(path.exists() for path in folders), 10)


def test_temporary_home_takes_everything_with_it() -> None:
    before = dict(os.environ)
    with temporary_home() as home:
        assert os.environ["KILOMETERS_HOME"] == home.folder
        subprocess.run([*KM, "monitor", "--", "cat"], input=b"x\n", check=True, timeout=60, stdout=subprocess.PIPE)
        sessions = Sessions(Path(home.folder))
        pid = sessions.wait_for_recorder()
        folders = [home.folder, *home.ram_folders()]

    assert is_gone(pid)
    assert not any(os.path.exists(folder) for folder in folders)
    assert dict(os.environ) == before


def test_temporary_home_ends_a_recorder_that_has_just_been_started() -> None:
    with temporary_home() as home:
        paths.make_home(home)
        leave_a_journal(Path(home.folder))
        fd = election.open_lock(home)
        locks.try_lock(fd)
        election.reap(election.start_recorder(home, fd))
        os.close(fd)

    assert not os.path.exists(home.folder)


def test_temporary_home_of_an_error_is_removed_too() -> None:
    with pytest.raises(ZeroDivisionError), temporary_home() as home:
        raise ZeroDivisionError

    assert not os.path.exists(home.folder)
