"""`km doctor` on homes in which something is wrong: what it says, and that what it says helps."""

import os
import re
from collections.abc import Iterator
from pathlib import Path

import apsw
import pytest

from faults.disk_faults import DiskFaults, Mode
from kilometers.home_checks import FAIL_FILES, FAIL_MEMORY_BYTES, judge_clock
from recorder.doctor_runs import AS_ROOT, SCRIPT, SOMEBODY, Doctor, states, write
from relay.wrapped import obey_modes, ram_folders

HOUR_NS = 3_600_000_000_000


def test_home_that_works_has_nothing_but_its_variable_to_warn_of(recorded: Doctor) -> None:
    report = recorded.report(status=0)

    assert {name for name, state in states(report).items() if state != "ok"} == {"environment"}
    assert (report["failures"], report["warnings"], report["clients"]) == (0, 1, [])
    assert report["km"] == [str(SCRIPT)]


def test_one_of_each_is_counted_as_one(doctor: Doctor) -> None:
    client = doctor.sessions.start(command=["sh", "-c", "cat >/dev/null"])
    client.call(1)
    client.end()
    doctor.sessions.wait_until_recorded()
    write(doctor.user_home / ".cursor/mcp.json", {"mcpServers": {"x": {"command": "npx"}}})
    found = {check["id"]: check["detail"] for check in doctor.report()["checks"]}

    assert found["store"].startswith("1 session, 1 event, ")
    assert found["clients"].startswith("1 file, 1 server, ")


def test_home_that_is_not_there_is_not_made(doctor: Doctor) -> None:
    del doctor.environment["KILOMETERS_HOME"]
    report = doctor.report(status=0)

    assert set(states(report).values()) == {"ok"}
    assert list(doctor.user_home.iterdir()) == []


def test_looking_leaves_the_home_as_it_was(recorded: Doctor) -> None:
    recorded.sessions.kill_recorder()
    before = sorted(path.name for path in recorded.home.rglob("*"))

    recorded.report()

    assert sorted(path.name for path in recorded.home.rglob("*")) == before


def test_nothing_at_all_in_the_environment_is_enough(doctor: Doctor) -> None:
    doctor.environment = {"TMPDIR": str(doctor.temporary)}

    assert re.match("  [✓!✗] home ", doctor.run())  # the machine's own home, whatever its state


def test_home_that_is_a_file_fails(doctor: Doctor) -> None:
    doctor.home.rmdir()
    doctor.home.write_text("")
    check = doctor.check("home", status=1)

    assert check["state"] == "fail"
    doctor.type(check["fix"])
    assert doctor.check("home")["state"] == "ok"


def test_home_that_cannot_be_written_fails(doctor: Doctor) -> None:
    (doctor.home / "journal").mkdir(0o700)
    doctor.home.chmod(0o500)
    check = doctor.check("home", status=1, preexec_fn=obey_modes)

    assert (check["state"], "Permission denied" in check["detail"]) == ("fail", True)
    doctor.type(check["fix"])
    assert doctor.check("home", preexec_fn=obey_modes)["state"] == "ok"


@pytest.mark.parametrize(
    ("mode", "fix"), [("enospc", "df -h"), ("erofs", "read-only"), ("eio", "ls -ld"), ("short", "df -h")]
)
def test_home_on_a_disk_that_takes_nothing_fails(doctor: Doctor, fault_library: Path, mode: Mode, fix: str) -> None:
    with DiskFaults(doctor.home, library=fault_library) as faults:
        faults.set(mode)
        doctor.environment |= faults.env()
        check = doctor.check("home", status=1)

    assert (check["state"], fix in check["fix"]) == ("fail", True)
    assert list(doctor.home.iterdir()) == []


def test_home_that_cannot_be_made_fails(doctor: Doctor) -> None:
    doctor.home.rmdir()
    doctor.home.parent.chmod(0o500)
    check = doctor.check("home", status=1, preexec_fn=obey_modes)
    doctor.home.parent.chmod(0o700)

    assert (check["state"], str(doctor.home.parent) in check["fix"]) == ("fail", True)


def test_open_home_warns_until_it_is_closed(doctor: Doctor) -> None:
    doctor.home.chmod(0o755)
    check = doctor.check("home", status=0)

    assert check["state"] == "warn"
    doctor.type(check["fix"])
    assert doctor.check("home")["state"] == "ok"


@AS_ROOT
def test_home_of_another_user_fails(doctor: Doctor) -> None:
    os.chown(doctor.home, SOMEBODY, SOMEBODY)
    check = doctor.check("home", status=1)

    assert check["state"] == "fail"
    assert check["fix"] == f"sudo chown -R {os.getuid()} {doctor.home}"


@AS_ROOT
def test_home_of_somebody_else_in_the_environment_warns(doctor: Doctor) -> None:
    del doctor.environment["KILOMETERS_HOME"]
    os.chown(doctor.user_home, SOMEBODY, SOMEBODY)
    check = doctor.check("home")

    assert (check["state"], str(doctor.user_home) in check["detail"]) == ("warn", True)


