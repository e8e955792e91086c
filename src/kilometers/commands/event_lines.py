"""Drawing events on a terminal one after the other, as they are found: in columns that are fixed beforehand."""

from collections.abc import Iterable, Iterator

from rich.text import Text

from kilometers import console
from kilometers.commands.timeline import MIN_CALL, label, look, style
from kilometers.core import units
from kilometers.core.event import ARROWS, SERVER_TO_CLIENT, Event
from kilometers.core.session_id import short_id
from kilometers.core.timeline import make_lines
from kilometers.drawing import cut

SEQ, AT, STATUS, TIME, SIZE = 5, 15, 14, 7, 7
SIZE_FROM = 100  # columns: below, there is no room for it


def draw(events: Iterable[Event], *, has_sessions: bool, has_head: bool) -> Iterator[Text]:
    """Yield each event as a line, as wide as the terminal at most, behind a head if there are any.

    *has_sessions*: they are of several sessions.
    """
    for number, event in enumerate(events):
        if has_head and number == 0:
            yield head(has_sessions=has_sessions)
        yield draw_event(event, width=console.width(), has_session=has_sessions)


def head(*, has_sessions: bool) -> Text:
    """Return what stands above the columns."""
    place = f"{'SESSION  ' if has_sessions else ''}{'SEQ':>{SEQ}} {'AT':>{AT}}   CALL"
    facts = f" {'STATUS':<{STATUS}} {'TIME':>{TIME}}{size_cell('SIZE', console.width())}"
    text = Text(place + facts.rjust(console.width() - len(place)), "bold")
    text.truncate(console.width())
    return text


def draw_event(event: Event, *, width: int, has_session: bool) -> Text:
    """Return one event as a line."""
    line = make_lines([event], {}, is_living=True)[0]
    if line.kind == "call":
        line.status = ""  # it has only just been asked
    session = f"{short_id(event.session_id)} " if has_session else ""
    place = f"{session}{event.seq:>{SEQ}} {console.clock(event.at, is_exact=True):>{AT}} "
    arrow = (ARROWS[event.direction] or " ", "magenta" if event.direction == SERVER_TO_CLIENT else "cyan")
    text = Text.assemble((place, "dim"), arrow, " ")
    room = max(1, width - text.cell_len)
    if line.kind == "text":
        text.append(cut(label(line), room).rstrip(), "yellow" if line.status else "italic")
        text.truncate(width)
        return text
    facts = f" {cut(line.status, STATUS)} {units.duration(line.duration_us):>{TIME}}"
    facts += size_cell(units.size(event.size_bytes), width)
    if len(facts) + MIN_CALL > room:
        facts = f" {line.status}".rstrip()
    name = cut(label(line, is_short=width < SIZE_FROM), max(MIN_CALL, room - len(facts)))
    text.append(name, "bold red" if line.kind == "gap" else look(line))
    text.append(facts, style(line))
    text.rstrip()
    text.truncate(width)
    return text


def size_cell(size: str, width: int) -> str:
    """Return the last column, where the terminal has room for it."""
    return f" {size:>{SIZE}}" if width >= SIZE_FROM else ""
