"""The server finds what it would find without km, and the client hears nothing but the server."""

import os
import pty
import resource
import shutil
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from kilometers.core.journal import STDERR
from relay.wrapped import Client, captured, environment_of, monitor, run, run_directly, run_recorded, wait_until

SIGNALS = ["grep", "-E", "^(Sig(Blk|Ign|Cgt)|Umask|NoNewPrivs|Seccomp|CapEff)", "/proc/self/status"]
WITNESSES = {
    "environment": ["cat", "/proc/self/environ"],
    "working folder": ["pwd"],
    "signals and umask": SIGNALS,
    "limits": ["cat", "/proc/self/limits"],
    "niceness": ["cut", "-d ", "-f19", "/proc/self/stat"],
    "open descriptors": ["ls", "/proc/self/fd"],
    "exit status": ["sh", "-c", "exit 3"],
    "stderr": ["sh", "-c", r"printf '\377\000 no newline' >&2; cat /nonexistent"],
    "stdin": ["sh", "-c", "test -p /dev/stdin || cat"],
}


def both(command: list[str], home: Path, **popen: object) -> list[tuple[int, bytes, bytes]]:
    """Run it without and with km; return (status, stdout, stderr) of each."""
    # Both by their full path: CPython 3.13 starts those otherwise, which leaves other signals ignored.
    command = [shutil.which(command[0]) or command[0], *command[1:]]
    runs = [run_directly(command, home, **popen), run(command, home, **popen)]
    return [(ended.returncode, ended.stdout, ended.stderr) for ended in runs]


@pytest.mark.parametrize("command", WITNESSES.values(), ids=WITNESSES)
def test_server_finds_the_same(home: Path, command: list[str]) -> None:
    directly, through_km = both(command, home)

    assert through_km == directly


@pytest.mark.parametrize("argument", ["", " ", "--", "--name", "a\nb", "$HOME 'x'", "é", b"\xff\xfe\x80"])
def test_server_gets_the_same_arguments(home: Path, argument: str | bytes) -> None:
    directly, through_km = both(["cat", "/proc/self/cmdline", "--", argument], home)

    assert through_km == directly


@pytest.mark.parametrize(
    "variables",
    [
        {},
        {"LC_ALL": "C"},
        {"LANG": "C.UTF-8"},
        {"LC_CTYPE": "C.UTF-8"},
        {"LC_CTYPE": "POSIX"},
        {b"ODD": b"\xff\n=", b"EMPTY": b""},
        {"PYTHONPATH": "/nonexistent", "PYTHONUNBUFFERED": "1", "PYTHONUTF8": "0"},
        {"ZEBRA": "1", "ALPHA": "2"},
        {"LD_LIBRARY_PATH": "/nonexistent"},
    ],
)
def test_environment_is_the_clients_own(home: Path, variables: dict[str, str]) -> None:
    env = {"HOME": str(home), **environment_of(home), **variables}
    directly, through_km = both(["cat", "/proc/self/environ"], home, env=env)

    assert through_km == directly


@pytest.mark.parametrize("odd", [b"A=second", b"=A=B", b"A", b"="])
def test_odd_entry_of_the_environment_does_no_harm(home: Path, odd: bytes) -> None:
    # No shell makes these; a client that builds its environment by hand can.
    program = (
        "import ctypes, os, sys\n"
        "argv = (ctypes.c_char_p * len(sys.argv))(*map(os.fsencode, sys.argv[1:]), None)\n"
        f"envp = (ctypes.c_char_p * 5)(b'A=first', {odd!r}, b'PATH=' + os.environb[b'PATH'],"
        " b'KILOMETERS_HOME=' + os.environb[b'KILOMETERS_HOME'], None)\n"
        "ctypes.CDLL(None).execve(argv[0], argv, envp)"
    )
    ended = run_directly([sys.executable, "-c", program, *monitor(["printenv", "A"])], home)

    assert (ended.stdout, ended.stderr) == (b"first\n", b"")


def test_api_key_is_hidden_from_the_server(home: Path) -> None:
    env = {**environment_of(home), "KILOMETERS_API_KEY": "km_live_secret"}
    directly, through_km = both(["cat", "/proc/self/environ"], home, env=env)

    assert b"km_live_secret" in directly[1]
    assert through_km[1] == directly[1].replace(b"KILOMETERS_API_KEY=km_live_secret\0", b"")


def test_inherited_descriptor_reaches_the_server(home: Path) -> None:
    read_fd, write_fd = os.pipe()
    with open(read_fd, "rb") as pipe:
        run(["sh", "-c", f"echo hello > /dev/fd/{write_fd}"], home, pass_fds=[write_fd])
        os.close(write_fd)

        assert pipe.read() == b"hello\n"


def test_inherited_descriptor_that_the_server_closes_is_closed(home: Path) -> None:
    read_fd, write_fd = os.pipe()
    command = [sys.executable, "-c", f"import os; os.close({write_fd}); os.read(0, 1)"]
    with open(read_fd, "rb") as pipe, Client(command, home, pass_fds=[write_fd]) as client:
        os.close(write_fd)
        os.set_blocking(read_fd, False)

        wait_until(lambda: pipe.read() == b"", "the end of the pipe")
        assert client.km.poll() is None


