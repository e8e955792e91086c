"""`km demo`: what it shows, what it needs, and that it leaves nothing behind."""

import contextlib
import os
import re
import resource
import signal
import subprocess
from pathlib import Path

import pytest

import km_under_test
from recorder.demo_runs import NOTES, demo, environment_in
from recorder.sessions import KM, Sessions, is_gone, wait_until
from recorder.terminal import Terminal
from relay.wrapped import KM as KM_SCRIPT
from relay.wrapped import ram_folders, survivors


def start_demo(folder: Path) -> subprocess.Popen[bytes]:
    return subprocess.Popen([*KM, "demo"], env=environment_in(folder), stdout=subprocess.PIPE, stderr=subprocess.PIPE)


def interrupt_until_it_ends(running: subprocess.Popen[bytes]) -> None:
    while running.poll() is None:
        running.send_signal(signal.SIGINT)
        with contextlib.suppress(subprocess.TimeoutExpired):
            running.wait(0.005)
    running.communicate()


def wait_until_gone(folders: list[Path]) -> None:
    """Fail if a RAM folder stays: for a moment another test's home may have the same inode, and so the same name."""
    wait_until(lambda: not any(folder.exists() for folder in folders), 20)


def test_demo_leaves_nothing_behind(tmp_path: Path) -> None:
    running = start_demo(tmp_path)
    wait_until(lambda: list(tmp_path.glob("km-*")), 20)
    (home,) = tmp_path.glob("km-*")
    folders = ram_folders(home)
    running.communicate(timeout=60)

    assert running.returncode == 0
    assert os.listdir(tmp_path) == []
    assert survivors(home) == []
    wait_until_gone(folders)


@pytest.mark.parametrize(("number", "status"), [(signal.SIGINT, 130), (signal.SIGTERM, 143), (signal.SIGHUP, 129)])
def test_demo_that_is_interrupted_leaves_nothing_behind(tmp_path: Path, number: int, status: int) -> None:
    running = start_demo(tmp_path)
    wait_until(lambda: len(list(tmp_path.glob("km-*/journal/*"))) >= 2, 20)
    (home,) = tmp_path.glob("km-*")
    folders = ram_folders(home)
    running.send_signal(number)
    _, said = running.communicate(timeout=60)

    assert running.returncode == status
    assert said.strip() == b""
    assert os.listdir(tmp_path) == []
    assert survivors(home) == []
    wait_until_gone(folders)


def test_demo_that_is_interrupted_again_and_again_leaves_nothing_behind(tmp_path: Path) -> None:
    running = start_demo(tmp_path)
    wait_until(lambda: list(tmp_path.glob("km-*/journal/*")), 20)
    (home,) = tmp_path.glob("km-*")
    folders = ram_folders(home)
    interrupt_until_it_ends(running)

    assert os.listdir(tmp_path) == []
    assert survivors(home) == []
    wait_until_gone(folders)


def test_demo_that_is_interrupted_while_it_puts_away_leaves_nothing_behind(tmp_path: Path) -> None:
    running = start_demo(tmp_path)
    wait_until(lambda: list(tmp_path.glob("km-*/journal/*")), 20)
    (home,) = tmp_path.glob("km-*")
    recorder = Sessions(home).wait_for_recorder()
    # A recorder that is stopped before it is told to end keeps the demo waiting.
    wait_until(lambda: ended_sessions(home) == 2 or running.poll() is not None, 20)
    with contextlib.suppress(ProcessLookupError):
        os.kill(recorder, signal.SIGSTOP)
        wait_until(lambda: is_told_to_end(recorder) or is_gone(recorder), 20)
        running.send_signal(signal.SIGINT)
        os.kill(recorder, signal.SIGCONT)
    running.communicate(timeout=60)

    assert os.listdir(tmp_path) == []


def ended_sessions(home: Path) -> int:
    return len([one for one in Sessions(home).recorded().values() if one.summary.get("ended_at")])


def is_told_to_end(pid: int) -> bool:
    """Whether SIGTERM waits for a process that is stopped."""
    try:
        status = Path(f"/proc/{pid}/status").read_text()
    except OSError:
        return False
    pending = int(re.findall(r"^ShdPnd:\s*(\w+)$", status, re.MULTILINE)[0], 16)
    return bool(pending >> (signal.SIGTERM - 1) & 1)


