"""`km demo`: what its two conversations leave in the store, what it shows, and what it does with other servers."""

import contextlib
import json
import os
import pty
import re
import resource
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from kilometers.core.event import Event
from recorder.sessions import KM, Recorded, Sessions, is_gone, wait_until
from relay.wrapped import KM as KM_SCRIPT
from relay.wrapped import end_survivors, ram_folders, survivors

NOTES = [*KM, "demo-server", "notes"]
CALENDAR = [*KM, "demo-server", "calendar"]
HOLD_CONVERSATIONS = "from kilometers.commands import demo; demo.hold_conversations()"
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


def environment_in(folder: Path) -> dict[str, str]:
    """Everything that a demo could leave behind would be in *folder*."""
    return {"PATH": os.environ["PATH"], "HOME": str(folder), "TMPDIR": str(folder)}


def demo(*command: str, **options: Any) -> subprocess.CompletedProcess[str]:
    return subprocess.run([*KM, "demo", *command], capture_output=True, text=True, timeout=60, check=False, **options)


def try_server(home: Path, *command: str, patience_s: float = 30) -> subprocess.CompletedProcess[str]:
    """Let the demo's client talk with a server."""
    environment = {"PATH": os.environ["PATH"], "KILOMETERS_HOME": str(home)}
    return subprocess.run(
        [sys.executable, "-E", "-P", "-c", TRY_SERVER, str(patience_s), *command],
        env=environment,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )


@pytest.fixture(scope="module")
def conversations(tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, Recorded]]:
    """Both conversations of the demo, as the store has them, by the server's name."""
    home = tmp_path_factory.mktemp("conversations") / "home"
    home.mkdir(mode=0o700)
    folders = ram_folders(home)
    environment = {"PATH": os.environ["PATH"], "KILOMETERS_HOME": str(home)}
    subprocess.run([sys.executable, "-E", "-P", "-c", HOLD_CONVERSATIONS], env=environment, timeout=60, check=True)
    recorded = Sessions(home).wait_until_recorded()
    yield {one.summary["name"]: one for one in recorded.values()}
    end_survivors(home)
    for folder in folders:
        shutil.rmtree(folder, ignore_errors=True)


def one_event(recorded: Recorded, kind: str, target: str) -> Event:
    """Return the only event of this kind about this target."""
    (found,) = [event for event in recorded.events if (event.kind, event.target) == (kind, target)]
    return found


def endings(recorded: Recorded) -> list[tuple[str | None, str | None, str | None, int | None]]:
    """Return (method, target, status, error code) of all that ends a call, without what every client asks first."""
    return sorted(
        (event.method, event.target, event.status, event.error_code)
        for event in recorded.events
        if event.status is not None and event.target is not None
    )


def test_conversations_are_one_of_each_era(conversations: dict[str, Recorded]) -> None:
    versions = {name: one.summary["protocol_version"] for name, one in conversations.items()}
    methods = {name: {event.method for event in one.events} for name, one in conversations.items()}

    assert versions == {"notes": "2025-11-25", "calendar": "2026-07-28"}
    assert methods["notes"] >= {"initialize", "notifications/initialized"}
    assert not methods["calendar"] & {"initialize", "notifications/initialized"}


@pytest.mark.parametrize("name", ["notes", "calendar"])
def test_conversation_is_recorded_whole(conversations: dict[str, Recorded], name: str) -> None:
    recorded = conversations[name]
    kinds = {event.kind for event in recorded.events}

    recorded.check()
    assert recorded.summary["is_clean"]
    assert recorded.summary["exit_status"] == 0
    assert recorded.summary["unanswered"] == 0
    assert kinds == {"request", "response", "error", "notification", "log"}
    assert {event.payload_state for event in recorded.events} == {"full"}


def test_legacy_calls_end_in_every_way(conversations: dict[str, Recorded]) -> None:
    assert endings(conversations["notes"]) == [
        ("notifications/cancelled", "sync", "cancelled", None),
        ("resources/read", "notes://recipes/haggis", "error", -32002),
        ("tools/call", "add", "ok", None),
        ("tools/call", "delete", "tool_error", None),
        ("tools/call", "digest", "ok", None),
        ("tools/call", "export", "ok", None),
        ("tools/call", "import", "ok", None),
        ("tools/call", "search", "ok", None),
    ]


def test_modern_calls_end_in_every_way(conversations: dict[str, Recorded]) -> None:
    assert endings(conversations["calendar"]) == [
        ("notifications/cancelled", "invite", "cancelled", None),
        ("tools/call", "book", "tool_error", None),
        ("tools/call", "brew_tea", "error", -32602),
        ("tools/call", "move", "input_required", None),
        ("tools/call", "move", "ok", None),
        ("tools/call", "propose", "ok", None),
        ("tools/call", "today", "ok", None),
    ]


@pytest.mark.parametrize(("name", "tool", "ticks"), [("notes", "import", 4), ("calendar", "propose", 3)])
def test_slow_call_reports_its_progress(conversations: dict[str, Recorded], name: str, tool: str, ticks: int) -> None:
    recorded = conversations[name]
    call = one_event(recorded, "request", tool)
    progress = [event for event in recorded.events if event.method == "notifications/progress"]

    assert len([event for event in progress if event.call_seq == call.seq]) == ticks


