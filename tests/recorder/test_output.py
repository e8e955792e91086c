"""What the reading commands print, wherever it goes: pipes, full disks, odd terminals, hostile text, empty stores."""

import json
import os
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from rich.cells import cell_len
from rich.text import Text

from kilometers import console
from kilometers.core import journal
from recorder.sessions import KM, Sessions
from recorder.terminal import Terminal
from screens.scripted_store import ScriptedStore, TimedStep, busy_steps
from unit.scripted import Step, call, cancelled, client, log, server

BEGIN_NS = 1_790_000_000_000_000_000
PAGE_BYTES = 4096  # of SQLite
ESCAPE = "\x1b"
COLOUR = re.compile(r"\x1b\[[0-9;]*[349][0-9]")
HOSTILE = "\x1b[31m\x1b]0;owned\x07\u202e日本語のとても長い名前\r\nnext\tline\u2066e\u0301\u200b"
COMMANDS = {
    "km": [],
    "sessions": ["sessions"],
    "sessions --all": ["sessions", "--all"],
    "events": ["events"],
    "events --all": ["events", "--all"],
    "show": ["show"],
    "show :2": ["show", ":2"],
    "show :3 --full": ["show", ":3", "--full"],
    "stats": ["stats"],
    "stats --by method": ["stats", "--by", "method"],
    "status": ["status"],
    "tail": ["tail", "00000002"],
    "export": ["export"],
    "sessions --json": ["sessions", "--json"],
    "events --json": ["events", "--all", "--json"],
    "show --json": ["show", "--json"],
    "stats --json": ["stats", "--json"],
    "status --json": ["status", "--json"],
}
DRAWN = [
    "sessions",
    "sessions --all",
    "events",
    "events --all",
    "show",
    "show :2",
    "stats",
    "stats --by method",
    "tail",
]
MAIN = ["km", "sessions", "events", "show", "show :2", "stats", "status", "tail", "export"]
every_command = pytest.mark.parametrize("command", MAIN)


def hostile_steps() -> list[Step]:
    info = {"name": HOSTILE, "version": HOSTILE}
    return [
        client(id=0, method="initialize", params={"protocolVersion": HOSTILE, "clientInfo": info}),
        server(id=0, result={"protocolVersion": HOSTILE, "serverInfo": info}),
        call(HOSTILE, HOSTILE, arguments={HOSTILE: [HOSTILE, 1.10]}, _meta={"progressToken": HOSTILE}),
        server(id=HOSTILE, result={"content": [{"type": "text", "text": HOSTILE}], "isError": True}),
        log(HOSTILE.encode().replace(b"\n", b"") + b"\n"),
        server(HOSTILE.encode().replace(b"\n", b"") + b"\n"),
        client(id=2, method=HOSTILE, params={}),
        server(id=2, error={"code": -(2**63), "message": HOSTILE}),
        call(3, HOSTILE),
        client(**cancelled(3)),
        server(method=HOSTILE, params={}),
        call(4, HOSTILE),
    ]


@pytest.fixture(scope="module")
def recorded(tmp_path_factory: pytest.TempPathFactory) -> Sessions:
    """A home with a probe, and a session in which every text is hostile."""
    scripted = ScriptedStore(tmp_path_factory.mktemp("output") / "home")
    add_probe(scripted)
    steps: list[TimedStep] = [(at_ms * 7_000.0, *step) for at_ms, step in enumerate(hostile_steps())]
    gap = (journal.SERVER_TO_CLIENT, 10**18, 70_000.0)
    command = ("sh", "-c", f"exec\n{HOSTILE}", HOSTILE * 20)
    scripted.add(steps, begin_ns=BEGIN_NS, name=HOSTILE, command=command, end_after_ms=90_000, gap=gap)
    scripted.close()
    return Sessions(Path(scripted.home.folder))


def add_probe(scripted: ScriptedStore) -> None:
    steps: list[TimedStep] = [(1.0, *client(id=1, method="server/discover"))]
    scripted.add(steps, begin_ns=BEGIN_NS - 1, name="probe", end_after_ms=3)


def environment_of(sessions: Sessions, **variables: str) -> dict[str, str]:
    return {"PATH": os.environ["PATH"], "KILOMETERS_HOME": str(sessions.folder), **variables}


