"""Conversation: what each message of a session says, and which request it answers, continues, cancels or reports on.

    Message ──▶ method, target, who speaks ──▶ Pairing, rounds, tasks ──▶ the facts of an Event

Nothing is believed beyond what is on the wire: both eras may be mixed, identity is kept per session and, in the modern
era, also per request.  Input-required rounds are linked by their requestState or not at all.
Counterparts: core/frames.py (where messages come from), core/session.py (which adds what is not of the message).
Source: MCP revisions 2024-11-05 … 2026-07-28.
"""

import hashlib

import msgspec

from kilometers.core import facts
from kilometers.core.event import Direction, Event, Implementation, cut_text
from kilometers.core.frames import ABSENT, Message, text_of
from kilometers.core.pairing import OPPOSITE, Call, Pairing

MAX_KEY = 256
MAX_REMEMBERED = 1000  # rounds and tasks: what a client never comes back to is forgotten, oldest first


class ConversationState(msgspec.Struct):
    """What has been said so far, beside the open calls."""

    client: Implementation | None = None
    server: Implementation | None = None
    protocol_version: str | None = None
    calls: int = 0
    errors: int = 0
    discovers: int = 0
    rounds: dict[str, int] = {}
    """Digest of what the next round of a call must bring → the call's seq."""
    tasks: dict[str, int] = {}
    task_tokens: dict[str, int] = {}
    """Progress tokens live as long as their task: direction and token → the call's seq."""

    @property
    def is_probe(self) -> bool:
        """Whether the client only asked what the server speaks (TypeScript SDK 2 starts a process for that alone)."""
        return self.discovers > 0 and self.calls == self.discovers


class Conversation:
    """Reads messages in the order of their events."""

    def __init__(self, state: ConversationState, pairing: Pairing) -> None:
        self.state = state
        self.pairing = pairing

    def read(self, event: Event, direction: Direction, message: Message, monotonic_ns: int) -> None:
        """Write the facts of *message*, which travels in *direction*, to its event."""
        event.request_id = cut_text(message.id_text) or None
        if message.kind == "request":
            self._request(event, direction, message, monotonic_ns)
        elif message.kind == "notification":
            self._notification(event, direction, message, monotonic_ns)
        else:
            self._answer(event, direction, message, monotonic_ns)

    def _request(self, event: Event, direction: Direction, message: Message, monotonic_ns: int) -> None:
        params = facts.read_params(message.params)
        meta = facts.read_meta(params.meta)
        event.method = cut_text(message.method)
        event.target = facts.target_of(message.method, params)
        self._identify(event, params, meta)
        self.state.calls += 1
        self.state.discovers += message.method == "server/discover"
        first_seq = event.seq
        if params.request_state is not ABSENT:
            first_seq = self.state.rounds.pop(_round(event.method, event.target, params.request_state), first_seq)
        elif params.task_id is not ABSENT:
            first_seq = self.state.tasks.get(_memory_key(text_of(params.task_id)), first_seq)
        event.call_seq = first_seq if first_seq != event.seq else None
        self.pairing.open(
            Call(
                seq=event.seq,
                direction=direction,
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

    def _notification(self, event: Event, direction: Direction, message: Message, monotonic_ns: int) -> None:
        params = facts.read_params(message.params)
        meta = facts.read_meta(params.meta)
        event.method = cut_text(message.method)
        event.target = facts.target_of(message.method, params)
        event.trace_id = facts.trace_id(meta) if meta.traceparent is not ABSENT else None
        call: Call | None = None
        if message.method == "notifications/cancelled":
            call = self.pairing.cancel(direction, facts.token_key(params.request_id), monotonic_ns)
            if call is not None:
                event.status, event.request_id = "cancelled", call.request_id
                event.duration_us = _duration_us(call, monotonic_ns)
        elif message.method == "notifications/progress":
            token = facts.token_key(params.progress_token)
            call = self.pairing.progress(direction, token)
            event.call_seq = self.state.task_tokens.get(f"{OPPOSITE[direction]} {token}")
        else:
            event.call_seq = self._task_seq(params, meta)
            if event.call_seq is None and meta.subscription_id is not ABSENT:
                call = self.pairing.listen(facts.token_key(meta.subscription_id))
        if call is not None:
            event.call_seq = call.call_seq
            event.target = event.target or call.target

    def _task_seq(self, params: facts.Params, meta: facts.Meta) -> int | None:
        """Return the seq of the call that created the task which a notification is about."""
        if not self.state.tasks:
            return None
        task = text_of(params.task_id) or facts.related_task(meta)
        return self.state.tasks.get(_memory_key(task))

    def _answer(self, event: Event, direction: Direction, message: Message, monotonic_ns: int) -> None:
        call = self.pairing.answer(direction, message.key)
        if call is not None:
            event.method, event.target, event.call_seq = call.method, call.target, call.call_seq
            event.duration_us = _duration_us(call, monotonic_ns)
        if message.kind == "error":
            event.status = "error"
            event.error_code = facts.error_code(message.error)
        else:
            self._result(event, message, call)
        if call is not None and call.is_cancelled:
            event.status = "cancelled"
        self.state.errors += event.status in {"error", "tool_error"}

    def _result(self, event: Event, message: Message, call: Call | None) -> None:
        result = facts.read_result(message.result)
        meta = facts.read_meta(result.meta)
        event.status = "tool_error" if facts.is_true(result.is_error) else "ok"
        if text_of(result.result_type) == "input_required":
            event.status = "input_required"
            if result.request_state is not ABSENT and call is not None:
                round_key = _round(call.method, call.target, result.request_state)
                _remember(self.state.rounds, round_key, call.call_seq)
        task = facts.task_of(result) if call is not None and not call.method.startswith("tasks/") else None
        if task is not None and call is not None:
            _remember(self.state.tasks, _memory_key(task), call.call_seq)
            if call.token:
                _remember(self.state.task_tokens, f"{call.direction} {call.token}", call.call_seq)
        event.server = facts.implementation(meta.server_info) if meta.server_info is not ABSENT else None
        self.state.server = event.server or self.state.server
        if call is not None and call.method == "initialize":
            self.state.server = facts.implementation(result.server_info) or self.state.server
            version = text_of(result.protocol_version)
            self.state.protocol_version = cut_text(version) if version else self.state.protocol_version


def _duration_us(call: Call, monotonic_ns: int) -> int:
    return max(0, monotonic_ns - call.monotonic_ns) // 1000


def _round(method: str, target: str | None, request_state: msgspec.Raw) -> str:
    """Return what the next round of a call has in common with the answer that asks for it.

    The state is compared by its value: a client may write its characters in another way than the server did.
    """
    text = text_of(request_state)
    state = bytes(request_state) if text is None else text.encode()
    return hashlib.sha256(f"{method}\0{target}\0".encode() + state).hexdigest()[:32]


def _memory_key(text: str | None) -> str:
    """Return a short key for a task's id, which a server may make as long as it likes."""
    if text is None or len(text) <= MAX_KEY:
        return text or ""
    return hashlib.sha256(text.encode("utf-8", "replace")).hexdigest()


def _remember(memory: dict[str, int], key: str, seq: int) -> None:
    memory.pop(key, None)
    memory[key] = seq
    if len(memory) > MAX_REMEMBERED:
        del memory[next(iter(memory))]
