"""What holds for any journal: whatever the streams brought, however it was cut, lost, repeated and taken over."""

import hashlib
import itertools
import json
from collections import defaultdict

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from kilometers.core import journal
from kilometers.core.event import CLIENT_TO_SERVER, SERVER_TO_CLIENT, Event, at_time, decode
from kilometers.core.session import Row, Session, SessionState, new_state
from unit.scripted import (
    BEGIN_NS,
    MILLISECOND_NS,
    SESSION_ID,
    Kept,
    Step,
    events_of,
    make_record,
    make_records,
    play,
    play_all,
    start,
)

PING = b'{"jsonrpc":"2.0","id":1,"method":"ping"}'
PONG = b'{"jsonrpc":"2.0","id":1,"result":{}}'
MEBIBYTE = 1 << 20
PASSED_NS = [-5000, 0, 1, 1000, MILLISECOND_NS, 61 * 10**9, 650 * 10**9, 25 * 3600 * 10**9]

# Streams are made of real messages, odd ones, damaged ones and noise.

ids = st.just("1") | st.sampled_from(["0", "1", '"1"', "1.0", '""', "-5", "null", "true", "1.5", "9007199254740993"])
params = st.sampled_from([
    '{"name":"echo","_meta":{"progressToken":1}}',
    '{"requestId":1}',
    '{"progressToken":1,"progress":0.5}',
    '{"name":"echo","requestState":"s"}',
    '{"taskId":"t"}',
    '{"clientInfo":{"name":"c"},"x":"\\ud800"}',
    '{"_meta":{"io.modelcontextprotocol/subscriptionId":1}}',
    "[1]",
    "null",
    "NaN",
    '"\u2028\\u0000\u00e9"',
])  # fmt: skip
methods = st.sampled_from([
    "tools/call", "initialize", "server/discover", "subscriptions/listen", "tasks/get", "notifications/cancelled",
    "notifications/progress", "notifications/message",
])  # fmt: skip
results = st.sampled_from([
    '"result":{}',
    '"result":{"isError":true}',
    '"result":{"resultType":"input_required","requestState":"s"}',
    '"result":{"task":{"taskId":"t"}}',
    '"error":{"code":0}',
])  # fmt: skip
requests = st.builds('{{"jsonrpc":"2.0","id":{},"method":"{}","params":{}}}'.format, ids, methods, params)
notifications = st.builds('{{"jsonrpc":"2.0","method":"{}","params":{}}}'.format, methods, params)
answers = st.builds('{{{},"jsonrpc":"2.0","id":{}}}'.format, results, ids)
texts = requests | requests | answers | answers | notifications
batches = st.lists(texts | st.just("1"), max_size=3).map(lambda items: f"[{','.join(items)}]")
messages = (texts | batches).map(str.encode)
damaged = st.builds(lambda data, at, byte: data[: at % len(data)] + byte + data[at % len(data) + 1 :],
                    messages, st.integers(0, 500), st.binary(max_size=2))  # fmt: skip
noise = st.binary(max_size=30) | st.sampled_from([b"", b"  ", b"Server ready", PING + PING, b"\xef\xbb\xbf" + PING])
lines = st.builds(bytes.__add__, messages | messages | damaged | noise, st.sampled_from([b"\n", b"\n", b"\r\n", b""]))
one_line = st.tuples(st.sampled_from(journal.STREAMS), lines.filter(bool)).map(lambda step: [step])
one_call = st.builds(
    lambda method, params, result: [
        (journal.CLIENT_TO_SERVER, f'{{"id":1,"method":"{method}","params":{params}}}\n'.encode()),
        (journal.SERVER_TO_CLIENT, f'{{{result},"id":1}}\n'.encode()),
    ],
    methods,
    params,
    results,
)
steps = st.lists(one_line | one_call, max_size=12).map(lambda parts: [step for part in parts for step in part])


@st.composite
def journals(draw: st.DrawFn) -> list[journal.Record]:
    """Return records with missing ranges, ends of file, ends of segments, and parts that come again."""
    offsets, after_ns = dict.fromkeys(journal.STREAMS, 0), 0
    records = [start()]
    for stream, data in draw(steps):
        cuts = sorted({0, len(data), *draw(st.lists(st.integers(0, len(data)), max_size=2))})
        for begin, end in itertools.pairwise(cuts):
            after_ns += draw(st.sampled_from(PASSED_NS))
            what = draw(st.sampled_from(["", "", "", "", "missing", "eof", "totals", "again"]))
            if what != "missing":
                piece = data[begin:end]
                records.append(make_record(stream, piece, stream_offset=offsets[stream], after_ns=after_ns, reason=1))
            offsets[stream] += end - begin
            if what == "eof":
                records.append(make_record(stream, b"", stream_offset=offsets[stream], after_ns=after_ns))
            elif what == "totals":
                records.append(make_record(journal.END_OF_SEGMENT, totals(offsets), after_ns=after_ns))
            elif what == "again":
                records += records[draw(st.integers(0, len(records) - 1)) :]
    return [*records, make_record(journal.END, totals(offsets), after_ns=after_ns)]


def totals(offsets: dict[int, int]) -> bytes:
    return journal.pack_fields(journal.pack_totals([0, *offsets.values()]))


