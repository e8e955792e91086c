"""How commands talk: tables on a terminal, tab-separated lines elsewhere, JSON on demand.

rich is imported only when a table is drawn on a terminal.
"""

import os
import shutil
import sys
from collections.abc import Iterable, Sequence
from datetime import UTC, datetime
from typing import Literal

import msgspec

NUMBERS = {"EVENTS", "CALLS", "ERRORS", "GAPS", "SIZE", "TIME", "SEQ", "P50", "P95", "P99", "MAX"}
FLEXIBLE = {"SERVER", "CLIENT", "METHOD", "TARGET", "TOOL", "VALUE", "DEFAULT", "COMMAND"}
GAP = 1
MIN_WIDTH = 4
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
    write_line(msgspec.json.encode(value).decode())


def write_line(text: str) -> None:
    """Print one line, whatever the locale: what cannot be shown is escaped."""
    sys.stdout.buffer.write(text.encode("utf-8", "backslashreplace") + b"\n")


def print_rows(columns: Sequence[str], rows: Iterable[Sequence[str]]) -> None:
    """Print a list: a table on a terminal, tab-separated lines without a head elsewhere."""
    if is_terminal():
        print_table(columns, list(rows))
        return
    for row in rows:
        write_line("\t".join(cell.replace("\t", " ").replace("\n", " ") for cell in row))


def print_table(columns: Sequence[str], rows: list[Sequence[str]]) -> None:
    """Draw a table as wide as the terminal at most: what may be long gives way, the rest never."""
    from rich import box
    from rich.cells import cell_len
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    console = Console(no_color=not has_colour(), highlight=False)
    shown = [[printable(cell) for cell in row] for row in rows]
    widths = [
        max(cell_len(column), *(cell_len(row[number]) for row in shown)) if shown else cell_len(column)
        for number, column in enumerate(columns)
    ]
    fitted = fit(columns, widths, console.width)
    table = Table(box=box.SIMPLE_HEAD, padding=(0, GAP, 0, 0), pad_edge=False, show_edge=False, header_style="bold")
    for column, width in zip(columns, fitted, strict=True):
        justify: Literal["right", "left"] = "right" if column in NUMBERS else "left"
        table.add_column(column, justify=justify, no_wrap=True, overflow="ellipsis", width=width)
    for row in shown:
        table.add_row(*(Text(cell, style=style_of(column, cell)) for column, cell in zip(columns, row, strict=True)))
    console.print(table)


def fit(columns: Sequence[str], widths: list[int], room: int) -> list[int]:
    """Return column widths whose sum, gaps counted, fits into *room*: the widest flexible column shrinks first."""
    fitted = list(widths)
    flexible = [number for number, column in enumerate(columns) if column in FLEXIBLE]
    while sum(fitted) + (GAP + 1) * len(fitted) > room:
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


def clock(moment: datetime | None) -> str:
    """Return a time of day in the local zone, with the date where it is not today's."""
    if moment is None:
        return ""
    local = moment.astimezone()
    today = datetime.now(UTC).astimezone().date()
    return f"{local:%H:%M:%S}" if local.date() == today else f"{local:%Y-%m-%d %H:%M:%S}"