def on_a_terminal(sessions: Sessions, command: str, *, columns: int = 80, **variables: str) -> str:
    environment = environment_of(sessions, **{"TERM": "xterm-256color", **variables})
    with Terminal([*KM, *COMMANDS[command]], environment, columns=columns) as terminal:
        assert terminal.wait() == 0, terminal.shown
    return terminal.shown.replace("\r\n", "\n")


def run(environment: dict[str, str], command: str, stdout: Any = subprocess.PIPE) -> subprocess.CompletedProcess[bytes]:
    arguments = [*KM, *COMMANDS[command]]
    return subprocess.run(arguments, env=environment, stdout=stdout, stderr=subprocess.PIPE, timeout=60, check=False)


def piped(sessions: Sessions, command: str, **variables: str) -> bytes:
    done = run(environment_of(sessions, **variables), command)
    assert (done.returncode, done.stderr) == (0, b"")
    return done.stdout


@every_command
def test_closed_pipe_ends_it_quietly(recorded: Sessions, command: str) -> None:
    reading, writing = os.pipe()
    os.close(reading)

    done = run(environment_of(recorded), command, writing)

    os.close(writing)
    assert (done.returncode, done.stderr) == (0, b"")


@every_command
def test_full_disk_is_said(recorded: Sessions, command: str) -> None:
    with Path("/dev/full").open("wb") as full:
        done = run(environment_of(recorded), command, full)

    assert done.returncode == 1
    assert b"cannot write the output: No space left on device" in done.stderr
    assert done.stderr.count(b"\n") == 1


@pytest.mark.parametrize("command", ["km", "events", "stats"])
@pytest.mark.parametrize("closed", ["<&-", ">&-", "2>&-"])
def test_closed_descriptor_is_no_reason_to_fail(recorded: Sessions, command: str, closed: str) -> None:
    done = subprocess.run(
        ["sh", "-c", f'exec "$@" {closed}', "sh", *KM, *COMMANDS[command]],
        env=environment_of(recorded),
        capture_output=True,
        timeout=60,
        check=False,
    )

    assert (done.returncode, done.stderr) == (0, b"")


@pytest.mark.parametrize("command", ["sessions", "events", "show", "stats"])
def test_programs_get_the_same_whatever_the_environment_says(recorded: Sessions, command: str) -> None:
    odd = piped(recorded, command, LC_ALL="C", LANG="en_US.ISO-8859-1", COLUMNS="20", TERM="dumb")

    assert odd == piped(recorded, command)


@pytest.mark.parametrize("command", ["sessions", "events", "show", "stats"])
def test_pager_gets_what_a_terminal_gets_with_force_color(recorded: Sessions, command: str) -> None:
    drawn = piped(recorded, command, FORCE_COLOR="1", COLUMNS="80", TERM="xterm-256color").decode()

    assert COLOUR.search(drawn)
    assert Text.from_ansi(drawn).plain == Text.from_ansi(on_a_terminal(recorded, command)).plain


@pytest.mark.parametrize("command", ["km", "sessions", "show", "status"])
def test_almost_no_environment_is_enough(recorded: Sessions, tmp_path: Path, command: str) -> None:
    folder = tmp_path / ".local" / "share"
    folder.mkdir(parents=True)
    (folder / "kilometers").symlink_to(recorded.folder)

    done = run({"HOME": str(tmp_path)}, command)

    assert (done.returncode, done.stderr) == (0, b"")
    assert done.stdout


@pytest.mark.parametrize(("command", "columns"), [*((command, 80) for command in DRAWN), ("show", 60), ("events", 200)])
def test_hostile_text_moves_nothing_and_fits(recorded: Sessions, command: str, columns: int) -> None:
    sent = on_a_terminal(recorded, command, columns=columns, NO_COLOR="1")

    lines = Text.from_ansi(sent).plain.split("\n")
    assert not COLOUR.search(sent)
    assert [line for line in lines if not line.isprintable()] == []
    is_cut = command != "show :2"  # of an event everything is shown
    assert not is_cut or [line for line in lines if cell_len(line) > columns] == []
    assert any("·[31m·]0;" in line for line in lines)


