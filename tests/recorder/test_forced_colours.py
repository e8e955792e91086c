"""FORCE_COLOR in a pipe: what a terminal would get, for a pager; NO_COLOR goes before it, and --json minds neither."""

import re
import subprocess
from pathlib import Path

import pytest

from recorder.sessions import KM, Sessions
from recorder.terminal import Terminal
from screens.example import make_example

COLOUR = re.compile(r"\x1b\[[0-9;]*[349][0-9]")
COMMANDS = [
    "sessions --all",
    "events notes",
    "events --all --status ok",
    "show notes",
    "show notes:12",
    "stats",
]


@pytest.fixture(scope="module")
def example(tmp_path_factory: pytest.TempPathFactory) -> Sessions:
    folder = tmp_path_factory.mktemp("forced") / "home"
    make_example(folder)
    return Sessions(folder)


def piped(sessions: Sessions, command: str, **variables: str) -> str:
    environment = {**sessions.environment, "TERM": "xterm-256color", "COLUMNS": "100", **variables}
    done = subprocess.run([*KM, *command.split()], env=environment, capture_output=True, timeout=60, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout.decode()


def drawn(sessions: Sessions, command: str) -> str:
    environment = {**sessions.environment, "TERM": "xterm-256color"}
    with Terminal([*KM, *command.split()], environment, columns=100, stderr=subprocess.DEVNULL) as terminal:
        assert terminal.wait() == 0
    return terminal.shown.replace("\r\n", "\n")


@pytest.mark.parametrize("command", COMMANDS)
def test_forced_pipe_gets_what_a_terminal_gets(example: Sessions, command: str) -> None:
    shown = piped(example, command, FORCE_COLOR="1")

    assert COLOUR.search(shown)
    assert shown == drawn(example, command)


@pytest.mark.parametrize("command", COMMANDS)
def test_empty_variable_forces_nothing(example: Sessions, command: str) -> None:
    assert piped(example, command, FORCE_COLOR="") == piped(example, command)
    assert "\x1b" not in piped(example, command)


@pytest.mark.parametrize("command", COMMANDS)
def test_no_color_leaves_the_drawing_without_its_colours(example: Sessions, command: str) -> None:
    shown = piped(example, command, FORCE_COLOR="1", NO_COLOR="1")

    assert not COLOUR.search(shown)
    assert shown != piped(example, command)


@pytest.mark.parametrize("command", ["sessions", "events notes", "show notes", "stats", "status"])
def test_json_is_the_same_whatever_is_forced(example: Sessions, command: str) -> None:
    assert piped(example, f"{command} --json", FORCE_COLOR="1") == piped(example, f"{command} --json")


def test_forced_doctor_is_coloured_in_a_pipe(example: Sessions, tmp_path: Path) -> None:
    environment = {**example.environment, "HOME": str(tmp_path), "TMPDIR": str(tmp_path), "FORCE_COLOR": "1"}
    done = subprocess.run([*KM, "doctor"], env=environment, capture_output=True, timeout=100, check=False)

    assert COLOUR.search(done.stdout.decode())
