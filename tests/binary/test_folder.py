"""Nothing of the machine reaches into the native km: no Python, no variables of Python, no modules in the way."""

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from kilometers import __version__
from kilometers.cli import km
from recorder.sessions import Sessions, wait_until
from relay.wrapped import environment_of

PING = b'{"jsonrpc":"2.0","id":1,"method":"ping"}\n'
ECHO = ["sh", "-c", "cat"]


def run(program: Path | str, *arguments: str, **popen: Any) -> subprocess.CompletedProcess[str]:
    popen = {"env": {}, "capture_output": True, "text": True, "timeout": 60, **popen}
    return subprocess.run([str(program), *arguments], check=False, **popen)


def test_says_what_it_is(program: Path, single_file: Path, tmp_path: Path) -> None:
    done = run(program, "version", "--json", env={"HOME": str(tmp_path)})
    facts = json.loads(done.stdout)

    assert facts["version"] == __version__
    assert facts["build"] == ("single file" if program == single_file else "native folder")
    assert facts["executable"] == str(program)


@pytest.mark.parametrize("command", ["", *km.commands])
def test_help_is_that_of_the_source(program: Path, command: str, tmp_path: Path) -> None:
    arguments = [command, "--help"] if command else ["--help"]
    source = run(sys.executable, "-m", "kilometers", *arguments, env=os.environ)
    done = run(program, *arguments, env={"HOME": str(tmp_path)})

    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout == source.stdout.replace("python -m kilometers", "km")


def test_licences_are_carried_along(program: Path, folder: Path, tmp_path: Path) -> None:
    done = run(program, "version", "--licenses", env={"HOME": str(tmp_path)})

    assert done.stdout == (folder / "THIRD-PARTY-NOTICES").read_text(encoding="utf-8")
    for word in ("CPython", "SQLite", "OpenSSL", "msgspec", "PYTHON SOFTWARE FOUNDATION LICENSE"):
        assert word in done.stdout


@pytest.mark.parametrize(
    "variables",
    [
        {"PYTHONHOME": "/nonexistent", "PYTHONPATH": "shadow", "PYTHONSTARTUP": "shadow/json.py"},
        {"PYTHONPROFILEIMPORTTIME": "1", "PYTHONVERBOSE": "2", "PYTHONINSPECT": "1", "PYTHONDEVMODE": "1"},
        {"PYTHONWARNINGS": "error", "PYTHONOPTIMIZE": "2", "PYTHONUTF8": "0", "PYTHONIOENCODING": "ascii"},
        {"PYTHONHASHSEED": "x", "PYTHONMALLOC": "debug", "PYTHONTRACEMALLOC": "5", "PYTHONDUMPREFS": "1"},
        {"LD_LIBRARY_PATH": "shadow", "SSL_CERT_FILE": "/nonexistent"},
    ],
)
def test_variables_of_python_change_nothing(folder: Path, home: Path, variables: dict[str, str]) -> None:
    shadow = home.parent / "shadow"
    shadow.mkdir()
    for name in ("json", "msgspec", "encodings", "sitecustomize", "kilometers"):
        (shadow / f"{name}.py").write_text("raise SystemExit('not of km')")
    environment = {**environment_of(home), **variables}
    answered = run(folder / "km", "monitor", *ECHO, env=environment, cwd=home.parent, input=PING.decode())
    listed = run(folder / "km", "version", env=environment, cwd=shadow)

    assert (answered.returncode, answered.stdout, answered.stderr) == (0, PING.decode(), "")
    assert (listed.returncode, listed.stdout[:3], listed.stderr) == (0, "km ", "")


def test_server_gets_the_environment_of_the_client(program: Path, home: Path) -> None:
    environment = {**environment_of(home), "HOME": str(home), "PYTHONHOME": "/his", "PYTHONUNBUFFERED": "1"}
    done = run(program, "monitor", "--", "env", "-0", env=environment)

    assert dict(line.split("=", 1) for line in done.stdout.split("\0") if line) == environment


def test_words_for_python_are_the_servers(program: Path, home: Path) -> None:
    environment = {**environment_of(home), "HOME": str(home)}
    done = run(program, "monitor", "--", "echo", "-m", "json", "-c", "1", "--version", env=environment)

    assert (done.returncode, done.stdout) == (0, "-m json -c 1 --version\n")


def test_link_in_path_is_how_km_names_itself(folder: Path, tmp_path: Path) -> None:
    (tmp_path / "bin").mkdir()
    (tmp_path / "bin" / "km").symlink_to(folder / "km")
    environment = {"PATH": f"{tmp_path}/bin:/usr/bin:/bin", "HOME": str(tmp_path), "TMPDIR": str(tmp_path)}
    by_name = run("km", "demo", env=environment, executable=str(tmp_path / "bin" / "km"))
    elsewhere = run(folder / "km", "demo", env={**environment, "PATH": "/usr/bin:/bin"})

    assert by_name.stdout.splitlines()[-1].startswith("km ")
    assert elsewhere.stdout.splitlines()[-1].startswith(f"'{folder}/km' ")


def test_session_and_recorder_run_this_very_program(program: Path, home: Path) -> None:
    sessions = Sessions(home, [str(program)])
    client = sessions.start(environment={"HOME": str(home)})
    client.call(1)
    client.wait_for_answers(1)
    started = Path(f"/proc/{client.relay.pid}/cmdline").read_bytes().split(b"\0")[0].decode()
    recorder = Path(f"/proc/{sessions.wait_for_recorder()}/cmdline").read_bytes().split(b"\0")[0].decode()
    status = client.end()
    (recorded,) = sessions.wait_until_recorded().values()

    assert status == 0
    assert started == recorder == str(program)
    assert [event.method for event in recorded.events] == ["ping", "ping"]


def test_killed_single_file_takes_the_server_with_it(program: Path, home: Path) -> None:
    sessions = Sessions(home, [str(program)])
    client = sessions.start(command=["sh", "-c", "echo $$; exec sleep 1000"], environment={"HOME": str(home)})
    wait_until(lambda: b"\n" in client.received, 20)
    server = int(client.received)
    client.kill()

    wait_until(lambda: not Path(f"/proc/{server}/cwd").exists(), 5)
