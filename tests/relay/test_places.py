"""Where the journal may be, and homes that cannot be used: the session goes on as if nothing were to be recorded."""

import fcntl
import os
import time
from pathlib import Path

import pytest

from faults.disk_faults import DiskFaults, Mode
from kilometers.core.journal import CLIENT_TO_SERVER, JOURNAL_LATE, START
from relay.wrapped import (
    Captured,
    Client,
    captured,
    environment_of,
    journal_folder,
    obey_modes,
    ram_folders,
    remove,
    run,
    run_recorded,
    wait_until,
)


def runs_as_if_nothing_were_wrong(home: Path, **popen: object) -> None:
    """Run a session and see that nothing shows."""
    ended = run(["sh", "-c", "cat; echo error >&2; exit 3"], home, input=b"hello", **popen)

    assert (ended.stdout, ended.stderr, ended.returncode) == (b"hello", b"error\n", 3)


def test_journal_is_in_memory_and_private(home: Path) -> None:
    run_recorded(["cat"], home, data=b"hello")
    folder = next(folder for folder in ram_folders(home) if folder.exists())

    assert Captured(folder).stream(CLIENT_TO_SERVER) == b"hello"
    assert folder.stat().st_mode & 0o777 == 0o700
    assert list((home / "journal").glob("*.*")) == []


def test_configured_folder_is_used(home: Path, disk_folder: Path) -> None:
    run_recorded(["cat"], home, data=b"hello", env={**environment_of(home), "KILOMETERS_JOURNAL_DIR": str(disk_folder)})

    assert Captured(disk_folder).stream(CLIENT_TO_SERVER) == b"hello"


def test_folder_in_config_is_used(home: Path, disk_folder: Path) -> None:
    (home / "config.toml").write_text(f'journal_dir = "{disk_folder}"\n')
    run_recorded(["cat"], home, data=b"hello")

    assert Captured(disk_folder).stream(CLIENT_TO_SERVER) == b"hello"


def symlink(path: Path) -> None:
    target = path.with_name("km-test-target-" + path.name)
    target.mkdir(mode=0o700)
    path.symlink_to(target)


def open_folder(path: Path) -> None:
    path.mkdir()
    path.chmod(0o777)


def file(path: Path) -> None:
    path.touch(mode=0o600)


def other_owner(path: Path) -> None:
    path.mkdir(mode=0o700)
    os.chown(path, 65534, 65534)


HOSTILE = [
    symlink,
    open_folder,
    file,
    pytest.param(other_owner, marks=pytest.mark.skipif(os.getuid() != 0, reason="only root can give a folder away")),
]


@pytest.mark.parametrize("lay_in_wait", HOSTILE)
def test_hostile_folder_in_memory_is_never_used(home: Path, lay_in_wait: object) -> None:
    hostile = ram_folders(home)[-1]
    target = hostile.with_name("km-test-target-" + hostile.name)
    lay_in_wait(hostile)
    try:
        received = run_recorded(["cat"], home, data=b"hello")
        found = [*hostile.glob("*"), *target.glob("*")]
    finally:
        if target.exists():
            target.rmdir()
        if hostile.is_file() and not hostile.is_symlink():
            hostile.unlink()

    assert received == b"hello"
    assert found == []
    if not ram_folders(home)[0].exists():
        assert Captured(home / "journal").stream(CLIENT_TO_SERVER) == b"hello"


@pytest.mark.parametrize("mode", [0o500, 0o000])
def test_home_that_cannot_be_written_records_nothing(home: Path, mode: int) -> None:
    home.chmod(mode)
    try:
        runs_as_if_nothing_were_wrong(home, preexec_fn=obey_modes)
    finally:
        home.chmod(0o700)

    assert not (home / "journal").exists()


@pytest.mark.parametrize("variable", ["HOME", "KILOMETERS_HOME"])
@pytest.mark.parametrize("place", ["missing/a/b", "file", "file/below"])
def test_home_that_cannot_be_made_records_nothing(home: Path, tmp_path: Path, variable: str, place: str) -> None:
    (tmp_path / "file").touch()
    (tmp_path / "missing").mkdir(mode=0o500)
    env = {"PATH": os.environ["PATH"], variable: str(tmp_path / place)}

    runs_as_if_nothing_were_wrong(home, env=env, preexec_fn=obey_modes)


def test_missing_home_is_no_obstacle(home: Path) -> None:
    ended = run(["cat"], home, "--capture", "off", input=b"hello", env={"PATH": os.environ["PATH"]})

    assert (ended.stdout, ended.stderr, ended.returncode) == (b"hello", b"", 0)


def test_home_below_home_is_made_as_the_system_likes_it(home: Path) -> None:
    folder = home / ".local" / "share" / "kilometers"
    folder.mkdir(parents=True)
    env = {"PATH": os.environ["PATH"], "HOME": str(home)}
    with open(folder / "recorder.lock", "w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        with Client(["cat"], home, env=env) as client:
            wait_until(lambda: captured(folder).segments, "the journal")
            (segment,) = journal_folder(folder).glob("*.0")
            client.ask(b"hello\n")

    assert Captured(segment.parent).stream(CLIENT_TO_SERVER) == b"hello\n"
    remove(segment.parent)


@pytest.mark.parametrize("mode", ["hang", "hang_read"])
def test_hung_home_costs_no_speed(home: Path, fault_library: Path, mode: Mode) -> None:
    data = os.urandom(1 << 20) * 20
    with DiskFaults(home, library=fault_library) as faults:
        faults.set(mode)
        started_s = time.monotonic()
        ended = run(["cat"], home, input=data, env={**environment_of(home), **faults.env()})

        assert ended.stdout == data
        assert (ended.stderr, ended.returncode) == (b"", 0)
        assert time.monotonic() - started_s < 2


def test_home_that_answers_late_is_recorded_from_then_on(home: Path, fault_library: Path) -> None:
    with DiskFaults(home, library=fault_library) as faults:
        faults.set("hang_read")
        with Client(["cat"], home, env={**environment_of(home), **faults.env()}) as client:
            client.ask(b"before\n")
            faults.clear()
            wait_until(lambda: captured(home).of(START), "the journal")
            client.ask(b"after\n")
            client.end_input()
            client.status()
    read = captured(home)

    assert read.gaps(CLIENT_TO_SERVER) == [(0, 7, JOURNAL_LATE)]
    assert read.stream(CLIENT_TO_SERVER) == b"after\n"
    assert read.fields(START)["capture"] == ["metadata"]
