"""Statistics: how many calls, how many errors, how long, how many bytes; kept as rollups that can be merged.

A rollup counts one method (and tool) of one session within one period of 10 minutes.  Latencies are kept as a
histogram whose buckets are at most 1/16 of their value wide, so a percentile is at most 1/32 off; counts, bytes and
the maximum are exact.  Each event counts by itself, in the period of its own time, whatever came before it.

A call is a request.  The time of an answer is the latency; a cancelled call and `subscriptions/listen`, which stays
open for hours, have none.  Bytes are those of requests and answers on the wire.

Pure.  Counterpart: rollups.py, which keeps them in the store.
Source of the buckets: G. Tene, HdrHistogram (log-linear buckets).
"""

import math

import msgspec

from kilometers.core.event import Direction
from kilometers.core.pairing import LISTEN, OPPOSITE

PERIOD_US = 600_000_000
EXACT_BITS = 5  # below 2**5 each value has a bucket of its own; above, each power of two has 2**4
TOOL_CALL = "tools/call"


class Rollup(msgspec.Struct, array_like=True):
    """What is known of some calls; *histogram*: bucket → how many answers took that long."""

    calls: int = 0
    errors: int = 0
    cancelled: int = 0
    size_bytes: int = 0
    max_us: int = 0
    histogram: dict[int, int] = {}

    def count(self, kind: str, status: str | None, duration_us: int | None, size_bytes: int | None) -> None:
        """Count one event: a request, an answer, or a cancellation."""
        if kind == "request":
            self.calls += 1
        elif kind == "notification":
            self.cancelled += 1
            return
        elif status != "cancelled":  # an answer that came too late only has its bytes
            self.errors += status in {"error", "tool_error"}
            if duration_us is not None:
                self.max_us = max(self.max_us, duration_us)
                bucket = bucket_of(duration_us)
                self.histogram[bucket] = self.histogram.get(bucket, 0) + 1
        self.size_bytes += size_bytes or 0

    def merge(self, other: "Rollup") -> None:
        """Add what *other* counted."""
        self.calls += other.calls
        self.errors += other.errors
        self.cancelled += other.cancelled
        self.size_bytes += other.size_bytes
        self.max_us = max(self.max_us, other.max_us)
        mine = self.histogram
        for bucket, answers in other.histogram.items():
            mine[bucket] = mine.get(bucket, 0) + answers

    def percentile_us(self, percent: float) -> int | None:
        """Return the latency that *percent* of the answers did not exceed (nearest rank); None without answers."""
        answers = sum(self.histogram.values())
        rank = max(1, math.ceil(answers * percent / 100))
        if answers and rank == answers:
            return self.max_us  # exactly
        for bucket in sorted(self.histogram):
            rank -= self.histogram[bucket]
            if rank <= 0:
                return min(middle_of(bucket), self.max_us)
        return None


class Key(msgspec.Struct, frozen=True, gc=False):
    """What a rollup counts: calls that travel in *direction*; *tool* is "" for other methods than tools/call."""

    period: int
    direction: Direction
    method: str
    tool: str


class Call(msgspec.Struct, frozen=True, gc=False):
    """What an event's call is: of a request and its answers their own, of a cancellation the cancelled request's."""

    direction: Direction
    method: str
    target: str | None


def call_of(kind: str, direction: Direction | None, method: str | None, target: str | None) -> Call | None:
    """Return the call that a request or an answer belongs to; None for anything else, and for an orphan."""
    if direction is None or method is None or kind not in {"request", "response", "error"}:
        return None
    return Call(direction if kind == "request" else OPPOSITE[direction], method, target)


def key_of(call: Call, at_us: int) -> Key:
    """Return which rollup counts an event of *call* at a time in µs since the epoch."""
    tool = (call.target or "") if call.method == TOOL_CALL else ""
    return Key(at_us // PERIOD_US, call.direction, call.method, tool)


def latency_us(call: Call, duration_us: int | None) -> int | None:
    """Return what counts as the latency of an answer."""
    return None if call.method == LISTEN else duration_us


def bucket_of(value: int) -> int:
    """Return the bucket of a value ≥ 0."""
    shift = max(0, value.bit_length() - EXACT_BITS)
    return (shift << (EXACT_BITS - 1)) + (value >> shift)


def middle_of(bucket: int) -> int:
    """Return the middle of a bucket."""
    shift = max(0, (bucket >> (EXACT_BITS - 1)) - 1)
    low = (bucket - (shift << (EXACT_BITS - 1))) << shift
    return low + (1 << shift >> 1)
