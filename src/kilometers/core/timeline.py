"""The timeline of a session: its events as lines, calls with their ends, and where everything is on a time axis.

    request … answer          one line: a bar from the request to what ended it (answer, error, cancellation)
    request …                 one line: a bar without an end; unanswered, or still open while the session lives
    notification              one line: a tick; the same one again and again about the same call is one line of ticks
    answer without a request  one line: the request lies before what is shown, there was none, or it came too late
    gap · stderr · no message one line each

The axis leaves out what is idle: time in which nothing happens and no call is open is drawn as a short break.
Pure.  Counterpart: commands/timeline.py, which draws it.
"""

from collections import defaultdict
from typing import Literal

import msgspec

from kilometers.core.event import Direction, Event, microseconds
from kilometers.core.pairing import LISTEN

PAUSE_US = 5_000_000  # from here on a break is a line of its own
BREAK_SHARE = 0.03  # of the busy time: how wide a break is drawn
MIN_BREAK_US = 100

LineKind = Literal["call", "answer", "tick", "gap", "text"]


class Line(msgspec.Struct, kw_only=True):
    """One line; times in µs since the epoch.

    *end_us* is None where nothing ended it: a call nobody answered, or one that is open.  *marks*: when a tick's
    notifications came.  *text*: what stderr said, or what was no message.  *size_bytes*: what a gap misses, if known.
    """

    seq: int
    kind: LineKind
    at_us: int
    direction: Direction | None
    label: str
    target: str = ""
    status: str = ""
    duration_us: int | None = None
    end_us: int | None = None
    marks: list[int] = []
    of_seq: int | None = None
    text: str = ""
    size_bytes: int | None = None

    @property
    def is_listen(self) -> bool:
        """Whether it is open for as long as the client listens, and says nothing about how busy the session is."""
        return self.label == LISTEN


def make_lines(events: list[Event], endings: dict[int, Event], *, is_living: bool) -> list[Line]:
    """Return a line for each of *events*, whose *endings* `find_endings` found in them and in what comes after."""
    ended_by = {event.seq for event in endings.values()}
    lines: list[Line] = []
    for event in events:
        if event.seq in ended_by and event.kind != "notification":
            continue
        lines.append(_line(event, endings.get(event.seq), is_living=is_living))
    return lines


def merge_ticks(lines: list[Line]) -> list[Line]:
    """Return the lines, of the same notifications about the same call, one after the other, only one with all marks."""
    merged: list[Line] = []
    for line in lines:
        if merged and _is_same_tick(merged[-1], line):
            merged[-1].marks += line.marks
        else:
            merged.append(line)
    return merged


def find_endings(events: list[Event]) -> dict[int, Event]:
    """Return what ended each request, by the request's seq: the first answer to it, or its cancellation.

    What has the same `call_seq` belongs together: one request, or the rounds of a call; the id says which of them.
    """
    open_requests: dict[int, list[Event]] = defaultdict(list)
    endings: dict[int, Event] = {}
    for event in events:
        waiting = open_requests[chain_of(event)]
        if event.kind == "request":
            waiting.append(event)
        elif event.duration_us is not None:
            # A peer may write the id 1 as "1".
            same_id = [request for request in waiting if _plain_id(request) == _plain_id(event)]
            for request in same_id or [request for request in waiting if request.seq == event.call_seq]:
                waiting.remove(request)
                endings[request.seq] = event
                break
    return endings


def _plain_id(event: Event) -> str:
    return (event.request_id or "").strip('"')


def chain_of(event: Event) -> int:
    """Return the seq of the request with which an event's call began."""
    return event.seq if event.call_seq is None else event.call_seq


