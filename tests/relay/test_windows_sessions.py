"""Windows: a server behind km is a server without km, also when km is killed; and what it said is recorded."""

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from kilometers import paths
from kilometers.temporary_home import end_recorder
from relay.wrapped import PATIENCE_S, wait_until

pytestmark = [
    pytest.mark.skipif(sys.platform != "win32", reason="Windows' processes"),
    pytest.mark.timeout(180),
]

KM = [sys.executable, "-m", "kilometers"]
PYTHON = [sys.executable, "-I", "-S", "-c"]
ECHO = "import sys\nfor line in sys.stdin.buffer: sys.stdout.buffer.write(line); sys.stdout.buffer.flush()"
PARENT = (
    "import os, subprocess, sys\n"
    "child = subprocess.Popen([sys.executable, '-c', 'import time; time.sleep(600)'], stdin=-3, stdout=-3, stderr=-3)\n"
    "print(os.getpid(), child.pid, flush=True)\n"
)
KEPT_VARIABLES = ("PATH", "SYSTEMROOT", "TEMP", "USERPROFILE")


@pytest.fixture
def home(tmp_path: Path) -> Iterator[Path]:
    home = tmp_path / "home"
    yield home
    end_recorder(paths.Home(str(home), str(home / "config.toml")))


def environment_of(home: Path, **more: str) -> dict[str, str]:
    """Return what a client passes on: almost nothing."""
    kept = {name: os.environ[name] for name in KEPT_VARIABLES if name in os.environ}
    return {**kept, "KILOMETERS_HOME": str(home), **more}


def monitor(home: Path, command: list[str], *, data: bytes = b"", **more: str) -> subprocess.CompletedProcess[bytes]:
    """Run *command* through km to its end."""
    return subprocess.run(
        [*KM, "monitor", "--", *command],
        input=data,
        capture_output=True,
        check=False,
        timeout=PATIENCE_S * 3,
        env=environment_of(home, **more),
    )


@contextmanager
def running(home: Path, command: list[str]) -> Iterator[subprocess.Popen[bytes]]:
    """A km that runs, and that the test may kill."""
    km = subprocess.Popen(
        [*KM, "monitor", "--", *command],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        bufsize=0,
        env=environment_of(home),
    )
    with km:
        yield km
        km.kill()


def km_json(home: Path, *arguments: str) -> list[dict[str, object]]:
    """Return what a listing command prints."""
    done = subprocess.run(
        [*KM, *arguments, "--json"],
        stdout=subprocess.PIPE,
        check=False,
        timeout=PATIENCE_S * 3,
        env=environment_of(home),
    )
    return [json.loads(line) for line in done.stdout.splitlines()]


class Other:
    """Somebody's process, held so that its pid stays its own."""

    def __init__(self, pid: int) -> None:
        import _winapi

        terminate_and_synchronize = 0x0001 | 0x0010_0000
        self.handle = _winapi.OpenProcess(terminate_and_synchronize, False, pid)

    def ends_within(self, seconds: float) -> bool:
        import _winapi

        return _winapi.WaitForSingleObject(self.handle, int(seconds * 1000)) == _winapi.WAIT_OBJECT_0

    def end(self) -> None:
        import _winapi

        _winapi.TerminateProcess(self.handle, 1)
        _winapi.CloseHandle(self.handle)


def test_bytes_cross_as_they_are(home: Path) -> None:
    data = b"".join([bytes(range(256)), b"\r\n\n\r\x1a\x00\xef\xbb\xbf\xff\n", os.urandom(1 << 20), b"no end"])
    server = "import sys, shutil\nshutil.copyfileobj(sys.stdin.buffer, sys.stdout.buffer)"

    assert monitor(home, [*PYTHON, server], data=data).stdout == data


@pytest.mark.parametrize("status", [0, 7, 255, 0x7FFFFFFF, 0x80000000, 0xC000013A, 0xFFFFFFFF])
def test_exit_status_has_all_its_32_bits(home: Path, status: int) -> None:
    done = monitor(home, [*PYTHON, f"import ctypes; ctypes.windll.kernel32.ExitProcess({status})"])

    assert done.returncode & 0xFFFFFFFF == status


def test_killed_km_takes_the_server_and_what_it_started_along(home: Path) -> None:
    with running(home, [*PYTHON, f"{PARENT}sys.stdin.read()"]) as km:
        server, grandchild = map(Other, map(int, km.stdout.readline().split()))
        km.kill()

        assert server.ends_within(PATIENCE_S)
        assert grandchild.ends_within(PATIENCE_S)


def test_what_a_server_leaves_behind_outlives_it(home: Path) -> None:
    with running(home, [*PYTHON, f"{PARENT}sys.stdin.read()"]) as km:
        grandchild = Other(int(km.stdout.readline().split()[1]))
        km.stdin.close()

        assert km.wait(PATIENCE_S) == 0
        assert not grandchild.ends_within(0.5)
        grandchild.end()


