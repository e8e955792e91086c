"""What a person sees, letter by letter: each command on a terminal of 80 and of 200 columns, and in colour.

The screens are in golden/.  After a change that is meant, write them anew and look at the difference:

    KM_GOLDEN=write pytest tests/screens && git diff tests/screens/golden
"""

import os
import re
from pathlib import Path

import pytest
from rich.cells import cell_len
from rich.text import Text

import km_under_test
from recorder.terminal import Terminal
from screens.picture import PICTURE, draw_picture

KM = km_under_test.COMMAND
GOLDEN = Path(__file__).parent / "golden"
SCREENS = {
    "sessions": ["sessions", "--all"],
    "show": ["show", "notes"],
    "show-last": ["show", "notes", "--limit", "5"],
    "show-running": ["show", "time"],
    "show-request": ["show", "notes:6"],
    "show-text": ["show", "notes:9"],
    "show-nested": ["show", "notes:12"],
    "show-nested-full": ["show", "notes:12", "--full"],
    "events": ["events", "notes"],
    "events-all": ["events", "--all", "--status", "ok"],
    "events-search": ["events", "--all", "--search", "NOTE", "--limit", "3"],
    "events-none": ["events", "--search", "nowhere to be found"],
    "tail": ["tail", "00000003"],
    "stats": ["stats"],
    "stats-method": ["stats", "--by", "method"],
    "stats-client": ["stats", "--by", "client"],
    "status": ["status"],
    "config": ["config"],
    "clear": ["clear", "--all", "--dry-run"],
    "help": ["--help"],
    "help-events": ["events", "--help"],
    "typo-command": ["sesions"],
    "typo-session": ["show", "note"],
    "typo-option": ["events", "--toool", "x"],
}
DRAWN = ("sessions", "show-", "events", "tail", "stats", "help")
UNDRAWN = {"show-text", "show-nested", "show-nested-full"}  # JSON lines run over: nothing of them is cut
COLOURED = ("sessions", "show", "show-text", "events", "stats")


def take_screen(home: Path, arguments: list[str], *, columns: int, **variables: str) -> str:
    """Return what a terminal was sent, with the home's path as HOME and the journal's place as PLACE."""
    environment = {"PATH": os.environ["PATH"], "KILOMETERS_HOME": str(home), "TZ": "UTC", "TERM": "xterm-256color"}
    with Terminal([*KM, *arguments], {**environment, **variables}, columns=columns) as terminal:
        terminal.wait()
    shown = terminal.shown.replace("\r\n", "\n").replace(str(home), "HOME")
    return re.sub(r"(?m)^journal .*$", "journal    PLACE", shown)


def compare(name: str, shown: str) -> None:
    path = GOLDEN / f"{name}.txt"
    if os.environ.get("KM_GOLDEN") == "write":
        GOLDEN.mkdir(exist_ok=True)
        path.write_text(shown, encoding="utf-8")
    assert shown == path.read_text(encoding="utf-8")


@pytest.mark.parametrize("columns", [80, 200])
@pytest.mark.parametrize("name", SCREENS)
def test_screen_is_as_it_was(example: Path, name: str, columns: int) -> None:
    shown = take_screen(example, SCREENS[name], columns=columns, NO_COLOR="1")

    compare(f"{name}-{columns}", shown)


@pytest.mark.parametrize("name", COLOURED)
def test_coloured_screen_is_as_it_was(example: Path, name: str) -> None:
    compare(f"{name}-colour", take_screen(example, SCREENS[name], columns=100))


@pytest.mark.parametrize("name", [name for name in SCREENS if name.startswith(DRAWN) and name not in UNDRAWN])
@pytest.mark.parametrize("columns", [80, 132])
def test_no_line_is_wider_than_the_terminal(example: Path, name: str, columns: int) -> None:
    shown = take_screen(example, SCREENS[name], columns=columns)

    widest = max(shown.split("\n"), key=lambda line: cell_len(Text.from_ansi(line).plain))
    assert cell_len(Text.from_ansi(widest).plain) <= columns, widest


def test_no_color_sends_no_escape_sequence(example: Path) -> None:
    shown = "".join(take_screen(example, arguments, columns=80, NO_COLOR="1") for arguments in SCREENS.values())

    assert not re.search(r"\x1b\[[0-9;]*[349][0-9]", shown)


def test_picture_in_the_readme_is_what_is_drawn() -> None:
    assert PICTURE.read_text(encoding="utf-8") == draw_picture(), "write it anew: python -m tests.screens.picture"
