"""One session's events, from its journal's records: gaps, frames, pairing, chain hash.

    records ──▶ gap? ──▶ FrameSplitter ──▶ read_frame ──▶ Pairing ──▶ Event ──▶ encode, chain ──▶ rows

Pure and deterministic: the same journal gives the same events with the same `seq`.  `SessionState` is what has to be
kept to go on later, in the same transaction as the rows; bytes behind `consumed` are fed again from the journal.
Counterparts: core/journal.py (where records come from), store.py (where rows and state go to).
"""

import hashlib
from collections.abc import Callable

import msgspec

from kilometers.core import facts, journal
from kilometers.core.event import (
    CLIENT_TO_SERVER,
    SERVER_TO_CLIENT,
    Event,
    Gap,
    Implementation,
    at_time,
    chain_hash,
    cut_text,
    encode,
    excerpt,
)
from kilometers.core.frames import (
    ABSENT,
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
    text_of,
)
from kilometers.core.pairing import Call, Pairing
from kilometers.core.redact import redact

DIRECTIONS = {
    journal.CLIENT_TO_SERVER: CLIENT_TO_SERVER,
    journal.SERVER_TO_CLIENT: SERVER_TO_CLIENT,
    journal.STDERR: None,
}
UNTERMINATED = "unterminated"
CRASHED_RECORDER = "crashed_recorder"
MAX_REMEMBERED = 1000  # rounds and tasks: what a client never comes back to is forgotten, oldest first


class StreamState(msgspec.Struct):
    """Where one stream stands: see FrameSplitter."""

    consumed: int = 0
    skipped: int = 0
    is_torn: bool = False
    """The next frame stands behind a gap."""
    last_wall_ns: int = 0


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
    client: Implementation | None = None
    server: Implementation | None = None
    protocol_version: str | None = None
    gaps: int = 0
    calls: int = 0
    errors: int = 0
    unanswered: int = 0
    discovers: int = 0
    rounds: dict[str, int] = {}
    tasks: dict[str, int] = {}

    @property
    def is_probe(self) -> bool:
        """Whether the client only asked what the server speaks (TypeScript SDK 2 starts a process for that alone)."""
        return self.discovers > 0 and self.calls == self.discovers

    def stream(self, number: int) -> StreamState:
        """Return a stream's state by its number in the journal."""
        return (self.client_to_server, self.server_to_client, self.stderr)[number - 1]


class Row(msgspec.Struct, gc=False):
    """An event as the store keeps it: what is searched, and the wire form with its chain hash."""

    seq: int
    at_us: int
    kind: str
    direction: str | None
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
    return SessionState(session_id, bytes.fromhex(session_id.replace("-", "")))


