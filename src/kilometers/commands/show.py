"""`km show`: a session's timeline, or one event with its payload."""

import json

from kilometers import console
from kilometers.commands.events import ARROWS, print_wires
from kilometers.commands.events import row as event_row
from kilometers.commands.events import status as event_status
from kilometers.commands.reading import open_store
from kilometers.commands.sessions import status
from kilometers.core.event import Event, decode
from kilometers.core.session_id import short_id
from kilometers.core.summary import SessionSummary
from kilometers.queries import EventFilter, StoreReader

BAR_WIDTH = 24
COLUMNS = ("SEQ", "AT", "", "METHOD", "TARGET", "STATUS", "TIME", "BAR")


def run(place: str | None, *, limit: int | None = None, is_full: bool = False, as_json: bool) -> None:
    """Show SESSION or SESSION:SEQ."""
    session, colon, seq = (place or "").rpartition(":")
    is_event = bool(colon) and seq.isascii() and seq.isdigit()
    store = open_store()
    number, summary = store.find_session((session if is_event else place) or None)
    if as_json:
        print_wires(iter([store.event(number, int(seq))]) if is_event else store.events(number, EventFilter()))
    elif is_event:
        show_event(decode(store.event(number, int(seq))))
    else:
        show_timeline(store, number, summary)


def show_event(event: Event) -> None:
    """Print one event: its facts, then its payload, indented."""
    for name, cell in zip(
        ("seq", "at", "", "kind", "method", "target", "status", "time", "size"), event_row(event)[1:], strict=True
    ):
        if cell and name:
            console.write_line(f"{name:<8} {console.printable(cell)}")
    console.write_line(f"payload  {event.payload_state or 'none'}")
    if event.payload is not None:
        console.write_line(indented(bytes(event.payload)))


def indented(payload: bytes) -> str:
    """Return JSON indented; as it stands where Python cannot read it (very deep, or a number of 4,300 digits)."""
    try:
        text = json.dumps(json.loads(payload), indent=2, ensure_ascii=False)
    except (ValueError, RecursionError):
        text = payload.decode("utf-8", "replace")
    return "\n".join(console.printable(line) for line in text.split("\n")) if console.is_terminal() else text


def show_timeline(store: StoreReader, number: int, summary: SessionSummary) -> None:
    """Print what the session is, then its calls with bars, notifications, gaps and stderr in their order."""
    command = " ".join(summary.command)
    parties = [f"{party.name} {party.version}".strip() for party in (summary.client, summary.server) if party]
    counts = (summary.calls, summary.errors, summary.unanswered, summary.gaps, summary.events)
    for line in (
        f"{summary.name}  {short_id(summary.session_id)}  {status(summary)}  {command}",
        f"{' ⇄ '.join(parties)}  MCP {summary.protocol_version or '?'}".strip(),
        "{} calls, {} errors, {} unanswered, {} gaps, {} events".format(*counts),
    ):
        console.write_line(console.printable(line))
    events = [without_payload(decode(wire)) for wire in store.events(number, EventFilter())]
    console.print_rows(COLUMNS, timeline(events))


def without_payload(event: Event) -> Event:
    """Let go of the payload, which a timeline does not show: a session may hold gigabytes."""
    event.payload = None
    return event


def timeline(events: list[Event]) -> list[tuple[str, ...]]:
    """Return a row for each call, at its request, with its answer's status and time; and for each other event."""
    answers = {
        event.call_seq: event
        for event in events
        if event.call_seq is not None
        and event.duration_us is not None
        and event.kind in {"response", "error", "notification"}
    }
    longest_us = max((event.duration_us or 0 for event in answers.values()), default=0)
    rows: list[tuple[str, ...]] = []
    for event in events:
        if event.kind in {"response", "error"} and event.call_seq in answers:
            continue
        answer = answers.get(event.seq) if event.kind == "request" else None
        is_unanswered = event.kind == "request" and answer is None
        duration_us = answer.duration_us if answer else None
        rows.append(
            (
                str(event.seq),
                console.clock(event.at),
                ARROWS[event.direction],
                event.method or event.kind,
                event.target or "",
                "unanswered" if is_unanswered else event_status(answer or event),
                console.duration(duration_us),
                bar(duration_us, longest_us),
            )
        )
    return rows


def bar(duration_us: int | None, longest_us: int) -> str:
    """Return a bar as long as the call took, compared with the session's longest."""
    if duration_us is None or longest_us == 0:
        return ""
    return "▇" * max(1, round(BAR_WIDTH * duration_us / longest_us))
