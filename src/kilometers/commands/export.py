"""`km export`: events as JSON lines or CSV, session by session, however many there are.

JSON lines are the events as they stand in the store.  CSV is RFC 4180 in UTF-8: a header line, CRLF, one line for each
event with its session's name beside it.  Text that a spreadsheet would run as a formula gets a leading apostrophe: it
comes from the wire.  `client` and `protocol_version` are the message's own where it says them, else the session's.

FILE is whole or not there: it is written as FILE.part, which is private, since it holds what was said.
"""

import csv
import os
import re
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import BinaryIO

from kilometers import console
from kilometers.commands.reading import open_store
from kilometers.core import units
from kilometers.core.event import Event, decode
from kilometers.core.summary import SessionSummary
from kilometers.errors import KilometersError
from kilometers.queries import NO_LIMIT, PAGE_ROWS, EventFilter, StoreReader, read_summary
from kilometers.signals import leaving_on_signals
from kilometers.store import SEQ_BITS

FORMATS = ("jsonl", "csv")
COLUMNS = (
    *("session_id", "server", "client", "seq", "at", "direction", "kind", "method", "target", "request_id"),
    *("call_seq", "status", "error_code", "duration_us", "size_bytes", "reason", "gap_bytes", "gap_reason"),
    *("protocol_version", "trace_id", "payload_state", "payload"),
)
FORMULA_STARTS = frozenset("=+-@\t\r\n＝＋－＠")  # OWASP, "CSV Injection": the full-width ones count too
NUMBER = re.compile(r"[+-]?[0-9]+(\.[0-9]+)?([eE][+-]?[0-9]+)?")
SAY_EVERY = 64  # events: looking at the clock after each would cost a tenth
SECONDS_UP_TO = 120

FoundSession = tuple[int, SessionSummary]


def run(session: str | None, wanted: EventFilter, *, form: str | None, output: str | None) -> None:
    """Write the wanted events of one session, or of all in the order of their start; as FILE's ending says."""
    path = None if output == "-" else output
    form = form or ("csv" if (path or "").lower().endswith(".csv") else "jsonl")
    if path is not None:
        refuse(path)
    store = open_store()
    chosen = None if session is None else store.find_session(session)

    def found() -> Iterator[FoundSession]:
        return sessions_in_order(store, wanted.since_us) if chosen is None else iter([chosen])

    has_person = sys.stderr is not None and sys.stderr.isatty() and (path is not None or not console.is_terminal())
    progress = Progress(sum(summary.events for _, summary in found()) if has_person else 0, is_shown=has_person)
    with open_output(path) as write:
        try:
            write_events(store, found(), wanted, form, write, progress)
        finally:
            progress.clear()
    if has_person or path is not None:
        console.say(progress.summary())


def write_events(
    store: StoreReader,
    sessions: Iterator[FoundSession],
    wanted: EventFilter,
    form: str,
    write: Callable[[bytes], object],
    progress: "Progress",
) -> None:
    """Write what there was of each session when it was found: a busy one would be written for as long as it lives."""
    if form == "csv":
        write(csv_line(COLUMNS))
    for number, summary in sessions:
        line_of = csv_lines(summary) if form == "csv" else json_line
        for wire in store.events(number, wanted, end_seq=summary.events):
            line = line_of(wire)
            write(line)
            progress.add(len(line), wire)
        progress.end_session(summary.events)


def sessions_in_order(store: StoreReader, since_us: int | None) -> Iterator[FoundSession]:
    """Yield (session_no, summary) in the order of their start, probes too; only those with events since *since_us*."""
    after = (-NO_LIMIT, 0)
    while True:
        page = store.rows(
            "SELECT started_at_us, session_no, summary FROM sessions"
            " WHERE (started_at_us, session_no) > (:at_us, :number) AND summary <> x'' AND (:since_us IS NULL"
            " OR session_no IN (SELECT event_id >> :seq_bits FROM events WHERE at_us >= :since_us))"
            " ORDER BY started_at_us, session_no LIMIT :page",
            {"at_us": after[0], "number": after[1], "since_us": since_us, "seq_bits": SEQ_BITS, "page": PAGE_ROWS},
        )
        for _, number, summary in page:
            yield number, read_summary(summary)
        if len(page) < PAGE_ROWS:
            return
        after = page[-1][:2]


def json_line(wire: bytes) -> bytes:
    """Return an event as it stands in the store."""
    return wire + b"\n"


def csv_lines(session: SessionSummary) -> Callable[[bytes], bytes]:
    """Return what makes a line of CSV from a wire form of *session*."""
    return lambda wire: csv_line(row(decode(wire), session))


def csv_line(cells: tuple[object, ...]) -> bytes:
    """Return cells as a line of CSV, in valid UTF-8 whatever they hold."""
    line: str = _csv_writer.writerow([safe(cell) if isinstance(cell, str) else cell for cell in cells])
    return line.encode("utf-8", "backslashreplace")


class _Returned:
    """What csv.writer writes to: writerow returns what `write` does."""

    def write(self, line: str) -> str:
        return line


