"""`km doctor` with MCP clients: what it finds in their files, what is pasted, what a terminal shows."""

import json
import os
import re
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

from recorder.doctor_runs import SCRIPT, Doctor, states, write
from recorder.sessions import KM
from recorder.terminal import Terminal
from relay.wrapped import obey_modes

SERVER = {"command": "npx", "args": ["-y", "server-x"], "env": {"TOKEN": "hidden"}}
WRAPPED = {"command": str(SCRIPT), "args": ["monitor", "--", "npx", "-y", "server-x"]}


def test_clients_of_this_machine_are_found(doctor: Doctor) -> None:
    user = doctor.user_home
    write(user / ".config/Claude/claude_desktop_config.json", {"mcpServers": {"a": SERVER}})
    write(user / ".claude.json", {"mcpServers": {"b": SERVER}, "projects": {"/app": {"mcpServers": {"c": SERVER}}}})
    write(user / ".cursor/mcp.json", "// mine\n" + json.dumps({"mcpServers": {"d": SERVER}}))
    write(user / ".config/Code/User/mcp.json", {"servers": {"e": SERVER}})
    write(user / ".config/Code/User/settings.json", {"mcp": {"servers": {"f": SERVER}}})
    write(user / ".config/Code/User/profiles/1a2b/mcp.json", {"servers": {"g": WRAPPED}})
    write(user / ".config/VSCodium/User/settings.json", {"editor.tabSize": 2})
    write(user / ".codex/config.toml", '[mcp_servers.h]\ncommand = "npx"\nargs = ["x"]')
    write(user / ".gemini/settings.json", {"mcpServers": {"i": {"httpUrl": "https://x.example/?key=hidden"}}})
    write(doctor.project / ".mcp.json", {"mcpServers": {"j": SERVER}})
    write(doctor.project / ".vscode/mcp.json", {"servers": {"k": SERVER}})
    shown = doctor.run("--json", status=0)
    files = json.loads(shown)["clients"]

    found = [
        (file["client"], file["scope"], server["name"], server.get("project", ""), server["transport"])
        for file in files
        for server in file["servers"]
    ]
    assert found == [
        ("Claude Desktop", "user", "a", "", "stdio"),
        ("Claude Code", "user", "b", "", "stdio"),
        ("Claude Code", "user", "c", "/app", "stdio"),
        ("Claude Code", "project", "j", "", "stdio"),
        ("Cursor", "user", "d", "", "stdio"),
        ("VS Code", "user", "e", "", "stdio"),
        ("VS Code", "user", "f", "", "stdio"),
        ("VS Code", "user", "g", "", "stdio"),
        ("VS Code", "project", "k", "", "stdio"),
        ("Codex", "user", "h", "", "stdio"),
        ("Gemini CLI", "user", "i", "", "remote"),
    ]
    assert "hidden" not in shown


def test_entry_that_is_pasted_is_wrapped_and_works(doctor: Doctor) -> None:
    file = doctor.user_home / ".cursor/mcp.json"
    write(file, {"mcpServers": {"echo": {"command": "cat", "args": []}}})
    (server,) = doctor.report()["clients"][0]["servers"]
    pasted = json.loads(f"{{{server['entry']}}}")

    assert not server["is_wrapped"]
    write(file, {"mcpServers": pasted})
    (server,) = doctor.report()["clients"][0]["servers"]
    assert (server["is_wrapped"], server["state"], "entry" in server) == (True, "ok", False)
    command = [pasted["echo"]["command"], *pasted["echo"]["args"]]
    done = subprocess.run(
        command, env={"KILOMETERS_HOME": str(doctor.home)}, input=b"hello\n", capture_output=True, check=True
    )
    assert done.stdout == b"hello\n"


@pytest.mark.parametrize(
    ("client", "command", "state"),
    [
        (".cursor/mcp.json", str(SCRIPT), "ok"),
        (".cursor/mcp.json", "km", "warn"),
        (".gemini/settings.json", "km", "ok"),
        (".cursor/mcp.json", "/opt/gone/km", "fail"),
        (".gemini/settings.json", "bin/km", "warn"),
        (".cursor/mcp.json", "${userHome}/km", "ok"),
    ],
)
def test_km_that_a_client_would_not_find_is_named(doctor: Doctor, client: str, command: str, state: str) -> None:
    write(doctor.user_home / client, {"mcpServers": {"x": {**WRAPPED, "command": command}}})
    report = doctor.report(status=1 if state == "fail" else 0)

    (server,) = report["clients"][0]["servers"]
    assert (server["state"], states(report)["clients"]) == (state, state)
    assert ("entry" in server) == (state != "ok")
    assert state == "ok" or json.loads(f"{{{server['entry']}}}") == {"x": WRAPPED}


def test_km_that_is_not_in_path_fails_for_every_client(doctor: Doctor) -> None:
    doctor.environment["PATH"] = "/usr/bin:/bin"
    write(doctor.user_home / ".gemini/settings.json", {"mcpServers": {"x": {**WRAPPED, "command": "km"}}})

    assert doctor.check("clients", status=1)["state"] == "fail"


def make_pipe(path: Path) -> None:
    os.mkfifo(path)