@pytest.mark.parametrize(("name", "slow", "quick"), [("notes", "import", "search"), ("calendar", "propose", "invite")])
def test_calls_overlap(conversations: dict[str, Recorded], name: str, slow: str, quick: str) -> None:
    recorded = conversations[name]
    begin, end = one_event(recorded, "request", slow).seq, one_event(recorded, "response", slow).seq
    about_quick = [event.seq for event in recorded.events if event.target == quick]

    assert len(about_quick) >= 2
    assert all(begin < seq < end for seq in about_quick)


def test_big_answer_is_kept_whole(conversations: dict[str, Recorded]) -> None:
    answer = one_event(conversations["notes"], "response", "export")

    assert (answer.size_bytes or 0) > 180_000
    assert len(bytes(answer.payload or b"")) > 180_000


def test_legacy_server_asks_logs_and_notifies(conversations: dict[str, Recorded]) -> None:
    events = conversations["notes"].events
    from_server = {event.method for event in events if event.direction == "server_to_client"}
    (sampled,) = [event for event in events if event.kind == "response" and event.method == "sampling/createMessage"]

    assert from_server >= {"sampling/createMessage", "notifications/message"}
    assert (sampled.direction, sampled.status) == ("client_to_server", "ok")
    assert [bytes(event.payload or b"") for event in events if event.kind == "log"] == [b'"notes: ready, 2 resources"']


def test_modern_requests_say_all_of_themselves(conversations: dict[str, Recorded]) -> None:
    recorded = conversations["calendar"]
    requests = [event for event in recorded.events if event.kind == "request"]
    responses = [event for event in recorded.events if event.kind == "response"]

    assert {event.direction for event in requests} == {"client_to_server"}
    assert {event.protocol_version for event in requests} == {"2026-07-28"}
    assert {event.client.name for event in requests if event.client} == {"km-demo-client"}
    assert {event.server.name for event in responses if event.server} == {"km-demo-calendar"}


def test_input_required_round_trip_is_one_call(conversations: dict[str, Recorded]) -> None:
    events = [event for event in conversations["calendar"].events if event.target == "move"]
    asked, needed, retried, moved = events

    assert (asked.kind, needed.status, retried.kind, moved.status) == ("request", "input_required", "request", "ok")
    assert asked.request_id != retried.request_id
    assert {event.call_seq for event in (needed, retried, moved)} == {asked.seq}


def test_subscription_delivers_and_is_cancelled(conversations: dict[str, Recorded]) -> None:
    events = conversations["calendar"].events
    (listening,) = [event for event in events if event.method == "subscriptions/listen"]
    about_it = [event.method for event in events if event.call_seq == listening.seq]

    assert about_it == [
        "notifications/subscriptions/acknowledged",
        "notifications/resources/updated",
        "notifications/cancelled",
    ]


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
    began_s = time.monotonic()
    done = demo(env=environment_in(tmp_path))
    headings = re.findall(r"^\$ .* kilometers (.*)$", done.stdout, re.MULTILINE)

    assert (done.returncode, done.stderr) == (0, "")
    assert headings == ["sessions", "show notes", "show calendar", "stats"]
    assert time.monotonic() - began_s < 5  # the promise to users


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

    assert demo(env=environment).stdout.splitlines()[-1] == f"{sys.executable} -m kilometers {last_line}"


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
        [sys.executable, "-m", "kilometers", "demo"],
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


def read_terminal(terminal: int, until: bytes = b"\0") -> bytes:
    """Return what a terminal is shown, up to *until* or its end."""
    shown = b""
    while until not in shown:
        try:
            shown += os.read(terminal, 65536)
        except OSError:  # Linux: nobody has it open any more
            break
    return shown


def test_demo_fits_a_terminal_of_80_columns(tmp_path: Path) -> None:
    ours, theirs = pty.openpty()
    environment = {**environment_in(tmp_path), "COLUMNS": "80", "TERM": "xterm", "NO_COLOR": "1"}
    running = subprocess.Popen([*KM, "demo"], env=environment, stdin=theirs, stdout=theirs, stderr=theirs)
    os.close(theirs)
    shown = read_terminal(ours)
    os.close(ours)
    plain = re.sub(r"\x1b\[[0-9;]*m", "", shown.decode())
    command_line = f"{sys.executable} -m kilometers"

    assert running.wait(60) == 0
    assert len(plain.splitlines()) > 50
    assert [line for line in plain.splitlines() if len(line) > 80 and command_line not in line] == []


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
    assert done.stdout.decode().splitlines()[-1] == f"{sys.executable} -m kilometers doctor"


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
    ours, theirs = pty.openpty()
    server = ["sh", "-c", 'read line < "$0"; exec "$@"', str(gate), *NOTES]
    environment = {"PATH": os.environ["PATH"], "KILOMETERS_HOME": str(home)}
    running = subprocess.Popen([*KM, "demo", "--", *server], env=environment, stdout=subprocess.DEVNULL, stderr=theirs)
    os.close(theirs)
    shown = read_terminal(ours, until=b"\n")
    gate.write_text("go\n")

    assert "waiting for the server…" in shown.decode()
    assert running.wait(60) == 0
    os.close(ours)