def test_demo_shows_what_a_user_would_type(tmp_path: Path) -> None:
    done = demo(env=environment_in(tmp_path))
    headings = re.findall(rf"^\$ {re.escape(km_under_test.TYPED)} (.*)$", done.stdout, re.MULTILINE)

    assert (done.returncode, done.stderr) == (0, "")
    assert headings == ["sessions", "show notes", "show calendar", "stats"]


@pytest.mark.parametrize(
    ("programs", "last_line"),
    [
        (["npx", "uvx"], "demo -- npx -y @modelcontextprotocol/server-everything"),
        (["uvx"], "demo -- uvx mcp-server-time"),
        ([], "doctor"),
    ],
)
def test_demo_ends_with_what_to_try_next(tmp_path: Path, programs: list[str], last_line: str) -> None:
    for program in programs:
        (tmp_path / program).touch(mode=0o755)
    environment = {**environment_in(tmp_path), "PATH": str(tmp_path)}

    assert demo(env=environment).stdout.splitlines()[-1] == f"{km_under_test.TYPED} {last_line}"


def test_demo_names_km_as_it_was_typed(tmp_path: Path) -> None:
    folder, name = os.path.split(KM_SCRIPT)
    in_path = {**environment_in(tmp_path), "PATH": folder}
    by_name = subprocess.run([KM_SCRIPT, "demo"], env=in_path, stdout=subprocess.PIPE, text=True, check=True)
    nowhere = {**in_path, "PATH": "/nowhere"}
    by_path = subprocess.run(
        [f"./{name}", "demo"], cwd=folder, env=nowhere, stdout=subprocess.PIPE, text=True, check=True
    )

    assert by_name.stdout.splitlines()[-1] == "km doctor"
    assert by_path.stdout.splitlines()[-1] == "./km doctor"


@pytest.mark.parametrize(
    "environment",
    [
        {},
        {"HOME": "/nonexistent", "LC_ALL": "C"},
        {"PYTHONPATH": "/nonexistent", "PYTHONWARNINGS": "error", "PYTHONDEVMODE": "1", "PYTHONOPTIMIZE": "2"},
        {"KILOMETERS_HOME": "/proc/nowhere", "KILOMETERS_CAPTURE": "off"},
    ],
)
def test_demo_needs_no_environment(environment: dict[str, str]) -> None:
    done = subprocess.run(
        [*KM, "demo"],
        env=environment,
        cwd="/proc",
        capture_output=True,
        timeout=60,
        check=False,
    )

    assert (done.returncode, done.stderr) == (0, b"")
    assert "brew_tea" in done.stdout.decode()


@pytest.mark.parametrize("arguments", [[], ["--", *NOTES]])
def test_demo_needs_no_standard_descriptors(home: Path, tmp_path: Path, arguments: list[str]) -> None:
    environment = {**environment_in(tmp_path), "KILOMETERS_HOME": str(home)}
    command = ["sh", "-c", 'exec "$@" <&- >&- 2>&-', "sh", *KM, "demo", *arguments]

    assert subprocess.run(command, env=environment, timeout=60, check=False).returncode == 0
    assert list(tmp_path.glob("km-*")) == []


def test_demo_that_cannot_record_says_so(tmp_path: Path) -> None:
    def allow_small_files_only() -> None:
        resource.setrlimit(resource.RLIMIT_FSIZE, (50_000, 50_000))

    done = demo(env=environment_in(tmp_path), preexec_fn=allow_small_files_only)

    assert done.returncode == 1
    assert f"not all could be recorded in {tmp_path}" in done.stderr
    assert os.listdir(tmp_path) == []


def test_demo_fits_a_terminal_of_80_columns(tmp_path: Path) -> None:
    environment = {**environment_in(tmp_path), "TERM": "xterm", "NO_COLOR": "1"}
    with Terminal([*KM, "demo"], environment, columns=80) as terminal:
        status = terminal.wait(60)
    lines = re.sub(r"\x1b\[[0-9;]*m", "", terminal.shown).splitlines()

    assert status == 0
    assert len(lines) > 50
    assert [line for line in lines if len(line) > 80 and km_under_test.TYPED not in line] == []