def make_huge(path: Path) -> None:
    with path.open("wb") as file:
        file.truncate(33 << 20)


@pytest.mark.parametrize(
    ("make", "problem"),
    [
        (lambda path: path.write_text('{\n"mcpServers": {'), "at line 2"),
        (lambda path: path.write_bytes(b"\xff\xfe{\x00}\x00"), "not UTF-8"),
        (lambda path: path.mkdir(), "regular file"),
        (make_pipe, "regular file"),
        (make_huge, "larger than 32 MB"),
        (lambda path: path.symlink_to(path), "symbolic link"),
        (lambda path: (path.write_text("{}"), path.chmod(0)), "Permission denied"),
    ],
)
def test_client_file_that_cannot_be_read_warns(doctor: Doctor, make: Callable[[Path], object], problem: str) -> None:
    path = doctor.user_home / ".cursor/mcp.json"
    path.parent.mkdir()
    make(path)
    report = doctor.report(status=0, preexec_fn=obey_modes)

    assert [problem in file["problem"] for file in report["clients"]] == [True]
    assert states(report)["clients"] == "warn"


def test_client_files_are_never_written(doctor: Doctor) -> None:
    path = doctor.user_home / ".claude.json"
    write(path, {"mcpServers": {"x": SERVER}})
    path.chmod(0o444)
    before = (path.read_bytes(), path.stat().st_mtime_ns)

    doctor.run(status=0)

    assert (path.read_bytes(), path.stat().st_mtime_ns) == before
    assert [path.name for path in doctor.user_home.iterdir()] == [".claude.json"]


def test_same_file_is_shown_once(doctor: Doctor) -> None:
    write(doctor.user_home / ".cursor/mcp.json", {"mcpServers": {"x": SERVER}})

    assert len(doctor.report(cwd=doctor.user_home)["clients"]) == 1


def test_current_folder_that_is_gone_is_no_problem(doctor: Doctor) -> None:
    process = doctor.start("--json", before=["sh", "-c", 'rmdir "$PWD" && exec "$@"', "sh"])
    shown, _ = process.communicate(timeout=60)

    assert json.loads(shown)["clients"] == []


def test_plain_output_ends_with_a_summary(doctor: Doctor) -> None:
    del doctor.environment["KILOMETERS_HOME"]
    lines = doctor.run(status=0).splitlines()

    assert all(line.startswith("  ✓ ") for line in lines[:14])
    assert lines[-3].startswith("No MCP client was found here. Looked for: Claude Desktop, Claude Code, Cursor,")
    assert lines[-1] == "all is well"


def test_summary_counts_problems_and_warnings_and_servers(doctor: Doctor) -> None:
    (doctor.home / "config.toml").write_text("nonsense")
    write(doctor.user_home / ".cursor/mcp.json", {"mcpServers": {"x": SERVER, "y": WRAPPED}})

    assert doctor.run(status=1).splitlines()[-1] == "1 problem, 2 warnings; 1 not wrapped"


def on_a_terminal(doctor: Doctor, columns: int) -> list[str]:
    """Return the lines that a terminal gets."""
    environment = {**doctor.environment, "TERM": "xterm-256color"}
    with Terminal([*KM, "doctor"], environment, columns=columns, cwd=doctor.project) as terminal:
        terminal.wait(60)
    return terminal.shown.split("\r\n")


@pytest.fixture
def hostile(doctor: Doctor) -> Doctor:
    write(
        doctor.user_home / ".cursor/mcp.json",
        {
            "mcpServers": {
                "a\x1b[31mred": SERVER,
                "b": {"command": "/gone/km", "args": ["monitor", "--", "\x07bell"], "e\x1b[2J": 1},
            }
        },
    )
    return doctor


@pytest.mark.parametrize("columns", [80, 200])
def test_terminal_output_fits_but_for_what_is_pasted(hostile: Doctor, columns: int) -> None:
    lines = [re.sub(r"\x1b\[[0-9;]*m", "", line) for line in on_a_terminal(hostile, columns)]

    long = [line for line in lines if len(line) > columns]
    assert len(lines) > 20
    wrapped = [line for line in long if not line.lstrip().startswith(("fix: ", '"'))]
    assert [line for line in wrapped if max(map(len, line.split())) < columns - 16] == []  # a path is not cut


def test_what_a_file_holds_cannot_control_the_terminal(hostile: Doctor) -> None:
    shown = "\n".join(on_a_terminal(hostile, 80))

    assert "\x1b[31mred" not in shown
    assert "\x1b[2J" not in shown
    assert "\x07" not in shown
    assert "a·[31mred" in shown


def test_colours_are_left_out_where_nobody_wants_them(hostile: Doctor) -> None:
    hostile.environment["NO_COLOR"] = "1"

    assert not any(re.search(r"\x1b\[[0-9;]*3[0-9]m", line) for line in on_a_terminal(hostile, 80))
    assert "\x1b" not in hostile.run()


def test_pipe_that_is_closed_ends_quietly(doctor: Doctor) -> None:
    process = doctor.start(stderr=subprocess.PIPE)
    assert process.stdout is not None
    process.stdout.readline()
    process.stdout.close()
    _, said = process.communicate(timeout=60)

    assert said == b""
    assert list(doctor.temporary.iterdir()) == []
