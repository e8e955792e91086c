"""`km events`: list events of one session or of all."""

import sys
from collections.abc import Iterable, Iterator

from kilometers import console
from kilometers.commands.reading import open_store
from kilometers.core.event import CLIENT_TO_SERVER, SERVER_TO_CLIENT, Event, decode
from kilometers.core.session_id import short_id
from kilometers.core.timeline import status_of, text_of_payload
from kilometers.queries import EventFilter

COLUMNS = ("SESSION", "SEQ", "AT", "", "KIND", "METHOD", "TARGET", "STATUS", "TIME", "SIZE")
ARROWS = {CLIENT_TO_SERVER: "→", SERVER_TO_CLIENT: "←", None: ""}
TERMINAL_LIMIT = 100


def run(session: str | None, wanted: EventFilter, *, limit: int | None, with_all: bool, as_json: bool) -> None:
    """Print the events: in their order; with --search newest first, each as soon as it is found."""
    store = open_store()
    number = None if with_all and session is None else store.find_session(session)[0]
    is_search = wanted.search is not None
    if limit is None and console.is_terminal() and not as_json:
        limit = TERMINAL_LIMIT
    # Of a limited list the newest are wanted, so it has to be read backwards.
    found = store.events(
        number,
        wanted,
        limit=limit,
        newest_first=is_search or limit is not None,
    )
    if limit is not None and not is_search:
        found = iter(list(found)[::-1])
    if as_json:
        print_wires(found, is_search=is_search)
    elif is_search:
        print_as_found(found)
    else:
        console.print_rows(COLUMNS, (row(decode(wire)) for wire in found))


def print_as_found(found: Iterator[bytes]) -> None:
    """Print each event at once: a search may take a while."""
    if console.is_terminal():
        from kilometers import drawing
        from kilometers.commands import event_lines

        drawing.write(event_lines.draw(decode(wire)) for wire in found)
        return
    for wire in found:
        console.print_rows((), [row(decode(wire))])
        sys.stdout.buffer.flush()


def print_wires(found: Iterable[bytes], *, is_search: bool = False) -> None:
    """Print events as they stand in the store, one per line; of a search each at once."""
    for wire in found:
        sys.stdout.buffer.write(wire + b"\n")
        if is_search:
            sys.stdout.buffer.flush()


def row(event: Event) -> tuple[str, ...]:
    """Return an event's cells; what stderr said, or what was no message, stands as the target."""
    return (
        short_id(event.session_id),
        str(event.seq),
        console.clock(event.at),
        ARROWS[event.direction],
        event.kind,
        event.method or "",
        event.target or (text_of_payload(event) if event.kind in {"log", "undecodable"} else ""),
        status(event),
        console.duration(event.duration_us),
        console.size(event.size_bytes),
    )


def status(event: Event) -> str:
    """Return what the status column says: also why something is no message, and what a gap is."""
    if event.gap is not None:
        missing = "unknown size" if event.gap.bytes is None else console.size(event.gap.bytes)
        return f"gap {missing} {event.gap.reason}"
    return status_of(event)
