"""How commands talk: tables on a terminal, tab-separated lines elsewhere, JSON on demand.

rich is imported only when a table is drawn on a terminal.
"""

import json
import os
import shutil
import sys
import time
from collections.abc import Iterable, Iterator, Sequence
from datetime import UTC, datetime

import msgspec

from kilometers.core import units

DEFAULT_WIDTH = 80
MAX_WIDTH = 500
PATIENCE_S = 0.5
UPDATE_EVERY_S = 0.1
STATUS_STYLES = {
    "ok": "green",
    "error": "red",
    "tool_error": "red",
    "cancelled": "yellow",
    "input_required": "cyan",
    "unanswered": "yellow",
    "open": "cyan",
    "gap": "bold red",
    "running": "cyan",
    "unclean": "yellow",
    "signal": "yellow",
}


def is_terminal() -> bool:
    """Whether a person is looking."""
    return sys.stdout.isatty()


def is_drawn() -> bool:
    """Whether lists are drawn for a person: on a terminal, and with FORCE_COLOR wherever they go (a pager)."""
    return is_terminal() or bool(os.environ.get("FORCE_COLOR"))


def has_colour() -> bool:
    """Whether to colour: NO_COLOR and FORCE_COLOR go before what stdout is."""
    if os.environ.get("NO_COLOR"):
        return False
    return is_drawn()


def print_json(value: object) -> None:
    """Print one value as one line of JSON."""
    write_wire(msgspec.json.encode(value))


def write_wire(wire: bytes) -> None:
    """Print a line of JSON as it is; on a terminal with what would move its cursor escaped, as JSON does."""
    if is_terminal():
        text = wire.decode("utf-8", "replace")
        wire = "".join(one if one.isprintable() else json.dumps(one)[1:-1] for one in text).encode()
    sys.stdout.buffer.write(wire + b"\n")


def write_line(text: str) -> None:
    """Print one line, whatever the locale: what cannot be shown is escaped."""
    sys.stdout.buffer.write(text.encode("utf-8", "backslashreplace") + b"\n")


def print_row(row: Sequence[str]) -> None:
    """Print one line for a program."""
    write_line("\t".join(cell.replace("\t", " ").replace("\n", " ") for cell in row))


def status_style(status: str) -> str:
    """Return the colour of a status."""
    return STATUS_STYLES.get(status.partition(" ")[0], "")


def width() -> int:
    """Return how wide the terminal is, in cells."""
    return min(MAX_WIDTH, shutil.get_terminal_size().columns)


def printable(text: str) -> str:
    """Return *text* without characters that would move the cursor or change colours: it may come from the wire."""
    return "".join(character if character.isprintable() else "·" for character in text)


def say(text: str) -> None:
    """Print one line for a person, on stderr."""
    sys.stderr.write(f"{text}\n")


class ProgressLine:
    """One line on stderr that is written over, for as long as something takes; nothing where nobody looks."""

    def __init__(self) -> None:
        self._has_person = sys.stderr.isatty()
        self._next_s = time.monotonic() + PATIENCE_S
        self._shown = 0
        """How long the line is."""

    def say(self, text: str) -> None:
        """Show how far it is."""
        now_s = time.monotonic()
        if self._has_person and now_s >= self._next_s:
            self._next_s = now_s + UPDATE_EVERY_S
            room = os.get_terminal_size(sys.stderr.fileno()).columns or DEFAULT_WIDTH
            sys.stderr.write(f"\r{text[: room - 1]:<{self._shown}}")
            self._shown = min(len(text), room - 1)
            sys.stderr.flush()

    def clear(self) -> None:
        """Take the line away."""
        if self._shown:
            sys.stderr.write(f"\r{'':{self._shown}}\r")
            sys.stderr.flush()
            self._shown = 0

    def cleared_before(self, found: Iterable[bytes]) -> Iterator[bytes]:
        """Yield what is found, each without the line in its way."""
        for one in found:
            self.clear()
            yield one


def clock(moment: datetime | None, *, is_exact: bool = False) -> str:
    """Return a time: for a person in the local zone, as long as it has to be; for a program in RFC 3339."""
    if moment is None:
        return ""
    if is_drawn():
        return units.short_clock(moment, now=datetime.now(UTC), is_exact=is_exact)
    return moment.isoformat().replace("+00:00", "Z")
