"""`km demo -- COMMAND`: what it asks other people's servers, and what it says of those that do not answer."""

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

import km_under_test
from recorder.demo_runs import CALENDAR, NOTES
from recorder.sessions import KM, Sessions
from recorder.terminal import Terminal
from relay.wrapped import environment_of, survivors

TRY_SERVER = """
import sys
from kilometers.commands import demo
from kilometers.errors import KilometersError
try:
    demo.try_server(sys.argv[2:], patience_s=float(sys.argv[1]))
except KilometersError as error:
    sys.exit(str(error))
"""
# Answers each request with the next result that its command line has for the method, asks back before the first answer
# what its command line has under "ask", and puts what it gets into the file named there.
SCRIPTED = """
import json, sys
script = json.loads(sys.argv[1])
def write(**members):
    print(json.dumps({"jsonrpc": "2.0", **members}), flush=True)
answers = {}
for line in sys.stdin:
    message = json.loads(line)
    for number, method in enumerate(script.pop("ask", []), 1):
        write(id=number, method=method, params={"messages": []})
        answers[method] = json.loads(sys.stdin.readline())
        open(sys.argv[2], "w").write(json.dumps(answers))
    if "id" in message:
        results = script.get(message["method"], [])
        if results:
            write(id=message["id"], result=results.pop(0))
        else:
            write(id=message["id"], error={"code": -32601, "message": "no such method"})
"""
STUBBORN = (
    "import signal, time; signal.signal(signal.SIGTERM, signal.SIG_IGN); print('up', flush=True); time.sleep(600)"
)
HELLO = {"protocolVersion": "2025-06-18", "capabilities": {"tools": {}}, "serverInfo": {"name": "s", "version": "1"}}


def scripted(script: dict[str, list[Any]], answers: Path | None = None) -> list[str]:
    return [sys.executable, "-I", "-S", "-c", SCRIPTED, json.dumps(script), str(answers or os.devnull)]


def try_server(home: Path, *command: str, patience_s: float = 30) -> subprocess.CompletedProcess[str]:
    """Let the demo's client talk with a server."""
    return subprocess.run(
        [sys.executable, "-E", "-P", "-c", TRY_SERVER, str(patience_s), *command],
        env=environment_of(home),
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )


@pytest.mark.parametrize(
    ("server", "version", "offers", "asked"),
    [
        (NOTES, "2025-11-25", "7 tools, 2 resources", ["initialize", "tools/list", "resources/list"]),
        (
            CALENDAR,
            "2026-07-28",
            "5 tools, 1 resource",
            ["initialize", "server/discover", "tools/list", "resources/list"],
        ),
        (
            ["sh", "-c", 'echo Welcome; exec "$@"', "sh", *NOTES],
            "2025-11-25",
            "7 tools, 2 resources",
            ["initialize", "tools/list"],
        ),
    ],
)
def test_server_is_asked_what_it_offers(
    sessions: Sessions, server: list[str], version: str, offers: str, asked: list[str]
) -> None:
    done = sessions.km("demo", "--", *server)
    (recorded,) = sessions.recorded().values()
    requests = [event.method for event in recorded.events if event.kind == "request"]

    assert (done.returncode, done.stderr) == (0, b"")
    assert f"speaks MCP {version}.\nIt offers {offers}; no tool was called." in done.stdout.decode()
    assert requests[: len(asked)] == asked
    assert "tools/call" not in requests
    assert done.stdout.decode().splitlines()[-1] == f"{km_under_test.TYPED} doctor"


def test_all_pages_of_a_list_are_counted(sessions: Sessions) -> None:
    pages: list[Any] = [{"tools": [{}, {}], "nextCursor": "2"}, {"tools": [{}]}]
    done = sessions.km("demo", "--", *scripted({"initialize": [HELLO], "tools/list": pages}))

    assert "s 1 speaks MCP 2025-06-18.\nIt offers 3 tools;" in done.stdout.decode()


