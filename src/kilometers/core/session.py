"""One session's events, from its journal's records: gaps, frames, pairing, chain hash.

    records ──▶ gap? ──▶ FrameSplitter ──▶ read_frame ──▶ Pairing ──▶ Event ──▶ encode, chain ──▶ rows

Pure and deterministic: the same journal gives the same events with the same `seq`.  `SessionState` is what has to be
kept to go on later, in the same transaction as the rows; bytes behind `consumed` are fed again from the journal.
Counterparts: core/journal.py (where records come from), store.py (where rows and state go to).
"""

import hashlib
from collections.abc import Callable

import msgspec

from kilometers.core import journal
from kilometers.core.conversation import Conversation, ConversationState
from kilometers.core.event import (
    CLIENT_TO_SERVER,
    SERVER_TO_CLIENT,
    Direction,
    Event,
    Gap,
    Kind,
    at_time,
    chain_hash,
    encode,
    excerpt,
    microseconds,
)
from kilometers.core.frames import (
    MAX_PAYLOAD_BYTES,
    OVERSIZED,
    TORN,
    Batch,
    Frame,
    FrameSplitter,
    LineSplitter,
    Message,
    Undecodable,
    read_frame,
)
from kilometers.core.pairing import Call, Pairing
from kilometers.core.redact import redact, redact_command
from kilometers.core.session_id import session_bytes

DIRECTIONS: dict[int, Direction | None] = {
    journal.CLIENT_TO_SERVER: CLIENT_TO_SERVER,
    journal.SERVER_TO_CLIENT: SERVER_TO_CLIENT,
    journal.STDERR: None,
}
# What is kept in memory between two commits, and how finely a record is cut so that it stays so: a record of 256 KiB
# may hold 128 Ki frames.
MAX_ROWS = 5_000
ROW_OVERHEAD_BYTES = 150  # of an event in the store, beside its wire form
MAX_ROWS_BYTES = 4 << 20
SLICE_BYTES = 16 << 10
UNTERMINATED = "unterminated"
CRASHED_RECORDER = "crashed_recorder"


class StreamState(msgspec.Struct):
    """Where one stream stands: see FrameSplitter."""

    consumed: int = 0
    skipped: int = 0
    is_torn: bool = False
    """The next frame stands behind a gap."""
    last_wall_ns: int = 0
    last_monotonic_ns: int = 0
    """When its last bytes were read."""


class SessionState(msgspec.Struct):
    """All that a recorder needs, beside the open calls, to go on where another one stopped."""

    session_id: str
    tail_hash: bytes
    next_seq: int = 0
    client_to_server: StreamState = msgspec.field(default_factory=StreamState)
    server_to_client: StreamState = msgspec.field(default_factory=StreamState)
    stderr: StreamState = msgspec.field(default_factory=StreamState)
    started_ns: int = 0
    ended_ns: int = 0
    is_clean: bool = False
    is_lost: bool = False
    """Its journal disappeared; should it turn up again, the session goes on."""
    fields: dict[str, list[str]] = {}
    end_fields: dict[str, list[str]] = {}
    gaps: int = 0
    kept_bytes: int = 0
    """What its events take up in the store, about."""
    unanswered: int = 0
    conversation: ConversationState = msgspec.field(default_factory=ConversationState)

    def stream(self, number: int) -> StreamState:
        """Return a stream's state by its number in the journal."""
        return (self.client_to_server, self.server_to_client, self.stderr)[number - 1]


class Row(msgspec.Struct, gc=False):
    """An event as the store keeps it: what is searched, and the wire form with its chain hash."""

    seq: int
    at_us: int
    kind: Kind
    direction: Direction | None
    method: str | None
    target: str | None
    status: str | None
    duration_us: int | None
    size_bytes: int | None
    call_seq: int | None
    wire: bytes
    hash: bytes


def new_state(session_id: str) -> SessionState:
    """Return the state before the first record."""
    return SessionState(session_id, session_bytes(session_id))


def never_poison(_stream: int, _offset: int, _size_bytes: int) -> bool:
    """Take no frame for one that crashes the recorder."""
    return False


