"""`km show`: a session's timeline, or one event with its payload."""

from collections.abc import Iterator

import msgspec

from kilometers import console, tables
from kilometers.commands.events import event_cells, print_wires
from kilometers.commands.reading import open_store
from kilometers.commands.sessions import session_status
from kilometers.core import units
from kilometers.core.event import ARROWS, Event, decode, microseconds
from kilometers.core.outline import UNFOLDED, Limits
from kilometers.core.session_id import short_id
from kilometers.core.summary import SessionSummary
from kilometers.core.timeline import Line, chain_of, find_endings, make_lines, merge_ticks, status_of
from kilometers.queries import EventFilter, StoreReader

TERMINAL_LIMIT = 200
PAGE_EVENTS = 5_000  # drawn together, with an axis of their own


def run(place: str | None, *, limit: int | None = None, is_full: bool = False, as_json: bool = False) -> None:
    """Show SESSION or SESSION:SEQ."""
    store = open_store()
    session, colon, seq = (place or "").rpartition(":")
    is_name = bool(colon) and place in store.names()  # of an image, with its tag
    is_event = bool(colon) and seq.isascii() and seq.isdigit() and not is_name
    number, summary = store.find_session((session if is_event else place) or None)
    if is_event:
        wire = store.event(number, int(seq))
        if as_json:
            print_wires(iter([wire]))
        else:
            show_event(store, number, decode(wire), is_full=is_full)
        return
    end_seq = store.end_seq(number)
    if limit is None and not is_full and not as_json and console.is_drawn():
        limit = TERMINAL_LIMIT
    first_seq = 0 if limit is None else max(0, end_seq - limit)
    if as_json:
        print_wires(store.events(number, EventFilter(), first_seq=first_seq, end_seq=end_seq))
    else:
        show_timeline(store, number, summary, range(first_seq, end_seq))


def show_timeline(store: StoreReader, number: int, summary: SessionSummary, seqs: range) -> None:
    """Print what the session is, then its calls with bars, notifications, gaps and stderr in their order."""
    pages = read_pages(store, number, seqs, is_living=summary.ended_at is None)
    if not console.is_drawn():
        for facts in header(summary):
            console.write_line(console.printable("  ".join(facts)))
        for lines in pages:
            tables.print_rows((), (row(line, summary) for line in lines))
        return
    from kilometers import drawing
    from kilometers.commands import timeline

    began_us = microseconds(summary.started_at) if summary.started_at else 0
    drawing.write(timeline.draw_header(summary.name, header(summary), width=console.width()))
    if seqs.start > 0:
        console.say(f"… {seqs.start:,} earlier events; all of them: --full")
    for lines in pages:
        drawing.write(timeline.draw(merge_ticks(lines), began_us=began_us, width=console.width()))


def read_pages(store: StoreReader, number: int, seqs: range, *, is_living: bool) -> Iterator[list[Line]]:
    """Yield the lines of a session, PAGE_EVENTS events at a time: a session may hold millions."""
    answered: set[int] = set()
    for first_seq in range(seqs.start, seqs.stop, PAGE_EVENTS):
        page = range(first_seq, min(first_seq + PAGE_EVENTS, seqs.stop))
        wires = store.events(number, EventFilter(), first_seq=page.start, end_seq=page.stop)
        events = [event for event in map(decode_for_timeline, wires) if event.seq not in answered]
        chains = [chain_of(event) for event in events if event.kind == "request"]
        wanted = range(min(chains, default=page.stop), page.stop)
        later = [decode_for_timeline(wire) for wire in store.endings(number, wanted, after_seq=page.stop)]
        endings = find_endings([*events, *later])
        ended_by = {event.seq for event in endings.values() if event.kind != "notification"}
        answered = {seq for seq in answered | ended_by if seq >= page.stop}
        yield make_lines(events, endings, is_living=is_living)