@pytest.mark.parametrize(("command", "columns"), [*((command, 20) for command in MAIN), ("show", 1), ("events", 1)])
def test_narrow_terminal_is_no_reason_to_fail(recorded: Sessions, command: str, columns: int) -> None:
    assert on_a_terminal(recorded, command, columns=columns)


@pytest.mark.parametrize("command", ["sessions", "show"])
def test_errors_have_a_colour_on_a_terminal(recorded: Sessions, command: str) -> None:
    assert COLOUR.search(on_a_terminal(recorded, command))


@pytest.mark.parametrize("command", ["sessions", "events", "show"])
def test_dumb_terminal_gets_the_same_text_without_escape_sequences(recorded: Sessions, command: str) -> None:
    dumb = on_a_terminal(recorded, command, TERM="dumb", LC_ALL="C")

    assert ESCAPE not in dumb
    assert dumb == Text.from_ansi(on_a_terminal(recorded, command)).plain


def test_json_on_a_terminal_escapes_what_would_move_its_cursor(recorded: Sessions) -> None:
    shown = on_a_terminal(recorded, "events --json", columns=4_000)

    assert [json.loads(line) for line in shown.splitlines()] == [
        json.loads(line) for line in piped(recorded, "events --json").splitlines()
    ]
    assert all(line.isprintable() for line in shown.splitlines())


def test_suggestion_of_a_hostile_name_moves_nothing(tmp_path: Path) -> None:
    scripted = ScriptedStore(tmp_path / "home")
    scripted.add([], begin_ns=BEGIN_NS, name="notes\x1b[2J", end_after_ms=1)
    scripted.close()

    with Terminal([*KM, "show", "notes-2J"], environment_of(Sessions(tmp_path / "home"))) as terminal:
        assert terminal.wait() == 1

    assert "Did you mean" in terminal.shown
    assert ESCAPE not in terminal.shown


def test_piped_header_keeps_to_its_lines(recorded: Sessions) -> None:
    lines = piped(recorded, "show").decode().split("\n")

    rows = [line.split("\t") for line in lines if "\t" in line]
    assert {len(row) for row in rows} == {7}
    assert lines.index("\t".join(rows[0])) == 3


def test_piped_payload_is_json_with_its_numbers_as_they_were_written(tmp_path: Path) -> None:
    params = b'{"a": 1.10, "b": 1e400, "c": 12345678901234567890.5, "a": 2}'
    scripted = ScriptedStore(tmp_path / "home")
    asked = b'{"jsonrpc":"2.0","id":1,"method":"x","params":' + params + b"}\n"
    scripted.add([(1.0, journal.CLIENT_TO_SERVER, asked)], begin_ns=BEGIN_NS, end_after_ms=2)
    scripted.close()

    shown = Sessions(tmp_path / "home").km("show", ":0").stdout.decode()

    written = re.sub(r"\s", "", shown[shown.index("{") :])
    assert written == re.sub(r"\s", "", asked.decode())


@pytest.mark.parametrize("place", [":0", ":2", ":3"])
def test_event_says_what_it_belongs_to(tmp_path: Path, place: str) -> None:
    again = client(id=2, method="tools/call", params={"name": "echo", "requestState": "s"})
    asked = server(id=1, result={"resultType": "input_required", "requestState": "s"})
    steps: list[TimedStep] = [
        (float(at_ms), *step) for at_ms, step in enumerate([call(1), asked, again, server(id=2, result={})])
    ]
    scripted = ScriptedStore(tmp_path / "home")
    scripted.add(steps, begin_ns=BEGIN_NS, end_after_ms=9)
    scripted.close()
    said = {":0": "answer    :1, input_required after 1 ms", ":2": "answer    :3, ok after 1 ms", ":3": "request is :0"}

    assert said[place] in Sessions(tmp_path / "home").km("show", place).stdout.decode()


EMPTY = {
    "km": (0, "Nothing has been recorded yet."),
    "sessions": (0, "No session"),
    "events": (1, "km monitor"),
    "events --all": (0, "No such event."),
    "show": (1, "km monitor"),
    "stats": (0, "No tool was called."),
    "status": (0, "nothing"),
    "export": (0, ""),
    "sessions --json": (0, ""),
    "stats --json": (0, ""),
}


