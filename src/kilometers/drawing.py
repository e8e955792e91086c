"""Drawing lines on a terminal with rich; imported only where something is drawn on one."""

import sys
from collections.abc import Iterable

from rich.cells import cell_len, set_cell_size
from rich.console import Console
from rich.text import Text

from kilometers import console
from kilometers.core.outline import FOLDED, Limits, PieceKind, outline

STYLES: dict[PieceKind, str] = {
    "key": "cyan",
    "string": "green",
    "number": "magenta",
    "word": "yellow",
    "mark": "",
    "note": "dim",
}


def screen() -> Console:
    """Return rich's console as km uses it: what is printed comes from the wire, so nothing in it is markup."""
    return Console(no_color=not console.has_colour(), highlight=False, emoji=False, markup=False)


def write(texts: Iterable[Text]) -> None:
    """Print lines that were made for the terminal's width, each at once."""
    terminal = screen()
    for text in texts:
        terminal.print(text, soft_wrap=True)
    sys.stdout.flush()


def cut(text: str, width: int) -> str:
    """Return *text* in exactly *width* cells: wide characters count two, and what is too long ends in …."""
    return set_cell_size(text, width) if cell_len(text) <= width else f"{set_cell_size(text, width - 1)}…"


def draw_json(payload: bytes, limits: Limits) -> tuple[list[Text], bool]:
    """Return the lines of JSON in colours, and whether something was folded; as it is where Python cannot read it."""
    text = payload.decode("utf-8", "replace")
    try:
        lines = list(outline(text, limits))
    except (ValueError, RecursionError):
        return [Text(console.printable(text))], False
    is_folded = any(kind == "note" and FOLDED in piece for line in lines for kind, piece in line)
    drawn = [Text.assemble(*((console.printable(piece), STYLES[kind]) for kind, piece in line)) for line in lines]
    return drawn, is_folded