def read_totals(data: bytes) -> tuple[int, int, int]:
    found = journal.read_totals(journal.read_fields(data))
    assert found is not None
    return found


def counted(events: list[Event]) -> dict[str | None, int]:
    sizes: dict[str | None, int] = defaultdict(int)
    for event in events:
        sizes[event.direction] += (event.size_bytes or 0) + ((event.gap.bytes or 0) if event.gap else 0)
    return sizes


def untimed(rows: list[Row]) -> list[Event]:
    events = events_of(rows)
    for event in events:
        event.at, event.duration_us = at_time(0), None
    return events


@given(journals())
def test_every_byte_belongs_to_one_event(records: list[journal.Record]) -> None:
    first, second, third = read_totals(bytes(records[-1].data))

    sizes = counted(events_of(play_all(records)))

    assert (sizes[CLIENT_TO_SERVER], sizes[SERVER_TO_CLIENT], sizes[None]) == (first, second, third)


@given(journals())
def test_seq_is_gapless_and_the_chain_hash_verifies(records: list[journal.Record]) -> None:
    rows = play_all(records)
    tail = bytes.fromhex(SESSION_ID.replace("-", ""))

    for seq, row in enumerate(rows):
        tail = hashlib.sha256(tail + row.wire).digest()

        assert (row.seq, row.hash) == (seq, tail)


@given(journals())
def test_wire_is_json_that_reads_back(records: list[journal.Record]) -> None:
    for row in play_all(records):
        members, event = json.loads(row.wire.decode(), parse_constant=pytest.fail), decode(row.wire)

        assert members.get("payload") == (None if event.payload is None else json.loads(bytes(event.payload)))
        assert (event.seq, event.kind, event.direction) == (row.seq, row.kind, row.direction)
        assert (event.method, event.target, event.status) == (row.method, row.target, row.status)
        assert (event.duration_us, event.size_bytes, event.call_seq) == (row.duration_us, row.size_bytes, row.call_seq)
        assert at_time(row.at_us * 1000) == event.at


@given(journals())
def test_no_answer_stands_before_its_request(records: list[journal.Record]) -> None:
    rows = play_all(records)

    for row in rows:
        assert row.duration_us is None or row.duration_us >= 0
        if row.call_seq is not None:
            assert row.call_seq < row.seq
            assert rows[row.call_seq].kind == "request"


@given(journals(), st.data())
def test_recorder_that_takes_over_goes_on_with_the_same_rows(
    records: list[journal.Record], data: st.DataObject
) -> None:
    uninterrupted = play_all(records)
    kept, session = Kept(), Session(new_state(SESSION_ID))
    stops = data.draw(st.lists(st.integers(0, len(records)), max_size=3).map(sorted), label="stops")

    taken = 0
    for stop in stops:
        play(records[taken:stop], session)
        kept.save(session)
        session = kept.load()
        taken = data.draw(st.integers(0, first_needed(records[:stop], session)), label="replay from")
    play(records[taken:], session)
    session.finish(BEGIN_NS)
    kept.save(session)

    assert kept.rows == uninterrupted
    assert kept.state == msgspec.msgpack.encode(finished_state(records))
    assert kept.calls == {}


def first_needed(records: list[journal.Record], session: Session) -> int:
    """Return the first record that cannot be unlinked: it tells of bytes behind `consumed`."""
    for number, item in enumerate(records):
        reached = dict.fromkeys(journal.STREAMS, 0)
        if item.kind in journal.STREAMS:
            reached[item.kind] = item.stream_offset + len(item.data)
        elif item.kind == journal.END_OF_SEGMENT:
            reached = dict(zip(journal.STREAMS, read_totals(bytes(item.data)), strict=True))
        if any(offset > session.state.stream(number).consumed for number, offset in reached.items()):
            return number
    return len(records)


def finished_state(records: list[journal.Record]) -> SessionState:
    session = play(records)
    session.finish(BEGIN_NS)
    return session.state


@given(journals(), st.data())
def test_records_that_come_again_change_nothing(records: list[journal.Record], data: st.DataObject) -> None:
    end = data.draw(st.integers(0, len(records)), label="end")
    begin = data.draw(st.integers(0, end), label="begin")

    assert play_all(records[:end] + records[begin:]) == play_all(records)


@given(steps, st.data())
def test_any_chunking_gives_the_same_rows(written: list[Step], data: st.DataObject) -> None:
    pieces = []
    for stream, content in written:
        cuts = sorted({0, len(content), *data.draw(st.lists(st.integers(0, len(content))))})
        pieces += [(stream, content[begin:end]) for begin, end in itertools.pairwise(cuts)]

    whole = play_all([start(), *make_records(*written)])

    assert untimed(play_all([start(), *make_records(*pieces)])) == untimed(whole)


@given(journals())
def test_metadata_mode_keeps_facts_and_nothing_else(records: list[journal.Record]) -> None:
    full = events_of(play_all(records))

    metadata = events_of(play_all([start("metadata"), *records[1:]]))

    assert all(event.payload is None and event.sha256 is None for event in metadata)
    for one, other in zip(full, metadata, strict=True):
        one.payload = one.payload_state = one.sha256 = other.payload_state = None
        assert one == other