def decode_for_timeline(wire: bytes) -> Event:
    """Return an event; without its payload where a timeline does not show it: a session may hold gigabytes."""
    event = decode(wire)
    if event.kind not in {"log", "undecodable"}:
        event.payload = None
    return event


def show_event(store: StoreReader, number: int, event: Event, *, is_full: bool) -> None:
    """Print one event: its facts, what it belongs to, then its payload."""
    for name, value in facts(store, number, event):
        console.write_line(f"{name:<9} {console.printable(value)}")
    if event.payload is None:
        return
    if not console.is_drawn():
        console.write_line(indented(bytes(event.payload)))
        return
    from kilometers import drawing

    console.write_line("")
    lines, is_folded = drawing.draw_json(bytes(event.payload), UNFOLDED if is_full else Limits())
    drawing.write(lines)
    if is_folded and not is_full:
        console.say("Folded; everything: --full")


def indented(payload: bytes) -> str:
    """Return JSON indented, each value as it was written; as it stands where it is too deep to be read."""
    try:
        return msgspec.json.format(payload, indent=2).decode("utf-8", "replace")
    except (msgspec.MsgspecError, RecursionError):
        return payload.decode("utf-8", "replace")


def facts(store: StoreReader, number: int, event: Event) -> Iterator[tuple[str, str]]:
    """Yield what is known of an event, as names and values."""
    names = ("", "seq", "at", "", "kind", "method", "target", "status", "took", "size")
    yield "session", event.session_id
    cells = dict(zip(names, event_cells(event), strict=True))
    cells["target"] = event.target or ""  # what stderr said is the payload
    yield from ((name, cell) for name, cell in cells.items() if name and cell)
    if event.direction:
        yield "direction", event.direction.replace("_", " ")
    if event.request_id is not None:
        yield "id", event.request_id
    if event.call_seq is not None:
        yield "call", f"its request is :{event.call_seq}"
    if event.kind == "request":
        calls = range(chain_of(event), chain_of(event) + 1)
        wires = store.endings(number, calls, after_seq=event.seq)
        ending = find_endings([event, *map(decode_for_timeline, wires)]).get(event.seq)
        yield (
            "answer",
            f":{ending.seq}, {status_of(ending)} after {units.duration(ending.duration_us)}" if ending else "none",
        )
    if event.payload_state not in {None, "full"}:
        yield "payload", f"{event.payload_state}{f', SHA-256 {event.sha256}' if event.sha256 else ''}"


def header(summary: SessionSummary) -> list[list[str]]:
    """Return what the session is: facts that belong together on a line."""
    parties = [f"{party.name} {party.version}".strip() for party in (summary.client, summary.server) if party]
    took = ""
    if summary.started_at and summary.ended_at:
        took_us = microseconds(summary.ended_at) - microseconds(summary.started_at)
        took = units.duration(took_us) if took_us >= 0 else ""  # the clock was set back
    counts = [
        units.count(summary.calls, "call") if summary.calls else "",
        units.count(summary.errors, "error") if summary.errors else "",
        f"{summary.unanswered:,} unanswered" if summary.unanswered else "",
        units.count(summary.gaps, "gap") if summary.gaps else "",
        units.count(summary.events, "event"),
    ]
    lines = [
        [summary.name, short_id(summary.session_id), session_status(summary), " ".join(summary.command)],
        [" ⇄ ".join(parties), f"MCP {summary.protocol_version or '?'}", console.clock(summary.started_at), took],
        counts,
    ]
    return [[fact for fact in facts if fact] for facts in lines]


def row(line: Line, summary: SessionSummary) -> tuple[str, ...]:
    """Return a line's cells, for programs; the second is the time since the start, in s."""
    began_us = microseconds(summary.started_at) if summary.started_at else line.at_us
    return (
        str(line.seq),
        f"{(line.at_us - began_us) / 1e6:.6f}",
        ARROWS[line.direction],
        line.label,
        line.target or line.text,
        line.status,
        units.duration(line.duration_us),
    )
