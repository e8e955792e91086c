"""The README's picture of a timeline, made from the golden screen in colour: `python -m tests.screens.picture`."""

import io
import sys
from pathlib import Path

from rich.console import Console
from rich.terminal_theme import TerminalTheme
from rich.text import Text

SCREEN = Path(__file__).parent / "golden" / "show-colour.txt"
PICTURE = Path(__file__).parent.parent.parent / ".github" / "timeline.svg"
THEME = TerminalTheme(
    (22, 27, 34),
    (201, 209, 217),
    [
        (72, 79, 88),
        (255, 123, 114),
        (63, 185, 80),
        (210, 153, 34),
        (88, 166, 255),
        (188, 140, 255),
        (57, 197, 207),
        (177, 186, 196),
    ],
    [
        (110, 118, 129),
        (255, 161, 152),
        (86, 211, 100),
        (227, 179, 65),
        (121, 192, 255),
        (210, 168, 255),
        (86, 212, 221),
        (255, 255, 255),
    ],
)
# rich's own frame, without the fonts that it would fetch from elsewhere.
FRAME = """\
<svg class="rich-terminal" viewBox="0 0 {width} {height}" xmlns="http://www.w3.org/2000/svg">
    <style>
    .{unique_id}-matrix {{
        font-family: ui-monospace, Menlo, Consolas, "DejaVu Sans Mono", monospace;
        font-size: {char_height}px;
        line-height: {line_height}px;
    }}
    .{unique_id}-title {{ font-size: 18px; font-weight: bold; font-family: system-ui, sans-serif; }}
    {styles}
    </style>
    <defs>
    <clipPath id="{unique_id}-clip-terminal">
      <rect x="0" y="0" width="{terminal_width}" height="{terminal_height}" />
    </clipPath>
    {lines}
    </defs>
    {chrome}
    <g transform="translate({terminal_x}, {terminal_y})" clip-path="url(#{unique_id}-clip-terminal)">
    {backgrounds}
    <g class="{unique_id}-matrix">
    {matrix}
    </g>
    </g>
</svg>
"""


def draw_picture() -> str:
    """Return the picture as SVG."""
    lines = [Text.from_ansi(line) for line in SCREEN.read_text(encoding="utf-8").rstrip("\n").split("\n")]
    console = Console(record=True, width=max(line.cell_len for line in lines) + 1, file=io.StringIO())
    for line in lines:
        console.print(line, soft_wrap=True)
    console.print()  # or the last line's descenders are cut off
    return console.export_svg(title="km show notes", theme=THEME, code_format=FRAME, unique_id="km")


if __name__ == "__main__":
    PICTURE.write_text(draw_picture(), encoding="utf-8")
    sys.stdout.write(f"{PICTURE}\n")
