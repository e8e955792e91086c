"""Pairing: which request an answer, a cancellation, a progress notification or a next round belongs to.

Two id spaces, one per direction: an answer that travels server_to_client answers a request of client_to_server.  Ids
may be used again once answered; duplicates in flight are answered first in, first out; a cancelled request is kept
for a late answer.  `subscriptions/listen` stays open for hours and never expires.

    open ──answer──▶ gone        open ──cancelled──▶ cancelled ──late answer / 10 min──▶ gone
    open ──24 h of journal time, or 10,000 newer ones──▶ gone, counted as unanswered

What expires follows from the calls alone, so a recorder that takes over forgets the same ones at the same events.

Pure; `changes` says which entries are new or gone since it was last read, so that the store can follow.
Source: JSON-RPC 2.0; MCP revisions 2024-11-05 … 2026-07-28, "Cancellation", "Progress", "Subscriptions".
"""

import msgspec

from kilometers.core.event import CLIENT_TO_SERVER, SERVER_TO_CLIENT, Direction
from kilometers.core.frames import other_key

MAX_OPEN = 10_000
MAX_LISTENS = 1000
MAX_OPEN_NS = 24 * 3600 * 1_000_000_000
MAX_CANCELLED_NS = 600 * 1_000_000_000
SWEEP_EVERY_NS = 60 * 1_000_000_000
LISTEN = "subscriptions/listen"
OPPOSITE: dict[Direction, Direction] = {CLIENT_TO_SERVER: SERVER_TO_CLIENT, SERVER_TO_CLIENT: CLIENT_TO_SERVER}


class Call(msgspec.Struct, gc=False):
    """A request that waits for its answer; *call_seq* differs from *seq* in the later rounds of one call."""

    seq: int
    direction: Direction
    key: str
    method: str
    monotonic_ns: int
    request_id: str
    call_seq: int
    target: str | None = None
    token: str = ""
    is_cancelled: bool = False
    cancelled_ns: int = 0


class Pairing:
    """The open calls of one session."""

    def __init__(self, calls: list[Call] | None = None) -> None:
        self.changes: dict[int, Call | None] = {}
        self.unanswered = 0
        self._calls: dict[int, Call] = {}
        self._by_key: dict[tuple[Direction, str], list[Call]] = {}
        self._by_token: dict[tuple[Direction, str], list[Call]] = {}
        self._listens: dict[int, Call] = {}
        self._sweeps = 0
        for call in calls or []:
            self._index(call)

    def __len__(self) -> int:
        return len(self._calls) + len(self._listens)

    def open(self, call: Call) -> None:
        """Wait for an answer to *call*."""
        self._index(call)
        self.changes[call.seq] = call
        for calls, most in ((self._calls, MAX_OPEN), (self._listens, MAX_LISTENS)):
            if len(calls) > most:
                self._expire(next(iter(calls.values())))
        if call.monotonic_ns // SWEEP_EVERY_NS > self._sweeps:
            self._sweep(call.monotonic_ns // SWEEP_EVERY_NS)

    def answer(self, direction: Direction, key: str) -> Call | None:
        """Return the call that an answer travelling in *direction* ends, or None for an orphan."""
        call = self._find(OPPOSITE[direction], key)
        if call is not None:
            self._remove(call)
        return call

    def cancel(self, direction: Direction, key: str, monotonic_ns: int) -> Call | None:
        """Return the call that a cancellation travelling in *direction* names, kept for a late answer.

        It names a request of its own sender; only the end of a listen names one of the other side.
        """
        call = self._find(direction, key)
        if call is None:
            call = self._find(OPPOSITE[direction], key)
            if call is None or call.method != LISTEN:
                return None
        if call.is_cancelled:
            return None
        call.is_cancelled, call.cancelled_ns = True, monotonic_ns
        self.changes[call.seq] = call
        return call

    def progress(self, direction: Direction, token: str) -> Call | None:
        """Return the newest call whose sender chose *token*; progress travels against its request."""
        calls = self._by_token.get((OPPOSITE[direction], token))
        return calls[-1] if calls else None

    def listen(self, key: str) -> Call | None:
        """Return the open `subscriptions/listen` with this id."""
        call = self._find(CLIENT_TO_SERVER, key)
        return call if call is not None and call.method == LISTEN else None

    def finish(self) -> None:
        """Give up on everything that is open: the session has ended."""
        for call in [*self._calls.values(), *self._listens.values()]:
            self._expire(call)

    def take_changes(self) -> dict[int, Call | None]:
        """Return what has changed since the last time: seq → call, or None where it is gone."""
        changes, self.changes = self.changes, {}
        return changes

    def _find(self, direction: Direction, key: str) -> Call | None:
        if not key:
            return None
        calls = self._by_key.get((direction, key)) or self._by_key.get((direction, other_key(key)))
        if not calls:
            return None
        return next((call for call in calls if not call.is_cancelled), calls[0])

    def _index(self, call: Call) -> None:
        (self._listens if call.method == LISTEN else self._calls)[call.seq] = call
        self._by_key.setdefault((call.direction, call.key), []).append(call)
        if call.token:
            self._by_token.setdefault((call.direction, call.token), []).append(call)

    def _remove(self, call: Call) -> None:
        del (self._listens if call.method == LISTEN else self._calls)[call.seq]
        _take_out(self._by_key, (call.direction, call.key), call)
        if call.token:
            _take_out(self._by_token, (call.direction, call.token), call)
        self.changes[call.seq] = None

    def _expire(self, call: Call) -> None:
        if not call.is_cancelled and call.method != LISTEN:
            self.unanswered += 1
        self._remove(call)

    def _sweep(self, sweeps: int) -> None:
        """Expire what was too old when this sweep was due."""
        self._sweeps = sweeps
        due_ns = sweeps * SWEEP_EVERY_NS
        for call in [*self._calls.values(), *self._listens.values()]:
            if call.is_cancelled:
                is_over = due_ns - call.cancelled_ns > MAX_CANCELLED_NS
            else:
                is_over = call.method != LISTEN and due_ns - call.monotonic_ns > MAX_OPEN_NS
            if is_over:
                self._expire(call)


def _take_out(index: dict[tuple[Direction, str], list[Call]], key: tuple[Direction, str], call: Call) -> None:
    same = index[key]
    same.remove(call)
    if not same:
        del index[key]
