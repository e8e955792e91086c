"""Drawing a timeline on a terminal: a line each for calls with their bars, ticks, gaps and stderr.

      SEQ      AT   CALL                  STATUS       TIME
        3   0.012 → tools/call search     ok        840 ms  ╺━━━━━━━━╸
        5   0.013 ←  ╰ progress ×3                             ╵  ╵  ╵
        9   1.204   stderr: cache is cold

Counterpart: core/timeline.py, which says what the lines are and where they lie on the axis.
"""

from collections.abc import Iterator

import msgspec
from rich.cells import cell_len
from rich.text import Text

from kilometers import console
from kilometers.core import units
from kilometers.core.event import ARROWS, SERVER_TO_CLIENT
from kilometers.core.timeline import Axis, Line, find_pauses
from kilometers.drawing import cut

BAR_SHARE = 0.34
MIN_BAR, MAX_BAR = 14, 100
MIN_CALL = 12
GAP = 1
LEFT_HALF, RIGHT_HALF, WHOLE, DASH, CROSS, TICK, MISSING, OPEN_END = "╸╺━┄╳╵░▸"
FACT_GAP = "  "
HEADS = ("SEQ", "AT", "", "CALL", "STATUS", "TIME")


class Widths(msgspec.Struct, frozen=True, kw_only=True):
    """How wide the columns are, in cells."""

    seq: int
    at: int
    call: int
    status: int
    time: int
    bar: int
    is_short: bool
    """There is no room for the method where the target says enough."""


def draw(lines: list[Line], *, began_us: int, width: int) -> Iterator[Text]:
    """Yield the head and each line, at most *width* cells wide; times count from *began_us*."""
    for text in draw_lines(lines, began_us=began_us, width=width):
        text.truncate(width)  # of a terminal so narrow that the columns have no room
        yield text


def draw_lines(lines: list[Line], *, began_us: int, width: int) -> Iterator[Text]:
    """Yield the head and each line, as wide as their columns have to be."""
    axis, pauses = Axis(lines), find_pauses(lines)
    widths = fit(lines, began_us=began_us, width=width)
    cells = [
        head.rjust(size) if head in {"SEQ", "AT", "TIME"} else head.ljust(size)
        for head, size in zip(HEADS, (widths.seq, widths.at, 1, widths.call, widths.status, widths.time), strict=True)
    ]
    yield Text(" ".join([*cells, axis_head(axis, lines, widths.bar)]), "bold")
    for line in lines:
        if line.seq in pauses:
            yield Text(f"{'':>{widths.seq + widths.at + 4}}┄ {units.duration(pauses[line.seq])} later ┄", "dim")
        yield draw_line(line, axis, widths, began_us=began_us)


def draw_header(name: str, lines: list[list[str]], *, width: int) -> Iterator[Text]:
    """Yield what the session is: what does not fit on a line goes to the next one, what fits on none is cut."""
    for facts in lines:
        text = Text()
        for fact in facts:
            shown = console.printable(fact)
            if text and text.cell_len + len(FACT_GAP) + cell_len(shown) > width:
                yield text
                text = Text()
            text.append(FACT_GAP if text else "")
            text.append(cut(shown, min(width, cell_len(shown))), "bold" if fact is name else console.status_style(fact))
        yield text
    yield Text()


def fit(lines: list[Line], *, began_us: int, width: int) -> Widths:
    """Return column widths: calls, status and times as wide as they need, the rest for the bars."""
    seq = max([len("SEQ"), *(len(str(line.seq)) for line in lines)])
    at = max([len("AT"), *(len(offset(line.at_us - began_us)) for line in lines)])
    status = max([len("STATUS"), *(cell_len(line.status) for line in lines)])
    time = max([len("TIME"), *(len(units.duration(line.duration_us)) for line in lines)])
    room = width - seq - at - 1 - status - time - 6 * GAP
    named = [line for line in lines if line.kind != "text"]
    wanted = max([MIN_CALL, *(cell_len(label(line)) for line in named)])
    bar = min(MAX_BAR, max(MIN_BAR, int(width * BAR_SHARE), room - wanted))
    is_short = wanted > room - bar
    if is_short:
        wanted = max([MIN_CALL, *(cell_len(label(line, is_short=True)) for line in named)])
    call = max(MIN_CALL, min(wanted, room - bar))
    bar = max(0, min(MAX_BAR, room - call))
    return Widths(seq=seq, at=at, call=call, status=status, time=time, bar=bar, is_short=is_short)