class Session:
    """Turns records into rows; `rows` collects until `take_rows`."""

    def __init__(
        self,
        state: SessionState,
        calls: list[Call] | None = None,
        *,
        is_poison: Callable[[int, int, int], bool] = never_poison,
    ) -> None:
        self.state = state
        self.pairing = Pairing(calls)
        self._conversation = Conversation(state.conversation, self.pairing)
        self.is_poison = is_poison
        self._rows: list[Row] = []
        self._rows_bytes = 0
        self.max_rows = MAX_ROWS
        self.max_rows_bytes = MAX_ROWS_BYTES
        self._keeps_payloads = self._captures_payloads()
        self._splitters: dict[int, FrameSplitter] = {}
        for number in journal.STREAMS:
            kept = state.stream(number)
            splitter = LineSplitter if number == journal.STDERR else FrameSplitter
            self._splitters[number] = splitter(kept.consumed, kept.skipped)

    def take(self, record: journal.Record) -> bool:
        """Take the next record; one that was taken before changes nothing.

        False = there were more events in it than are taken at once: after `take_rows` the same record again.
        """
        if record.kind in journal.STREAMS:
            return self._take_data(record)
        if record.kind == journal.START:
            self._start(record)
        elif record.kind in {journal.END, journal.END_OF_SEGMENT}:
            fields = journal.read_fields(bytes(record.data))
            totals = journal.read_totals(fields)
            if totals is not None:
                self.take_totals(totals, journal.read_reasons(fields), record.wall_ns)
            if record.kind == journal.END:
                self.state.end_fields = _as_text(fields)
                self.state.ended_ns = record.wall_ns
                self.state.is_clean = True
        return True

    def take_totals(self, offsets: tuple[int, int, int], reasons: tuple[int, int, int], wall_ns: int) -> None:
        """Take note of how far the relay had read: what is missing up to there is a gap."""
        for number, offset, reason in zip(journal.STREAMS, offsets, reasons, strict=True):
            if offset > self._splitters[number].read_through:
                self._gap(number, offset, reason, wall_ns)

    def lose(self, reason: str, wall_ns: int) -> None:
        """Record that bytes may be missing, nobody knows how many: the journal itself is gone."""
        for number in (journal.CLIENT_TO_SERVER, journal.SERVER_TO_CLIENT):
            self._flush(number, TORN)
        self._add_gap(None, None, reason, wall_ns, wall_ns)
        self.state.is_lost = True

    def finish(self, wall_ns: int) -> None:
        """End the session: nothing will come any more."""
        for number in journal.STREAMS:
            self._flush(number, UNTERMINATED)
        self.pairing.finish()
        self.state.ended_ns = self.state.ended_ns or self._last_wall_ns() or wall_ns
        self.sync_state()

    def sync_state(self) -> SessionState:
        """Bring `state` up to date with what has been taken, and return it."""
        for number, splitter in self._splitters.items():
            kept = self.state.stream(number)
            kept.consumed, kept.skipped = splitter.consumed, splitter.skipped
        self.state.unanswered += self.pairing.unanswered
        self.pairing.unanswered = 0
        return self.state

    @property
    def is_full(self) -> bool:
        """Whether the rows should be stored before more is taken."""
        return len(self._rows) >= self.max_rows or self._rows_bytes >= self.max_rows_bytes

    @property
    def row_count(self) -> int:
        """How many rows wait to be taken."""
        return len(self._rows)

    @property
    def held_bytes(self) -> int:
        """How much of frames that have not ended is in memory."""
        return sum(splitter.held_bytes for splitter in self._splitters.values())

    def let_go(self) -> None:
        """Only count the frames that have not ended: other sessions need the memory."""
        for number in (journal.CLIENT_TO_SERVER, journal.SERVER_TO_CLIENT):
            self._splitters[number].let_go()

    def take_rows(self) -> list[Row]:
        """Return the rows since the last time."""
        rows, self._rows, self._rows_bytes = self._rows, [], 0
        return rows

    def _last_wall_ns(self) -> int:
        return max(self.state.stream(number).last_wall_ns for number in journal.STREAMS)

    def _captures_payloads(self) -> bool:
        return self.state.fields.get("capture", ["metadata"])[0] == "full"

    def _start(self, record: journal.Record) -> None:
        if not self.state.fields:
            fields = _as_text(journal.read_fields(bytes(record.data)))
            self.state.fields = {**fields, "argv": redact_command(fields.get("argv", []))}
            self.state.started_ns = record.wall_ns
            self._keeps_payloads = self._captures_payloads()

    def _take_data(self, record: journal.Record) -> bool:
        number, splitter = record.kind, self._splitters[record.kind]
        known = splitter.read_through - record.stream_offset
        if known > 0 and known >= len(record.data):
            return True
        if known < 0:
            self._gap(number, record.stream_offset, record.gap_reason, record.wall_ns)
        if not record.data:
            self._flush(number, UNTERMINATED)
            return True
        kept = self.state.stream(number)
        kept.last_wall_ns, kept.last_monotonic_ns = record.wall_ns, record.monotonic_ns
        for at in range(max(known, 0), len(record.data), SLICE_BYTES):
            if self.is_full:
                return False
            for frame in splitter.feed(bytes(record.data[at : at + SLICE_BYTES])):
                self._frame(number, frame)
        return True

    def _gap(self, number: int, through: int, reason: int, wall_ns: int) -> None:
        """Everything up to *through* is missing; what was held before it is torn, and so is what comes next."""
        kept, splitter = self.state.stream(number), self._splitters[number]
        self._flush(number, TORN)
        missing = through - splitter.consumed
        name = journal.REASONS[reason] if reason < len(journal.REASONS) else "unknown"
        self._add_gap(DIRECTIONS[number], missing, name, kept.last_wall_ns or wall_ns, wall_ns)
        splitter.jump(through)
        kept.is_torn = True
        kept.last_wall_ns = wall_ns

    def _add_gap(
        self, direction: Direction | None, missing: int | None, reason: str, from_ns: int, until_ns: int
    ) -> None:
        self.state.gaps += 1
        event = self._event("gap", direction, from_ns)
        event.gap = Gap(reason, missing, at_time(until_ns))
        self._add(event)

    def _flush(self, number: int, problem: str) -> None:
        for frame in self._splitters[number].flush(problem):
            self._frame(number, frame)

    def _frame(self, number: int, frame: Frame) -> None:
        """Take a frame whose last bytes are the last that were read of its stream."""
        kept, direction = self.state.stream(number), DIRECTIONS[number]
        wall_ns = kept.last_wall_ns
        problem = frame.problem
        if kept.is_torn:
            kept.is_torn, problem = False, problem or TORN
        if direction is None:
            self._log(frame, wall_ns)
        elif self.is_poison(number, frame.stream_offset, frame.size_bytes):
            self._undecodable(direction, frame.data, CRASHED_RECORDER, wall_ns, frame.size_bytes)
        elif problem == OVERSIZED:
            self._undecodable(direction, frame.data, problem, wall_ns, frame.size_bytes)
        else:
            self._read(direction, frame.data, problem, wall_ns, kept.last_monotonic_ns, frame.size_bytes)

    def _read(
        self, direction: Direction, data: bytes, problem: str, wall_ns: int, monotonic_ns: int, size_bytes: int | None
    ) -> None:
        """Read a frame or an element of a batch.  A torn one that is a whole message is one: no part would be."""
        match read_frame(data):
            case Message() as message:
                self._message(direction, message, wall_ns, monotonic_ns, size_bytes)
            case Batch(items=items) if size_bytes is not None:
                event = self._event("batch", direction, wall_ns)
                event.size_bytes = size_bytes
                self._add(event)
                for item in items:
                    self._read(direction, item, "", wall_ns, monotonic_ns, None)
            case Undecodable(reason=reason):
                self._undecodable(direction, data, problem or reason, wall_ns, size_bytes)
            case _:
                self._undecodable(direction, data, "not_jsonrpc", wall_ns, size_bytes)

    def _undecodable(
        self, direction: Direction, data: bytes, reason: str, wall_ns: int, size_bytes: int | None
    ) -> None:
        event = self._event("undecodable", direction, wall_ns)
        event.size_bytes = size_bytes
        event.reason = reason
        if not self._keeps_payloads:
            event.payload_state = "omitted"
        elif data and reason != CRASHED_RECORDER:
            self._keep(event, msgspec.json.encode(excerpt(data)), is_exact=False)
        self._add(event)

    def _log(self, frame: Frame, wall_ns: int) -> None:
        event = self._event("log", None, wall_ns)
        event.size_bytes = frame.size_bytes
        if self._keeps_payloads:
            self._keep(event, msgspec.json.encode(frame.data.decode("utf-8", "replace")), is_exact=True)
        else:
            event.payload_state = "omitted"
        self._add(event)

    def _message(
        self, direction: Direction, message: Message, wall_ns: int, monotonic_ns: int, size_bytes: int | None
    ) -> None:
        event = self._event(message.kind, direction, wall_ns)
        event.size_bytes = size_bytes
        self._conversation.read(event, direction, message, monotonic_ns)
        if not self._keeps_payloads:
            event.payload_state = "omitted"
        elif message.is_exact and len(message.payload) > MAX_PAYLOAD_BYTES:
            event.payload_state = "omitted"
            event.sha256 = hashlib.sha256(message.payload).hexdigest()
        else:
            self._keep(event, message.payload, is_exact=message.is_exact)
        self._add(event)

    def _keep(self, event: Event, payload: bytes, *, is_exact: bool) -> None:
        kept, event.payload_state = redact(payload)
        event.payload = msgspec.Raw(kept)
        if not is_exact:
            event.payload_state = "truncated"

    def _event(self, kind: Kind, direction: Direction | None, wall_ns: int) -> Event:
        return Event(self.state.session_id, self.state.next_seq, at_time(wall_ns), kind, direction)

    def _add(self, event: Event) -> None:
        wire = encode(event)
        self._rows_bytes += len(wire)
        state = self.state
        state.kept_bytes += len(wire) + ROW_OVERHEAD_BYTES
        state.tail_hash = chain_hash(state.tail_hash, wire)
        state.next_seq += 1
        at_us = microseconds(event.at)
        self._rows.append(
            Row(
                event.seq,
                at_us,
                event.kind,
                event.direction,
                event.method,
                event.target,
                event.status,
                event.duration_us,
                event.size_bytes,
                event.call_seq,
                wire,
                state.tail_hash,
            )
        )


def _as_text(fields: dict[str, list[str]]) -> dict[str, list[str]]:
    """Return fields that can be encoded: file-system text may hold bytes that are no UTF-8."""
    return {
        name.encode("utf-8", "replace").decode(): [value.encode("utf-8", "replace").decode() for value in values]
        for name, values in fields.items()
    }
