"""Drawing events on a terminal one after the other, as they come: in columns that are fixed beforehand."""

from rich.text import Text

from kilometers import console
from kilometers.commands.events import ARROWS
from kilometers.commands.timeline import label, look, style
from kilometers.core.event import SERVER_TO_CLIENT, Event
from kilometers.core.session_id import short_id
from kilometers.core.timeline import make_lines
from kilometers.drawing import cut

SEQ, AT, STATUS, TIME, SIZE = 5, 8, 14, 7, 7
SIZE_FROM = 100  # columns: below, there is no room for it


def draw(event: Event) -> Text:
    """Return one event as a line, as wide as the terminal at most."""
    width = console.width()
    line = make_lines([event], {}, is_living=True)[0]
    if line.kind == "call":
        line.status = ""  # it has only just been asked
    place = f"{short_id(event.session_id)} {event.seq:>{SEQ}} {console.clock(event.at)[-AT:]} "
    arrow = (ARROWS[event.direction] or " ", "magenta" if event.direction == SERVER_TO_CLIENT else "cyan")
    text = Text.assemble((place, "dim"), arrow, " ")
    room = width - text.cell_len
    if line.kind == "text":
        return text.append(cut(label(line), room).rstrip(), "yellow" if line.status else "italic")
    facts = f" {cut(line.status, STATUS)} {console.duration(line.duration_us):>{TIME}}"
    if width >= SIZE_FROM:
        facts += f" {console.size(event.size_bytes):>{SIZE}}"
    text.append(
        cut(label(line, is_short=width < SIZE_FROM), room - len(facts)),
        "bold red" if line.kind == "gap" else look(line),
    )
    text.append(facts, style(line))
    text.rstrip()
    return text