_csv_writer = csv.writer(_Returned())


def row(event: Event, session: SessionSummary) -> tuple[object, ...]:
    """Return an event's cells; None is empty."""
    client = event.client or session.client
    return (
        event.session_id,
        session.name,
        f"{client.name} {client.version}".strip() if client else None,
        event.seq,
        event.at.replace(tzinfo=None).isoformat(timespec="microseconds") + "Z",
        event.direction,
        event.kind,
        event.method,
        event.target,
        event.request_id,
        event.call_seq,
        event.status,
        event.error_code,
        event.duration_us,
        event.size_bytes,
        event.reason,
        event.gap.bytes if event.gap else None,
        event.gap.reason if event.gap else None,
        event.protocol_version or session.protocol_version,
        event.trace_id,
        event.payload_state,
        bytes(event.payload).decode("utf-8", "replace") if event.payload is not None else None,
    )


def safe(text: str) -> str:
    """Return a cell that no spreadsheet runs: what begins like a formula gets an apostrophe, unless it is a number."""
    return f"'{text}" if text[:1] in FORMULA_STARTS and not NUMBER.fullmatch(text) else text


def refuse(path: str) -> None:
    """Raise KilometersError for a FILE that is there, or could be none."""
    if os.path.isdir(path):
        raise KilometersError(f'"{path}" is a folder.', "Name a file in it.")
    if os.path.lexists(path):
        raise KilometersError(f'"{path}" is already there.', "Choose another name, or remove it first.")
    if not os.path.basename(path):
        raise KilometersError(f'"{path}" is no name of a file.', "Use: -o FILE")


@contextmanager
def open_output(path: str | None) -> Iterator[Callable[[bytes], object]]:
    """Yield what writes: to standard output, or to FILE.part, which becomes FILE or goes."""
    if path is None:
        yield write_printable if console.is_terminal() else sys.stdout.buffer.write
        sys.stdout.flush()
        return
    part = f"{path}.part"
    try:
        with leaving_on_signals():
            file = open_part(part)
            try:
                with file:
                    yield file.write
                    file.flush()
                    os.fsync(file.fileno())  # some file systems say only here that there was no room
                refuse(path)
                os.rename(part, path)
            except BaseException:
                os.unlink(part)
                raise
    except OSError as error:
        raise KilometersError(
            f'cannot write "{path}": {error.strerror}.', "Nothing was left there; choose another place with -o."
        ) from error


def open_part(part: str) -> BinaryIO:
    """Make *part*, which only its owner may read.  Raises KilometersError where it is there already."""
    try:
        return open(part, "xb", opener=lambda name, flags: os.open(name, flags, 0o600))
    except FileExistsError as error:
        raise KilometersError(
            f'"{part}" is already there: an export may be writing it.', "If none is, remove it."
        ) from error


def write_printable(line: bytes) -> None:
    """Write a line to a terminal, without what would move its cursor."""
    console.write_line(console.printable(line.decode("utf-8", "replace").rstrip("\r\n")))


class Progress:
    """What has been written, and of how much; a person is shown it from time to time, until it is cleared."""

    def __init__(self, total_events: int, *, is_shown: bool) -> None:
        self.total_events = total_events
        self.events = 0
        self.sessions = 0
        self.size_bytes = 0
        self._line = console.ProgressLine() if is_shown else None
        self._begin_s = time.monotonic()
        self._events_before = 0
        self._ended_events = 0

    def add(self, size_bytes: int, wire: bytes) -> None:
        """Count an event."""
        self.events += 1
        self.size_bytes += size_bytes
        if self._line and self.events % SAY_EVERY == 0:
            self._line.say(self._facts(self._ended_events + decode(wire).seq + 1))

    def end_session(self, events: int) -> None:
        """Count a session of so many events, whether they were wanted or not."""
        self.sessions += self.events > self._events_before
        self._events_before = self.events
        self._ended_events += events

    def clear(self) -> None:
        """Take away what a person is shown."""
        if self._line:
            self._line.clear()

    def summary(self) -> str:
        """Return what was written, in one line."""
        took_us = round((time.monotonic() - self._begin_s) * 1e6)
        events, sessions = units.count(self.events, "event"), units.count(self.sessions, "session")
        return f"{events} of {sessions}, {units.size(self.size_bytes)}, in {units.duration(took_us)}"

    def _facts(self, seen_events: int) -> str:
        took_s = max(time.monotonic() - self._begin_s, 0.001)  # Windows' clock may stand for 16 ms
        share = min(1.0, seen_events / max(1, self.total_events))
        return "  ".join(
            (
                f"{seen_events:,} of {self.total_events:,} events",
                f"{share:.0%}",
                units.size(self.size_bytes),
                f"{units.size(round(self.size_bytes / took_s))}/s",
                f"{time_left(took_s / share - took_s)} left",
            )
        )


def time_left(seconds: float) -> str:
    """Return a time for a person: 48 s, 12 min."""
    return f"{seconds:.0f} s" if seconds < SECONDS_UP_TO else f"{seconds / 60:.0f} min"