def test_list_that_is_refused_is_no_failure(sessions: Sessions) -> None:
    done = sessions.km("demo", "--", *scripted({"initialize": [HELLO]}))

    assert done.returncode == 0
    assert "It offers 0 tools;" in done.stdout.decode()


def test_client_answers_what_the_server_asks(home: Path, tmp_path: Path) -> None:
    asked = ["ping", "roots/list", "sampling/createMessage", "elicitation/create", "nonsense"]
    answers = tmp_path / "answers"
    try_server(home, *scripted({"ask": asked, "initialize": [HELLO]}, answers))
    got = json.loads(answers.read_text())

    assert got["ping"]["result"] == {}
    assert got["roots/list"]["result"] == {"roots": []}
    assert got["sampling/createMessage"]["error"]["code"] == -1
    assert got["elicitation/create"]["result"] == {"action": "decline"}
    assert got["nonsense"]["error"]["code"] == -32601


@pytest.mark.parametrize(
    ("server", "said"),
    [
        (["sh", "-c", "echo no key >&2; exit 3"], ["sh -c", "ended (exit 3) before it", "stderr: no key"]),
        (["sh", "-c", "kill -9 $$"], ["ended (exit 137)"]),
        (["echo", "hello"], ['"echo hello" ended (exit 0)', "stdout: hello"]),
        (["sh", "-c", "exec >&-; exec sleep 600"], ["closed its stdout before"]),
        (["cat"], ['"cat" answered initialize with error -32601 "Method not found"']),
        (["yes"], ['"yes" wrote 10,000 lines before it answered initialize', "stdout: y"]),
        (["cat", "/dev/zero"], ["wrote 67 MB before it answered initialize"]),
        (scripted({}), ['answered initialize with error -32601 "no such method"']),
        (scripted({"initialize": [7]}), ["answered initialize with a result of another shape"]),
        (scripted({"initialize": [HELLO], "tools/list": [{"tools": 5}]}), ["answered tools/list with a result"]),
    ],
)  # fmt: skip
def test_server_that_does_not_answer_is_explained(home: Path, server: list[str], said: list[str]) -> None:
    done = try_server(home, *server)

    assert done.returncode == 1
    assert [words for words in said if words not in done.stderr] == []
    assert "Traceback" not in done.stderr


def test_command_that_is_not_found_gets_the_words_of_monitor(sessions: Sessions) -> None:
    done = sessions.km("demo", "--", "no-such-server")
    monitor = sessions.km("monitor", "--", "no-such-server")

    assert done.returncode == 1
    assert b"not found in PATH" in done.stderr
    assert done.stderr == monitor.stderr


def test_silent_server_is_waited_for_so_long_and_no_longer(home: Path) -> None:
    done = try_server(home, "sleep", "600", patience_s=1)

    assert done.returncode == 1
    assert '"sleep 600" did not answer initialize within 1 s' in done.stderr


def test_server_that_does_not_leave_is_ended(home: Path) -> None:
    done = try_server(home, "sh", "-c", f'"{sys.executable}" -c "{STUBBORN}"; true', patience_s=2)
    of_the_server = [pid for pid in survivors(home) if b"SIG_IGN" in Path(f"/proc/{pid}/cmdline").read_bytes()]

    assert "stdout: up" in done.stderr
    assert of_the_server == []


def test_server_that_was_not_recorded_is_said(sessions: Sessions) -> None:
    (sessions.folder / "config.toml").write_text('capture = "off"\n')
    done = sessions.km("demo", "--", *NOTES)

    assert done.returncode == 1
    assert b"the session was not recorded" in done.stderr


def test_person_is_told_what_is_waited_for(home: Path, tmp_path: Path) -> None:
    gate = tmp_path / "gate"
    os.mkfifo(gate)
    server = ["sh", "-c", 'read line < "$0"; exec "$@"', str(gate), *NOTES]

    with Terminal([*KM, "demo", "--", *server], environment_of(home), stdout=subprocess.DEVNULL) as terminal:
        terminal.wait_for("waiting for the server…")
        gate.write_text("go\n")

        assert terminal.wait() == 0