def test_journal_is_in_memory_where_there_is_some(doctor: Doctor) -> None:
    check = doctor.check("journal")

    assert (check["state"], "in memory" in check["detail"]) == ("ok", True)
    assert not any(folder.exists() for folder in ram_folders(doctor.home))


@pytest.fixture
def without_memory(doctor: Doctor) -> Iterator[None]:
    """Files stand where the journal would be in memory."""
    blocked = [folder for folder in ram_folders(doctor.home) if folder.parent.is_dir()]
    for folder in blocked:
        folder.write_text("in the way")
    yield
    for folder in blocked:
        folder.unlink(missing_ok=True)


@pytest.mark.usefixtures("without_memory")
def test_journal_folder_that_is_open_is_named_and_the_next_one_is_tried(doctor: Doctor) -> None:
    opened = doctor.home / "journal"
    opened.mkdir()
    opened.chmod(0o777)
    check = doctor.check("journal", status=1)

    assert check["state"] == "fail"
    assert f"{opened} is open to others" in check["detail"]
    assert "nothing is recorded" in check["detail"]
    doctor.type(check["fix"].splitlines()[-1])
    assert doctor.check("journal")["state"] == "warn"


def test_journal_folder_that_takes_no_files_fails(doctor: Doctor) -> None:
    wanted = doctor.home / "own"
    wanted.mkdir(mode=0o500)
    (doctor.home / "config.toml").write_text(f'journal_dir = "{wanted}"')
    check = doctor.check("journal", status=1, preexec_fn=obey_modes)

    assert (check["state"], str(wanted) in check["detail"]) == ("fail", True)
    doctor.type(check["fix"])
    assert doctor.check("journal", preexec_fn=obey_modes)["state"] == "ok"


def test_files_that_others_may_read_fail_in_an_open_home(recorded: Doctor) -> None:
    recorded.sessions.kill_recorder()
    Path(recorded.sessions.home.store_file).chmod(0o644)
    recorded.home.chmod(0o755)
    check = recorded.check("permissions", status=1)

    assert (check["state"], "store.db" in check["detail"]) == ("fail", True)
    recorded.type(check["fix"])
    assert recorded.check("permissions")["state"] == "ok"


def test_files_that_others_may_read_warn_in_a_closed_home(doctor: Doctor) -> None:
    config = doctor.home / "config.toml"
    config.write_text("")
    config.chmod(0o644)

    assert doctor.check("permissions", status=0)["state"] == "warn"


@AS_ROOT
def test_files_of_another_user_fail(recorded: Doctor) -> None:
    recorded.sessions.kill_recorder()
    os.chown(recorded.sessions.home.store_file, SOMEBODY, SOMEBODY)
    check = recorded.check("permissions", status=1)

    assert (check["state"], check["fix"].startswith("sudo chown")) == ("fail", True)


@AS_ROOT
@pytest.mark.parametrize(
    ("options", "state", "word"),
    [
        (f"size={FAIL_MEMORY_BYTES // 2}", "fail", "free"),
        (f"size={FAIL_MEMORY_BYTES * 5}", "warn", "free"),
        (f"size=900m,nr_inodes={FAIL_FILES // 2}", "fail", "more files"),
    ],
)
def test_file_system_that_is_nearly_full_is_named(doctor: Doctor, options: str, state: str, word: str) -> None:
    mount = f'mount -t tmpfs -o {options},mode=700 none {doctor.home} && exec "$@"'
    check = doctor.check("disk", before=["unshare", "--mount", "sh", "-c", mount, "sh"])

    assert (check["state"], word in check["detail"]) == (state, True)
    assert str(doctor.home) in check["detail"]


def test_event_of_the_future_warns_of_the_clock(recorded: Doctor) -> None:
    recorded.sessions.kill_recorder()
    connection = apsw.Connection(recorded.sessions.home.store_file)
    connection.execute("UPDATE events SET at_us = at_us + 86400000000")
    connection.close()
    check = recorded.check("clock", status=0)

    assert (check["state"], "gone back" in check["detail"]) == ("warn", True)


@pytest.mark.parametrize(
    ("now_ns", "newest_ns", "file_ns", "expected"),
    [
        (1_800 * 10**15, None, None, ["ok"]),
        (1_800 * 10**15, 1_800 * 10**15, 1_800 * 10**15, ["ok"]),
        (0, None, None, ["fail", "ok"]),
        (1_800 * 10**15, 1_800 * 10**15 + HOUR_NS, None, ["warn", "ok"]),
        (1_800 * 10**15, None, 1_800 * 10**15 - HOUR_NS, ["warn", "ok"]),
        (2**80, None, None, ["ok"]),
    ],
)
def test_clock_is_judged(now_ns: int, newest_ns: int | None, file_ns: int | None, expected: list[str]) -> None:
    assert [finding.state for finding in judge_clock(now_ns, newest_ns, file_ns)] == expected
