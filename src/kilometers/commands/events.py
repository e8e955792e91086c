"""`km events`: list events of one session or of all."""

import sys
from collections.abc import Iterable, Iterator

from kilometers import console
from kilometers.commands.reading import open_store
from kilometers.core import units
from kilometers.core.event import ARROWS, Event, at_time, decode
from kilometers.core.session_id import short_id
from kilometers.core.timeline import status_of, text_of_payload
from kilometers.queries import EventFilter

TERMINAL_LIMIT = 100


def run(session: str | None, wanted: EventFilter, *, limit: int | None, with_all: bool, as_json: bool) -> None:
    """Print the events: in their order; with --search newest first, each as soon as it is found."""
    store = open_store()
    number = None if with_all and not session else store.find_session(session or None)[0]
    progress = console.ProgressLine()
    store.on_page = lambda at_us: progress.say(f"searching… back to {console.clock(at_time(at_us * 1000))}")
    is_search, is_page = wanted.search is not None, limit is None and console.is_drawn() and not as_json
    if is_page:
        limit = TERMINAL_LIMIT
    # Of a limited list the newest are wanted, so it has to be read backwards.
    is_backwards = is_search or limit is not None
    wires: Iterable[bytes] = store.events(number, wanted, limit=limit, newest_first=is_backwards)
    if is_backwards:
        wires = progress.cleared_before(wires) if is_search else list(wires)[::-1]
        progress.clear()
    printed = print_wires(wires, at_once=is_search) if as_json else print_events(wires, has_sessions=number is None)
    progress.clear()
    if is_page and printed == limit:
        console.say(f"The last {limit} events; more: --limit N")
    elif not printed and console.is_drawn():
        console.say("No such event.")


def print_events(wires: Iterable[bytes], *, has_sessions: bool, has_head: bool = True) -> int:
    """Print each event at once, as a search may take a while; return how many there were."""
    printed = 0

    def counted() -> Iterator[Event]:
        nonlocal printed
        for wire in wires:
            printed += 1
            yield decode(wire)

    if console.is_drawn():
        from kilometers import drawing
        from kilometers.commands import event_lines

        drawing.write(event_lines.draw(counted(), has_sessions=has_sessions, has_head=has_head))
        return printed
    for event in counted():
        console.print_row(event_cells(event))
    return printed


def print_wires(wires: Iterable[bytes], *, at_once: bool = False) -> int:
    """Print events as they stand in the store, one per line; return how many there were."""
    printed = 0
    for wire in wires:
        printed += 1
        console.write_wire(wire)
        if at_once:
            sys.stdout.buffer.flush()
    return printed


def event_cells(event: Event) -> tuple[str, ...]:
    """Return an event's cells; what stderr said, or what was no message, stands as the target."""
    return (
        short_id(event.session_id),
        str(event.seq),
        console.clock(event.at, is_exact=True),
        ARROWS[event.direction],
        event.kind,
        event.method or "",
        event.target or (text_of_payload(event) if event.kind in {"log", "undecodable"} else ""),
        status(event),
        units.duration(event.duration_us),
        units.size(event.size_bytes),
    )


def status(event: Event) -> str:
    """Return what the status column says: also why something is no message, and what a gap is."""
    if event.gap is not None:
        missing = "unknown size" if event.gap.bytes is None else units.size(event.gap.bytes)
        return f"gap {missing} {event.gap.reason}"
    return status_of(event)