def never_poison(stream: int, offset: int, size_bytes: int) -> bool:
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
        self.is_poison = is_poison
        self._rows: list[Row] = []
        self._keeps_payloads = self._captures_payloads()
        self._splitters: dict[int, FrameSplitter] = {}
        for number in journal.STREAMS:
            kept = state.stream(number)
            splitter = LineSplitter if number == journal.STDERR else FrameSplitter
            self._splitters[number] = splitter(kept.consumed, kept.skipped)

    def take(self, record: journal.Record) -> None:
        """Take the next record; one that was taken before changes nothing."""
        if record.kind in journal.STREAMS:
            self._take_data(record)
        elif record.kind == journal.START:
            self._start(record)
        elif record.kind in {journal.END, journal.END_OF_SEGMENT}:
            fields = journal.read_fields(bytes(record.data))
            totals = journal.read_totals(fields)
            if totals is not None:
                self.take_totals(totals, journal.DAMAGED, record.wall_ns)
            if record.kind == journal.END:
                self.state.end_fields = fields
                self.state.ended_ns = record.wall_ns
                self.state.is_clean = True

    def take_totals(self, offsets: tuple[int, int, int], reason: int, wall_ns: int) -> None:
        """Take note of how far the relay had read: what is missing up to there is a gap."""
        for number, offset in zip(journal.STREAMS, offsets, strict=True):
            if offset > self._splitters[number].read_through:
                self._gap(number, offset, reason, wall_ns)

    def lose(self, reason: str, wall_ns: int) -> None:
        """Record that bytes may be missing, nobody knows how many: the journal itself is gone."""
        for number in (journal.CLIENT_TO_SERVER, journal.SERVER_TO_CLIENT):
            self._flush(number, TORN, self.state.stream(number).last_wall_ns or wall_ns, 0)
        self._add_gap(None, None, reason, wall_ns, wall_ns)
        self.state.is_lost = True

    def finish(self, wall_ns: int) -> None:
        """End the session: nothing will come any more."""
        for number in journal.STREAMS:
            self._flush(number, UNTERMINATED, self.state.stream(number).last_wall_ns or wall_ns, 0)
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

    def read_through(self) -> tuple[int, int, int]:
        """Return the stream offset of the next byte that each stream has to be fed."""
        first, second, third = (self._splitters[number].read_through for number in journal.STREAMS)
        return first, second, third

    def take_rows(self) -> list[Row]:
        """Return the rows since the last time."""
        rows, self._rows = self._rows, []
        return rows

    def _last_wall_ns(self) -> int:
        return max(self.state.stream(number).last_wall_ns for number in journal.STREAMS)

    def _captures_payloads(self) -> bool:
        return self.state.fields.get("capture", ["full"])[0] == "full"

    def _start(self, record: journal.Record) -> None:
        if not self.state.fields:
            self.state.fields = journal.read_fields(bytes(record.data))
            self.state.started_ns = record.wall_ns
            self._keeps_payloads = self._captures_payloads()

    def _take_data(self, record: journal.Record) -> None:
        number, splitter = record.kind, self._splitters[record.kind]
        known = splitter.read_through - record.stream_offset
        if known > 0 and known >= len(record.data):
            return
        if known < 0:
            self._gap(number, record.stream_offset, record.gap_reason, record.wall_ns)
        if not record.data:
            self._flush(number, UNTERMINATED, record.wall_ns, record.monotonic_ns)
            return
        for frame in splitter.feed(bytes(record.data[max(known, 0) :])):
            self._frame(number, frame, record.wall_ns, record.monotonic_ns)
        self.state.stream(number).last_wall_ns = record.wall_ns

    def _gap(self, number: int, through: int, reason: int, wall_ns: int) -> None:
        """Everything up to *through* is missing; what was held before it is torn, and so is what comes next."""
        kept, splitter = self.state.stream(number), self._splitters[number]
        self._flush(number, TORN, kept.last_wall_ns or wall_ns, 0)
        missing = through - splitter.consumed
        name = journal.REASONS[reason] if reason < len(journal.REASONS) else "unknown"
        self._add_gap(DIRECTIONS[number], missing, name, kept.last_wall_ns or wall_ns, wall_ns)
        splitter.jump(through)
        kept.is_torn = True
        kept.last_wall_ns = wall_ns

    def _add_gap(self, direction: str | None, missing: int | None, reason: str, from_ns: int, until_ns: int) -> None:
        self.state.gaps += 1
        event = self._event("gap", direction, from_ns)
        event.gap = Gap(reason, missing, at_time(until_ns))
        self._add(event)

    def _flush(self, number: int, problem: str, wall_ns: int, monotonic_ns: int) -> None:
        for frame in self._splitters[number].flush(problem):
            self._frame(number, frame, wall_ns, monotonic_ns)

    def _frame(self, number: int, frame: Frame, wall_ns: int, monotonic_ns: int) -> None:
        kept, direction = self.state.stream(number), DIRECTIONS[number]
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
            self._read(direction, frame.data, problem, wall_ns, monotonic_ns, frame.size_bytes)

    def _read(
        self, direction: str, data: bytes, problem: str, wall_ns: int, monotonic_ns: int, size_bytes: int | None
    ) -> None:
        """Read a frame or an element of a batch.  A torn one that is a whole message is one: no part of one would be."""
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

    def _undecodable(self, direction: str, data: bytes, reason: str, wall_ns: int, size_bytes: int | None) -> None:
        event = self._event("undecodable", direction, wall_ns)
        event.size_bytes = size_bytes
        event.reason = reason
        if data and self._keeps_payloads and reason != CRASHED_RECORDER:
            text = excerpt(data)
            self._keep(event, msgspec.json.encode(text), is_exact=False)
        self._add(event)

    def _log(self, frame: Frame, wall_ns: int) -> None:
        event = self._event("log", None, wall_ns)
        event.size_bytes = frame.size_bytes
        if self._keeps_payloads:
            self._keep(event, msgspec.json.encode(frame.data.decode("utf-8", "replace")), is_exact=True)
        self._add(event)

    def _message(
        self, direction: str, message: Message, wall_ns: int, monotonic_ns: int, size_bytes: int | None
    ) -> None:
        event = self._event(message.kind, direction, wall_ns)
        event.size_bytes = size_bytes
        event.request_id = cut_text(message.id_text) or None
        if message.kind == "request":
            self._request(event, message, monotonic_ns)
        elif message.kind == "notification":
            self._notification(event, message, monotonic_ns)
        else:
            self._answer(event, message, monotonic_ns)
        if not self._keeps_payloads:
            event.payload_state = "omitted"
        elif len(message.payload) > MAX_PAYLOAD_BYTES:
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

    def _request(self, event: Event, message: Message, monotonic_ns: int) -> None:
        params = facts.read_params(message.params)
        meta = facts.read_meta(params.meta)
        event.method = cut_text(message.method)
        event.target = facts.target_of(message.method, params)
        self._identify(event, params, meta)
        self.state.calls += 1
        self.state.discovers += message.method == "server/discover"
        first_seq = event.seq
        if params.request_state is not ABSENT:
            first_seq = self.state.rounds.pop(_digest(params.request_state), first_seq)
        elif params.task_id is not ABSENT:
            first_seq = self.state.tasks.get(text_of(params.task_id) or "", first_seq)
        event.call_seq = first_seq if first_seq != event.seq else None
        self.pairing.open(
            Call(
                seq=event.seq,
                direction=event.direction or "",
                key=message.key,
                method=event.method,
                monotonic_ns=monotonic_ns,
                request_id=event.request_id or "",
                call_seq=first_seq,
                target=event.target,
                token=facts.token_key(meta.progress_token),
            )
        )

    def _identify(self, event: Event, params: facts.Params, meta: facts.Meta) -> None:
        """Read who speaks which version: of the session in the legacy eras, of each request in the modern one."""
        event.trace_id = facts.trace_id(meta) if meta.traceparent is not ABSENT else None
        if event.method == "initialize":
            self.state.client = facts.implementation(params.client_info) or self.state.client
        if meta.protocol_version is ABSENT:
            return
        event.protocol_version = cut_text(text_of(meta.protocol_version) or "") or None
        event.client = facts.implementation(meta.client_info)
        self.state.protocol_version = event.protocol_version or self.state.protocol_version
        self.state.client = event.client or self.state.client

    def _notification(self, event: Event, message: Message, monotonic_ns: int) -> None:
        params = facts.read_params(message.params)
        meta = facts.read_meta(params.meta)
        event.method = cut_text(message.method)
        event.target = facts.target_of(message.method, params)
        event.trace_id = facts.trace_id(meta) if meta.traceparent is not ABSENT else None
        direction = event.direction or ""
        call: Call | None = None
        if message.method == "notifications/cancelled":
            call = self.pairing.cancel(direction, facts.token_key(params.request_id))
            if call is not None:
                event.status, event.request_id = "cancelled", call.request_id
                event.duration_us = _duration_us(call, monotonic_ns)
        elif message.method == "notifications/progress":
            call = self.pairing.progress(direction, facts.token_key(params.progress_token))
        elif meta.subscription_id is not ABSENT:
            call = self.pairing.listen(facts.token_key(meta.subscription_id))
        elif meta.related_task is not ABSENT:
            event.call_seq = self.state.tasks.get(facts.related_task(meta) or "")
        if call is not None:
            event.call_seq = call.call_seq
            event.target = event.target or call.target

    def _answer(self, event: Event, message: Message, monotonic_ns: int) -> None:
        call = self.pairing.answer(event.direction or "", message.key)
        if call is not None:
            event.method, event.target, event.call_seq = call.method, call.target, call.call_seq
            event.duration_us = _duration_us(call, monotonic_ns)
        if message.kind == "error":
            event.status = "error"
            event.error_code = facts.error_code(message.error)
        else:
            self._result(event, message, call)
        self.state.errors += event.status in {"error", "tool_error"}
        if call is not None and call.is_cancelled:
            event.status = "cancelled"

    def _result(self, event: Event, message: Message, call: Call | None) -> None:
        result = facts.read_result(message.result)
        meta = facts.read_meta(result.meta)
        event.status = "tool_error" if bytes(result.is_error) == b"true" else "ok"
        if text_of(result.result_type) == "input_required":
            event.status = "input_required"
            if result.request_state is not ABSENT and call is not None:
                _remember(self.state.rounds, _digest(result.request_state), call.call_seq)
        task = facts.task_of(result) if call is not None and not call.method.startswith("tasks/") else None
        if task is not None and call is not None:
            _remember(self.state.tasks, task, call.call_seq)
        event.server = facts.implementation(meta.server_info) if meta.server_info is not ABSENT else None
        self.state.server = event.server or self.state.server
        if call is not None and call.method == "initialize":
            self.state.server = facts.implementation(result.server_info) or self.state.server
            self.state.protocol_version = text_of(result.protocol_version) or self.state.protocol_version

    def _event(self, kind: str, direction: str | None, wall_ns: int) -> Event:
        return Event(self.state.session_id, self.state.next_seq, at_time(wall_ns), kind, direction)

    def _add(self, event: Event) -> None:
        wire = encode(event)
        state = self.state
        state.tail_hash = chain_hash(state.tail_hash, wire)
        state.next_seq += 1
        at_us = int(event.at.timestamp()) * 1_000_000 + event.at.microsecond
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
            )  # fmt: skip
        )


def _duration_us(call: Call, monotonic_ns: int) -> int | None:
    return max(0, monotonic_ns - call.monotonic_ns) // 1000 if monotonic_ns else None


def _digest(raw: msgspec.Raw) -> str:
    return hashlib.sha256(raw).hexdigest()[:32]


def _remember(memory: dict[str, int], key: str, seq: int) -> None:
    memory[key] = seq
    if len(memory) > MAX_REMEMBERED:
        del memory[next(iter(memory))]