def test_server_that_is_killed_ends_km_with_its_status(home: Path) -> None:
    with running(home, [*PYTHON, "import os, sys; print(os.getpid(), flush=True); sys.stdin.read()"]) as km:
        Other(int(km.stdout.readline())).end()

        assert km.wait(PATIENCE_S) == 1


def test_client_that_goes_ends_the_server_by_the_end_of_its_input(home: Path) -> None:
    with running(home, [*PYTHON, ECHO]) as km:
        km.stdin.write(b"hello\n")
        assert km.stdout.readline() == b"hello\n"
        km.stdin.close()

        assert km.stdout.read() == b""
        assert km.wait(PATIENCE_S) == 0


def test_stderr_crosses_as_it_is(home: Path) -> None:
    done = monitor(home, [*PYTHON, "import os; os.write(2, b'one\\ntwo\\r\\n\\x80')"])

    assert done.stderr == b"one\ntwo\r\n\x80"


def test_environment_is_the_clients_in_its_own_spelling_without_kms_secrets(home: Path) -> None:
    server = (
        "import ctypes\n"
        "get = ctypes.windll.kernel32.GetEnvironmentStringsW\n"
        "get.restype = ctypes.c_void_p\n"
        "at = get()\n"
        "while text := ctypes.wstring_at(at):\n"
        "    print(text.encode('ascii', 'replace').decode())\n"
        "    at += 2 * len(text) + 2\n"
    )
    done = monitor(home, [*PYTHON, server], MixedCase="kept", Kilometers_Api_Key="hidden", NUITKA_ONEFILE_PARENT="12")
    names = [line.partition(b"=")[0] for line in done.stdout.splitlines()]

    assert b"MixedCase" in names
    assert not {b"KILOMETERS_API_KEY", b"NUITKA_ONEFILE_PARENT"} & {name.upper() for name in names}


def test_km_without_standard_handles_begins_and_ends(home: Path) -> None:
    none = subprocess.STARTUPINFO(dwFlags=subprocess.STARTF_USESTDHANDLES)
    started = subprocess.Popen(
        [*KM, "monitor", "--", *PYTHON, "raise SystemExit(5)"],
        startupinfo=none,
        creationflags=subprocess.DETACHED_PROCESS,
        env=environment_of(home),
    )

    assert started.wait(PATIENCE_S) == 5


def test_session_is_recorded(home: Path) -> None:
    request = b'{"jsonrpc":"2.0","id":1,"method":"ping"}\n'
    with running(home, [*PYTHON, ECHO]) as km:
        km.stdin.write(request)
        km.stdout.readline()
        km.stdin.close()
        km.wait(PATIENCE_S)
    wait_until(lambda: km_json(home, "sessions"), "the session", within_s=PATIENCE_S * 2)

    assert [session["exit_status"] for session in km_json(home, "sessions")] == [0]
    assert [event["method"] for event in km_json(home, "events")] == ["ping", "ping"]


def test_killed_km_loses_nothing_and_its_session_has_an_end(home: Path) -> None:
    with running(home, [*PYTHON, ECHO]) as km:
        km.stdin.write(b'{"jsonrpc":"2.0","id":1,"method":"ping"}\n')
        km.stdout.readline()
        wait_until(lambda: km_json(home, "events"), "the event", within_s=PATIENCE_S * 2)
        km.kill()
    wait_until(lambda: "ended_at" in km_json(home, "sessions")[0], "the session's end", within_s=PATIENCE_S * 2)

    assert not km_json(home, "sessions")[0]["is_clean"]
    assert not [path.name for path in (home / "journal").iterdir() if path.suffix != ".lock"]


def test_many_sessions_have_one_recorder(home: Path) -> None:
    clients = [running(home, [*PYTHON, ECHO]) for _ in range(4)]
    entered = [client.__enter__() for client in clients]
    for km in entered:
        km.stdin.write(b"x\n")
        km.stdout.readline()
    wait_until(lambda: len(km_json(home, "sessions")) == len(entered), "all sessions", within_s=PATIENCE_S * 2)
    for client in clients:
        client.__exit__(None, None, None)

    assert (home / "log" / "km.log").read_text().count("recorder started") == 1


def test_killed_recorder_is_followed_by_another(home: Path) -> None:
    with running(home, [*PYTHON, ECHO]) as km:
        km.stdin.write(b"one\n")
        km.stdout.readline()
        wait_until(lambda: len(recorders(home)) == 1, "a recorder", within_s=PATIENCE_S * 2)
        Other(recorders(home)[0]).end()

        wait_until(lambda: len(recorders(home)) == 2, "the next recorder", within_s=PATIENCE_S * 2)


def recorders(home: Path) -> list[int]:
    """Return the pids of all recorders that have begun."""
    log = home / "log" / "km.log"
    lines = log.read_text().splitlines() if log.exists() else []
    return [entry["pid"] for entry in map(json.loads, lines) if entry["event"] == "recorder started"]