@pytest.mark.parametrize("command", EMPTY)
def test_empty_store_is_said_to_be_empty(tmp_path: Path, command: str) -> None:
    ScriptedStore(tmp_path / "home").close()
    status, said = EMPTY[command]

    with Terminal([*KM, *COMMANDS[command]], environment_of(Sessions(tmp_path / "home"))) as terminal:
        assert terminal.wait() == status

    assert said in terminal.shown
    assert "bug" not in terminal.shown


@pytest.mark.parametrize(
    ("command", "status", "said"),
    [
        ("km", 0, "Nothing has been recorded yet."),
        ("sessions", 0, "Probes are shown with --all."),
        ("sessions --all", 0, "probe"),
        ("events", 1, "km monitor"),
        ("events --all", 0, "server/discover"),
        ("show", 1, "km monitor"),
        ("stats", 0, "No tool was called."),
        ("status", 0, "1 event of 1 session"),
    ],
)
def test_store_of_probes_alone(tmp_path: Path, command: str, status: int, said: str) -> None:
    scripted = ScriptedStore(tmp_path / "home")
    add_probe(scripted)
    scripted.close()

    with Terminal([*KM, *COMMANDS[command]], environment_of(Sessions(tmp_path / "home"))) as terminal:
        assert terminal.wait() == status

    assert said in terminal.shown


@pytest.fixture(scope="module")
def damaged(tmp_path_factory: pytest.TempPathFactory) -> Sessions:
    """A store of which a part in the middle of the last session is no database any more."""
    scripted = ScriptedStore(tmp_path_factory.mktemp("damaged") / "home")
    for number in range(3):
        steps = busy_steps(300, client="client-0", seed=number)
        scripted.add(steps, begin_ns=BEGIN_NS + number, name="busy", end_after_ms=30_001)
    scripted.close()
    path = Path(scripted.home.store_file)
    size_bytes = path.stat().st_size
    with path.open("r+b") as file:
        file.seek(size_bytes * 8 // 10 // PAGE_BYTES * PAGE_BYTES)
        file.write(b"\xa5" * (size_bytes // 10))
    return Sessions(Path(scripted.home.folder))


@pytest.mark.parametrize("command", ["events", "events --all", "show", "export", "events --json"])
def test_damaged_store_is_said_to_be_damaged(damaged: Sessions, command: str) -> None:
    done = damaged.km(*COMMANDS[command])

    assert done.returncode == 1
    assert b"the store is damaged" in done.stderr


@pytest.mark.parametrize("command", ["km", "sessions", "stats", "status"])
def test_damaged_store_is_no_bug_of_ours(damaged: Sessions, command: str) -> None:
    done = damaged.km(*COMMANDS[command])

    assert done.returncode in {0, 1}
    assert b"bug" not in done.stderr


PROGRESS = """
import sys
from kilometers.console import ProgressLine
progress = ProgressLine()
for text in sys.argv[1:]:
    progress._next_s = 0
    progress.say(text)
progress.clear()
print("after")
"""


def test_progress_line_is_written_over_and_taken_away() -> None:
    environment = {"PATH": os.environ["PATH"]}
    texts = ["x" * 100, "short", "longer than that"]
    with Terminal([sys.executable, "-c", PROGRESS, *texts], environment, columns=40) as terminal:
        assert terminal.wait() == 0

    assert ESCAPE not in terminal.shown
    assert screen_of(terminal.shown) == ["after", ""]
    assert "x" * 39 in terminal.shown
    assert "x" * 40 not in terminal.shown


def test_progress_line_waits_before_it_is_shown() -> None:
    slow = PROGRESS.replace("progress._next_s = 0", "")
    with Terminal([sys.executable, "-c", slow, "said"], {"PATH": os.environ["PATH"]}) as terminal:
        assert terminal.wait() == 0

    assert terminal.shown == "after\r\n"
    assert console.PATIENCE_S > 0


def screen_of(sent: str) -> list[str]:
    """Return what stands on a screen that was sent text, carriage returns and line ends."""
    lines = []
    for line in sent.replace("\r\n", "\n").split("\n"):
        shown = ""
        for part in line.split("\r"):
            shown = part + shown[len(part) :]
        lines.append(shown.rstrip())
    return lines