def open_many_descriptors() -> None:
    hard = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    resource.setrlimit(resource.RLIMIT_NOFILE, (2000, hard))
    for _ in range(1100):  # more than select() can watch
        os.set_inheritable(os.open(os.devnull, os.O_RDONLY), True)


@pytest.mark.skipif(resource.getrlimit(resource.RLIMIT_NOFILE)[1] < 2000, reason="so many cannot be opened here")
def test_many_inherited_descriptors_do_no_harm(home: Path) -> None:
    ended = run(["cat"], home, input=b"hello", close_fds=False, preexec_fn=open_many_descriptors)

    assert (ended.stdout, ended.stderr, ended.returncode) == (b"hello", b"", 0)


def ignore_hangup_and_interrupt() -> None:
    signal.signal(signal.SIGHUP, signal.SIG_IGN)
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGCHLD, signal.SIG_IGN)


def block_signals() -> None:
    signal.pthread_sigmask(signal.SIG_BLOCK, [signal.SIGUSR1, signal.SIGTERM, signal.SIGCHLD])


@pytest.mark.parametrize("prepare", [ignore_hangup_and_interrupt, block_signals])
def test_signals_are_as_the_client_set_them(home: Path, prepare: object) -> None:
    directly, through_km = both(SIGNALS, home, preexec_fn=prepare)

    assert through_km == directly
    assert through_km[1] != both(SIGNALS, home)[1][1]


def test_status_is_known_although_the_client_ignores_its_children(home: Path) -> None:
    assert run(["sh", "-c", "exit 9"], home, preexec_fn=ignore_hangup_and_interrupt).returncode == 9


def test_broken_pipe_kills_the_server_as_it_should(home: Path) -> None:
    ended = run(["sh", "-c", "yes | head -1; :"], home)

    assert (ended.stdout, ended.stderr) == (b"y\n", b"")


def test_stderr_is_passed_on_and_captured(home: Path, tmp_path: Path) -> None:
    data = bytes(range(256)) * 400
    with open(tmp_path / "stderr", "wb") as stderr:
        stdout = run_recorded(["sh", "-c", "cat >&2"], home, data=data, stderr=stderr)

    assert stdout == b""
    assert (tmp_path / "stderr").read_bytes() == data
    assert captured(home).stream(STDERR) == data


def test_no_stderr_gives_the_server_the_descriptor_itself(home: Path, tmp_path: Path) -> None:
    with open(tmp_path / "stderr", "wb") as file:
        ended = run(
            ["readlink", "/proc/self/fd/2"],
            home,
            "--no-stderr",
            stdout=subprocess.PIPE,
            stderr=file,
            capture_output=False,
        )

    assert ended.stdout.decode().strip() == str(tmp_path / "stderr")
    assert captured(home).of(STDERR) == []


def test_stderr_that_is_closed_is_closed_for_the_server(home: Path) -> None:
    directly, through_km = both(["sh", "-c", "test -e /proc/$$/fd/2; echo $?"], home, preexec_fn=lambda: os.close(2))

    assert through_km == directly == (0, b"1\n", b"")


@pytest.mark.parametrize("closed", [(0,), (1,), (0, 1), (0, 1, 2)])
def test_closed_standard_descriptors_do_no_harm(home: Path, tmp_path: Path, closed: tuple[int, ...]) -> None:
    def close() -> None:
        for fd in closed:
            os.close(fd)

    command = ["sh", "-c", 'cat > "$0"; echo out; echo err >&2; exit 7', str(tmp_path / "stdin")]
    ended = run(command, home, input=b"", preexec_fn=close)

    assert ended.returncode == 7
    assert (tmp_path / "stdin").read_bytes() == b""
    assert ended.stdout == (b"" if 1 in closed else b"out\n")
    assert ended.stderr == (b"" if 2 in closed else b"err\n")


def test_terminal_on_stderr_is_the_servers_too(home: Path) -> None:
    near, far = pty.openpty()
    try:
        ended = run(
            ["sh", "-c", "test -t 2 && tty <&2"], home, stdout=subprocess.PIPE, stderr=far, capture_output=False
        )

        assert ended.stdout.decode().strip() == os.ttyname(far)
        assert captured(home).of(STDERR) == []
    finally:
        os.close(near)
        os.close(far)


def test_verbose_speaks_on_stderr_only(home: Path) -> None:
    with Client(["cat"], home, "-v", stderr=subprocess.PIPE) as client:
        said = client.km.stderr.readline()
        client.end_input()

        assert said.startswith(b"km: recording session ")
        assert client.rest() == b""


def test_working_folder_that_was_removed_does_no_harm(home: Path, tmp_path: Path) -> None:
    gone = tmp_path / "gone"
    gone.mkdir()

    def remove() -> None:
        os.chdir(gone)
        os.rmdir(gone)

    ended = run(["echo", "hello"], home, preexec_fn=remove)

    assert (ended.stdout, ended.stderr, ended.returncode) == (b"hello\n", b"", 0)
