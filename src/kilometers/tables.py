"""Lists: tables drawn for a person, tab-separated lines for a program.

rich is imported only when a table is drawn.
"""

from collections.abc import Iterable, Sequence
from typing import Literal

from kilometers import console

NUMBERS = {"EVENTS", "CALLS", "ERRORS", "GAPS", "SIZE", "TIME", "SEQ", "P50", "P95", "P99", "MAX"}
FLEXIBLE = {"SERVER", "CLIENT", "METHOD", "TARGET", "TOOL", "VALUE", "DEFAULT", "KEY"}
OPTIONAL = ("SIZE", "EVENTS", "KIND", "GAPS", "CLIENT", "P99")  # in the order in which they are left out
GAP = 1
MIN_WIDTH = 4
READABLE = 14


def print_rows(columns: Sequence[str], rows: Iterable[Sequence[str]]) -> None:
    """Print a list: a table on a terminal, tab-separated lines without a head elsewhere."""
    if console.is_drawn():
        if drawn := list(rows):
            print_table(columns, drawn)
        return
    for row in rows:
        console.print_row(row)


def print_table(columns: Sequence[str], rows: list[Sequence[str]]) -> None:
    """Draw a table as wide as the terminal at most: what can be missed is left out, then what may be long is cut."""
    from rich import box
    from rich.cells import cell_len
    from rich.table import Table
    from rich.text import Text

    from kilometers.drawing import screen

    terminal = screen()
    shown = [[console.printable(cell) for cell in row] for row in rows]
    widths = [max([cell_len(column), *(cell_len(row[at]) for row in shown)]) for at, column in enumerate(columns)]
    kept = keep(columns, widths, terminal.width)
    fitted = fit([columns[at] for at in kept], [widths[at] for at in kept], terminal.width)
    table = Table(box=box.SIMPLE_HEAD, padding=(0, GAP, 0, 0), pad_edge=False, show_edge=False, header_style="bold")
    for at, width in zip(kept, fitted, strict=True):
        justify: Literal["right", "left"] = "right" if columns[at] in NUMBERS else "left"
        table.add_column(columns[at], justify=justify, no_wrap=True, overflow="ellipsis", width=width)
    for row in shown:
        table.add_row(*(Text(row[at], style=style_of(columns[at], row[at])) for at in kept))
    terminal.print(table)


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
        return console.status_style(cell)
    return "red" if column in {"ERRORS", "GAPS"} and cell != "0" else ""
