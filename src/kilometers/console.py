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
from typing import Literal

import msgspec

NUMBERS = {"EVENTS", "CALLS", "ERRORS", "GAPS", "SIZE", "TIME", "SEQ", "P50", "P95", "P99", "MAX"}
FLEXIBLE = {"SERVER", "CLIENT", "METHOD", "TARGET", "TOOL", "VALUE", "DEFAULT", "KEY"}
OPTIONAL = ("SIZE", "EVENTS", "KIND", "GAPS", "CLIENT", "P99")  # in the order in which they are left out
GAP = 1
MIN_WIDTH = 4
READABLE = 14
DEFAULT_WIDTH = 80
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


def has_colour() -> bool:
    """Whether to colour: NO_COLOR and FORCE_COLOR go before what stdout is."""
    if os.environ.get("NO_COLOR"):
        return False
    return bool(os.environ.get("FORCE_COLOR")) or is_terminal()


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


def print_rows(columns: Sequence[str], rows: Iterable[Sequence[str]]) -> None:
    """Print a list: a table on a terminal, tab-separated lines without a head elsewhere."""
    if is_terminal():
        print_table(columns, list(rows))
        return
    for row in rows:
        print_row(row)


def print_row(row: Sequence[str]) -> None:
    """Print one line for a program."""
    write_line("\t".join(cell.replace("\t", " ").replace("\n", " ") for cell in row))


def print_table(columns: Sequence[str], rows: list[Sequence[str]]) -> None:
    """Draw a table as wide as the terminal at most: what can be missed is left out, then what may be long is cut."""
    from rich import box
    from rich.cells import cell_len
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    console = Console(no_color=not has_colour(), highlight=False)
    shown = [[printable(cell) for cell in row] for row in rows]
    widths = [max([cell_len(column), *(cell_len(row[at]) for row in shown)]) for at, column in enumerate(columns)]
    kept = keep(columns, widths, console.width)
    fitted = fit([columns[at] for at in kept], [widths[at] for at in kept], console.width)
    table = Table(box=box.SIMPLE_HEAD, padding=(0, GAP, 0, 0), pad_edge=False, show_edge=False, header_style="bold")
    for at, width in zip(kept, fitted, strict=True):
        justify: Literal["right", "left"] = "right" if columns[at] in NUMBERS else "left"
        table.add_column(columns[at], justify=justify, no_wrap=True, overflow="ellipsis", width=width)
    for row in shown:
        table.add_row(*(Text(row[at], style=style_of(columns[at], row[at])) for at in kept))
    console.print(table)


def keep(columns: Sequence[str], widths: Sequence[int], room: int) -> list[int]:
    """Return which columns to draw: of those that can be missed, as many as leave the long ones READABLE cells."""
    kept = list(range(len(columns)))
    for column in OPTIONAL:
        least = (min(widths[at], READABLE) if columns[at] in FLEXIBLE else widths[at] for at in kept)
        if column in columns and sum(least) + (GAP + 1) * len(kept) > room:
            kept.remove(columns.index(column))
    return kept


def fit(columns: Sequence[str], widths: Sequence[int], room: int) -> list[int]:
    """Return column widths whose sum, gaps counted, fits into *room*: the widest flexible column shrinks first."""
    fitted = list(widths)
    flexible = [number for number, column in enumerate(columns) if column in FLEXIBLE]
    while flexible and sum(fitted) + (GAP + 1) * len(fitted) > room:
        widest = max(flexible, key=lambda number: fitted[number])
        if fitted[widest] <= MIN_WIDTH:
            break
        fitted[widest] -= 1
    return fitted


def style_of(column: str, cell: str) -> str:
    """Return the colour of a cell: a status has one of its own, and errors stand out."""
    if column == "STATUS":
        return status_style(cell)
    return "red" if column in {"ERRORS", "GAPS"} and cell != "0" else ""


def status_style(status: str) -> str:
    """Return the colour of a status."""
    return STATUS_STYLES.get(status.partition(" ")[0], "")


def width() -> int:
    """Return how wide the terminal is, in cells."""
    return shutil.get_terminal_size().columns


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


def duration(microseconds: int | None) -> str:
    """Return a duration with three digits: 840 µs, 12.3 ms, 1.2 s, 4 min."""
    return (
        ""
        if microseconds is None
        else _three_digits(microseconds, (("µs", 1000), ("ms", 1000), ("s", 120), ("min", 0)))
    )


def size(size_bytes: int | None) -> str:
    """Return a size with a decimal unit: 840 B, 12.3 kB, 1.2 MB."""
    return "" if size_bytes is None else _three_digits(size_bytes, (("B", 1000), ("kB", 1000), ("MB", 1000), ("GB", 0)))


def _three_digits(number: float, units: Sequence[tuple[str, int]]) -> str:
    """Return *number* in the first unit in which it is, once rounded, below that unit's end (0 = it has none)."""
    for unit, end in units:
        shown = f"{number:.3g}"
        if end == 0 or float(shown) < end:
            return f"{shown if 'e' not in shown else f'{number:.0f}'} {unit}"
        number /= 60 if unit == "s" else 1000
    raise AssertionError("the last unit has no end")


def clock(moment: datetime | None, *, is_exact: bool = False) -> str:
    """Return a time: for a person in the local zone, as long as it has to be; for a program in RFC 3339."""
    if moment is None:
        return ""
    if is_terminal():
        return short_clock(moment, now=datetime.now(UTC), is_exact=is_exact)
    return moment.isoformat().replace("+00:00", "Z")


def short_clock(moment: datetime, *, now: datetime, is_exact: bool = False) -> str:
    """Return today's times without a date, this year's without a year; to the minute unless *is_exact*."""
    local, today = moment.astimezone(), now.astimezone().date()
    if local.date() == today:
        return f"{local:%H:%M:%S}.{local.microsecond // 1000:03}" if is_exact else f"{local:%H:%M:%S}"
    time = f"{local:%H:%M:%S}" if is_exact else f"{local:%H:%M}"
    return f"{local.day} {local:%b} {time}" if local.year == today.year else f"{local:%Y-%m-%d} {time}"


def ago(moment: datetime, *, now: datetime) -> str:
    """Return how long ago something was, roughly."""
    seconds = max(0, int((now - moment).total_seconds()))
    for unit, length in (("day", 86_400), ("hour", 3600), ("minute", 60)):
        if seconds >= length:
            return count(seconds // length, unit) + " ago"
    return "just now"


def count(number: int, noun: str) -> str:
    """Return a number with its noun: 1 call, 2 calls, 12,345 calls."""
    return f"{number:,} {noun}{'' if number == 1 else 's'}"