def draw_line(line: Line, axis: Axis, widths: Widths, *, began_us: int) -> Text:
    """Return one line."""
    place = f"{line.seq:>{widths.seq}} {offset(line.at_us - began_us):>{widths.at}} "
    arrow = ARROWS[line.direction] or " "
    text = Text.assemble((place, "dim"), (arrow, "magenta" if line.direction == SERVER_TO_CLIENT else "cyan"), " ")
    if line.kind == "text":
        room = widths.call + widths.status + widths.time + widths.bar + 3 * GAP
        return text.append(cut(label(line), room).rstrip(), "yellow" if line.status else "italic")
    text.append(
        f"{cut(label(line, is_short=widths.is_short), widths.call)} ", "bold red" if line.kind == "gap" else look(line)
    )
    text.append(f"{cut(line.status, widths.status)} ", style(line))
    text.append(f"{units.duration(line.duration_us):>{widths.time}} ")
    text.append(bar(line, axis, widths.bar), style(line))
    text.rstrip()
    return text


def label(line: Line, *, is_short: bool = False) -> str:
    """Return what a line is called: the method with its target (short: the target alone), or what was said."""
    if line.kind == "text":
        return console.printable(f"{line.status or 'stderr'}: {line.text}")
    if line.kind == "gap":
        return "bytes missing" if line.size_bytes is None else f"{units.size(line.size_bytes)} missing"
    name = line.target if is_short and line.target else f"{line.label} {line.target}".rstrip()
    if line.kind == "tick":
        several = f" ×{len(line.marks)}" if len(line.marks) > 1 else ""
        name = f"{' ╰ ' if line.of_seq is not None else ''}{line.label.removeprefix('notifications/')}{several}"
    elif line.kind == "answer":
        name = f" ╰ answer {name}"
    return console.printable(name)


def look(line: Line) -> str:
    """Return how the name of a line looks: calls stand out."""
    return "" if line.kind == "call" else "dim"


def style(line: Line) -> str:
    """Return the colour of a line's status and bar."""
    if line.kind == "gap":
        return "red"
    return "bright_black" if line.kind == "tick" else console.status_style(line.status)


def bar(line: Line, axis: Axis, width: int) -> str:
    """Return the line on the axis, *width* cells."""
    cells = [" "] * width
    if width == 0:
        return ""
    begin = axis.place(line.at_us) * width
    first = min(int(begin), width - 1)
    if line.kind == "tick":
        for mark in line.marks:
            cells[min(int(axis.place(mark) * width), width - 1)] = TICK
    elif line.kind == "answer":
        cells[first] = TICK
    elif line.kind == "gap":
        last = min(int(axis.place(line.end_us or line.at_us) * width), width - 1)
        cells[first : last + 1] = MISSING * (last + 1 - first)
    elif line.end_us is None or line.is_listen:
        cells[first:] = DASH * (width - first)
        cells[-1] = OPEN_END if line.status == "open" else DASH
    else:
        fill(cells, begin, axis.place(line.end_us) * width)
        if line.status == "cancelled":
            cells[min(int(axis.place(line.end_us) * width), width - 1)] = CROSS
    return "".join(cells)


def fill(cells: list[str], begin: float, end: float) -> None:
    """Draw a bar to half a cell; never less than half a one."""
    first, last = round(begin * 2), round(end * 2)
    first = min(first, 2 * len(cells) - 1)
    for half in range(first, max(last, first + 1)):
        cell = half // 2
        if cell < len(cells):
            own = RIGHT_HALF if half % 2 else LEFT_HALF
            cells[cell] = own if cells[cell] == " " else WHOLE


def axis_head(axis: Axis, lines: list[Line], width: int) -> str:
    """Return what stands above the bars: how long all of it took, and that idle time is left out."""
    if not lines:
        return ""
    words = f"{units.duration(axis.end_us - lines[0].at_us)}{', idle time shortened' if axis.is_shortened else ''}"
    return words if len(words) <= width else ""


def offset(microseconds: int) -> str:
    """Return a time since the start: 1.204, 2:03.5, 1:02:03; negative where the wall clock was set back."""
    sign = "-" if microseconds < 0 else ""
    minutes, rest = divmod(abs(microseconds) // 1000, 60_000)
    hours, minutes = divmod(minutes, 60)
    if hours:
        return f"{sign}{hours}:{minutes:02}:{rest // 1000:02}"
    if minutes:
        return f"{sign}{minutes}:{rest // 1000:02}.{rest % 1000 // 100}"
    return f"{sign}{rest // 1000}.{rest % 1000:03}"