def _line(event: Event, ending: Event | None, *, is_living: bool) -> Line:
    at_us = microseconds(event.at)
    line = Line(
        seq=event.seq,
        kind="tick",
        at_us=at_us,
        direction=event.direction,
        label=event.method or event.kind,
        target=event.target or "",
        of_seq=event.call_seq,
        status=status_of(event),
    )
    match event.kind:
        case "request":
            line.kind = "call"
            line.status = "open" if is_living or event.method == LISTEN else "unanswered"
            if ending is not None:
                line.status = status_of(ending)
                line.duration_us = ending.duration_us
                line.end_us = at_us + (ending.duration_us or 0)
        case "response" | "error":
            line.kind, line.duration_us = "answer", event.duration_us
        case "gap":
            line.kind = "gap"
            line.size_bytes = event.gap.bytes if event.gap else None
            line.end_us = microseconds(event.gap.until) if event.gap and event.gap.until else at_us
        case "log" | "undecodable":
            line.kind, line.text = "text", text_of_payload(event)
        case _:
            line.marks = [at_us]
            line.status = ""  # a cancellation's is said at its call
    return line


def _is_same_tick(before: Line, line: Line) -> bool:
    return (
        before.kind == line.kind == "tick"
        and line.of_seq is not None
        and (before.label, before.of_seq, before.direction) == (line.label, line.of_seq, line.direction)
    )


def status_of(event: Event) -> str:
    """Return how an event ended its call, why it is no message, or why bytes are missing."""
    if event.gap is not None:
        return event.gap.reason
    if event.error_code is not None:
        return f"{event.status} {event.error_code}"
    return event.status or event.reason or ""


def text_of_payload(event: Event) -> str:
    """Return what stderr said, or the beginning of what was no message; both are kept as JSON strings."""
    if event.payload is None:
        return ""
    try:
        return msgspec.json.decode(event.payload, type=str).rstrip("\r\n")
    except (msgspec.MsgspecError, UnicodeDecodeError):
        return ""


class Axis:
    """Where a time is between 0 and 1, idle time shortened."""

    def __init__(self, lines: list[Line]) -> None:
        spans = sorted(_spans(lines)) or [(0, 0)]
        self._begins = spans[0][0]
        busy_us, breaks, end_us = 0, [], spans[0][0]
        for begin_us, until_us in spans:
            if begin_us > end_us:
                breaks.append((end_us, begin_us))
            busy_us += max(0, until_us - max(end_us, begin_us))
            end_us = max(end_us, until_us)
        self.end_us = end_us
        longest_us = max(MIN_BREAK_US, int(busy_us * BREAK_SHARE))
        self._breaks = [(begin, until, (until - begin) - longest_us) for begin, until in breaks]
        self._breaks = [one for one in self._breaks if one[2] > 0]
        self.is_shortened = bool(self._breaks)
        self._length = max(1, self._place(end_us))

    def place(self, at_us: int) -> float:
        """Return where a time is, 0 ≤ place ≤ 1."""
        return min(1.0, max(0.0, self._place(at_us) / self._length))

    def _place(self, at_us: int) -> int:
        left_out = 0
        for begin_us, until_us, too_long_us in self._breaks:
            if at_us <= begin_us:
                break
            left_out += min(too_long_us, (at_us - begin_us) * too_long_us // (until_us - begin_us))
        return at_us - self._begins - left_out


def _spans(lines: list[Line]) -> list[tuple[int, int]]:
    """Return when something happened: calls with an end for as long as they took, anything else for a moment."""
    spans = []
    for line in lines:
        has_length = line.end_us is not None and not line.is_listen
        spans.append((line.at_us, line.end_us if has_length and line.end_us is not None else line.at_us))
        spans += [(mark, mark) for mark in line.marks]
    return spans


def find_pauses(lines: list[Line]) -> dict[int, int]:
    """Return before which lines (by seq) nothing happened for PAUSE_US or longer, and for how many µs."""
    pauses, busy_until_us = {}, lines[0].at_us if lines else 0
    for line in lines:
        if line.at_us - busy_until_us >= PAUSE_US:
            pauses[line.seq] = line.at_us - busy_until_us
        end_us = line.end_us if line.end_us is not None and not line.is_listen else line.at_us
        busy_until_us = max(busy_until_us, end_us, *line.marks)
    return pauses
