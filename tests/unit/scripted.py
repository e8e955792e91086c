"""Sessions written by hand: steps become journal records, records become events.

    record(client(id=1, method="ping"), server(id=1, result={}))  →  [request, response]

One step is one read of the relay, a millisecond after the one before.
"""

import json
import sys
from typing import Any

import msgspec

from kilometers.core import journal
from kilometers.core.event import Event, decode
from kilometers.core.pairing import Call
from kilometers.core.session import Row, Session, SessionState, new_state

SESSION_ID = "017f22e2-79b0-7cc3-98c4-dc0c0c07398f"
BEGIN_NS = 1_790_000_000_000_000_000
BOOTED_NS = 5_000_000_000_000
MILLISECOND_NS = 1_000_000

Step = tuple[int, bytes]


def line(data: bytes | None, members: dict[str, Any]) -> bytes:
    return data if data is not None else json.dumps({"jsonrpc": "2.0", **members}).encode() + b"\n"


def client(data: bytes | None = None, **members: Any) -> Step:
    return journal.CLIENT_TO_SERVER, line(data, members)


def server(data: bytes | None = None, **members: Any) -> Step:
    return journal.SERVER_TO_CLIENT, line(data, members)


def log(data: bytes) -> Step:
    return journal.STDERR, data


def call(id: Any, name: str = "echo", **members: Any) -> Step:
    return client(id=id, method="tools/call", params={"name": name, **members})


def listen(id: Any) -> Step:
    return client(id=id, method="subscriptions/listen", params={"notifications": {"toolsListChanged": True}})


def modern(**members: Any) -> dict[str, Any]:
    return {f"io.modelcontextprotocol/{name}": value for name, value in members.items()}


def cancelled(id: Any) -> dict[str, Any]:
    return {"method": "notifications/cancelled", "params": {"requestId": id, "reason": "timeout"}}


def progress(token: Any, **params: Any) -> dict[str, Any]:
    return {"method": "notifications/progress", "params": {"progressToken": token, "progress": 0.5, **params}}


def make_record(
    kind: int, data: bytes, *, stream_offset: int = 0, after_ns: int = 0, reason: int = 0
) -> journal.Record:
    view = memoryview(data)
    return journal.Record(kind, stream_offset, BOOTED_NS + after_ns, BEGIN_NS + after_ns, reason, view, 0)


def start(capture: str = "full") -> journal.Record:
    return make_record(journal.START, journal.pack_fields([("name", "memory"), ("capture", capture)]))


def make_records(*steps: Step) -> list[journal.Record]:
    """Return the records of steps, each where the one before on its stream ended."""
    offsets = dict.fromkeys(journal.STREAMS, 0)
    records = []
    for number, (stream, data) in enumerate(steps, 1):
        records.append(make_record(stream, data, stream_offset=offsets[stream], after_ns=number * MILLISECOND_NS))
        offsets[stream] += len(data)
    return records


def play(records: list[journal.Record], session: Session | None = None) -> Session:
    session = session or Session(new_state(SESSION_ID))
    session.max_rows = session.max_rows_bytes = sys.maxsize  # nobody takes them in between
    for record in records:
        assert session.take(record)
    return session


def finished(session: Session) -> list[Row]:
    session.finish(BEGIN_NS)
    return session.take_rows()


def play_all(records: list[journal.Record]) -> list[Row]:
    return finished(play(records))


def events_of(rows: list[Row]) -> list[Event]:
    return [decode(row.wire) for row in rows]


def record(*steps: Step, capture: str = "full") -> list[Event]:
    """Return the events of a session that ended with these steps."""
    return events_of(play_all([start(capture), *make_records(*steps)]))


def links(events: list[Event]) -> list[int | None]:
    return [event.call_seq for event in events]


class Kept:
    """What the store keeps of a session, through its encoding."""

    def __init__(self) -> None:
        self.state = b""
        self.calls: dict[int, bytes] = {}
        self.rows: list[Row] = []

    def save(self, session: Session) -> None:
        self.rows += session.take_rows()
        for seq, call in session.pairing.take_changes().items():
            if call is None:
                self.calls.pop(seq, None)
            else:
                self.calls[seq] = msgspec.msgpack.encode(call)
        self.state = msgspec.msgpack.encode(session.sync_state())

    def load(self) -> Session:
        calls = [msgspec.msgpack.decode(call, type=Call) for _, call in sorted(self.calls.items())]
        return Session(msgspec.msgpack.decode(self.state, type=SessionState), calls)
