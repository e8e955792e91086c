import hashlib
import json
import tracemalloc

import msgspec
import pytest

from kilometers.core import journal
from kilometers.core.event import CLIENT_TO_SERVER, MAX_WIRE_BYTES, at_time, decode
from kilometers.core.frames import MAX_BATCH_ITEMS, MAX_FRAME_BYTES, MAX_LOG_BYTES, MAX_PAYLOAD_BYTES
from kilometers.core.session import Session, SessionState, new_state
from kilometers.core.summary import summarize
from unit.scripted import (
    BEGIN_NS,
    MILLISECOND_NS,
    SESSION_ID,
    Kept,
    client,
    events_of,
    finished,
    log,
    make_record,
    make_records,
    play,
    play_all,
    record,
    server,
    start,
)

PING = b'{"jsonrpc":"2.0","id":1,"method":"ping"}'
PONG = b'{"jsonrpc":"2.0","id":1,"result":{}}'
MEBIBYTE = 1 << 20


@pytest.mark.parametrize(
    ("data", "reason", "text"),
    [
        (b"Server running on stdio\n", "not_json", "Server running on stdio"),
        (PING + PING + b"\n", "not_json", (PING + PING).decode()),
        (b'{"level":"info"}\n', "not_jsonrpc", '{"level":"info"}'),
        (b'{"jsonrpc":"2.0","id":null,"method":"m"}\n', "invalid_request", '{"jsonrpc":"2.0","id":null,"method":"m"}'),
        (b"[" * 100_000 + b"]" * 100_000 + b"\n", "too_deep", "[" * 199 + "…"),
        (b"\x1b[2Jcaf\xe9\n", "not_json", "\\x1b[2Jcaf\N{REPLACEMENT CHARACTER}"),
        (b'{"jsonrpc":"2.0","id"', "unterminated", '{"jsonrpc":"2.0","id"'),
        (b" \n", "blank", ""),
    ],
)
def test_what_is_no_message_is_undecodable_with_an_excerpt(data: bytes, reason: str, text: str) -> None:
    (event,) = record(server(data))

    assert (event.kind, event.reason, event.size_bytes) == ("undecodable", reason, len(data))
    if text:
        assert msgspec.json.decode(event.payload or b"") == text


@pytest.mark.parametrize(
    ("data", "payload"),
    [
        (PING + b"\r\n", PING),
        (b"\n \r\n" + PING + b"\n", PING),
        (b"\xef\xbb\xbf" + PING + b"\n", PING),
        (PING.replace(b",", b",\r") + b"\n", PING.replace(b",", b",\r")),
        (PING, PING),
    ],
)
def test_message_is_kept_as_it_is(data: bytes, payload: bytes) -> None:
    (event,) = record(client(data))

    assert (event.kind, event.size_bytes, event.payload_state) == ("request", len(data), "full")
    assert event.payload == msgspec.Raw(payload)


@pytest.mark.parametrize("value", [b'"\\ud800"', b"NaN", b'"\xff"'])
def test_message_that_only_some_read_is_paired_and_marked(value: bytes) -> None:
    request, answer = record(
        client(b'{"jsonrpc":"2.0","id":1,"method":"tools/call","params":{"name":"echo","x":%s}}\n' % value),
        server(b'{"jsonrpc":"2.0","id":1,"result":{"x":%s}}\n' % value),
    )

    assert (request.kind, request.target, request.payload_state) == ("request", "echo", "truncated")
    assert (answer.kind, answer.call_seq) == ("response", 0)


def test_message_that_grows_when_it_is_made_json_is_truncated() -> None:
    (event,) = record(client(b'{"jsonrpc":"2.0","id":1,"method":"m","params":["%s"]}\n' % (b"\xff" * 500_000)))

    assert (event.payload_state, event.sha256) == ("truncated", None)
    assert json.loads(bytes(event.payload or b""))["id"] == 1


def test_batch_has_the_size_and_its_elements_have_none() -> None:
    data = b"[" + PING + b',5,[],{"jsonrpc":"2.0","method":"notifications/x"},' + PONG + b"]\n"

    events = record(client(data), server(PONG + b"\n"))

    assert [event.kind for event in events] == [
        "batch", "request", "undecodable", "undecodable", "notification", "response", "response",
    ]  # fmt: skip
    assert [event.size_bytes for event in events] == [len(data), None, None, None, None, None, len(PONG) + 1]
    assert [event.call_seq for event in events] == [None, None, None, None, None, None, 1]


def test_empty_batch_is_one_event() -> None:
    (event,) = record(client(b"[]\n"))

    assert (event.kind, event.size_bytes, event.payload) == ("batch", 3, None)


@pytest.mark.parametrize(("items", "events"), [(MAX_BATCH_ITEMS, MAX_BATCH_ITEMS + 1), (500_000, 1)])
def test_hostile_batch_gives_a_bounded_number_of_events(items: int, events: int) -> None:
    recorded = record(client(b"[" + b",".join([b"1"] * items) + b"]\n"))

    assert len(recorded) == events
    assert recorded[0].size_bytes == 2 * items + 2


def request_of(size_bytes: int) -> bytes:
    head, tail = b'{"jsonrpc":"2.0","id":1,"method":"tools/call","params":{"name":"write","text":"', b'"}}\n'
    return head + b"x" * (size_bytes - len(head) - len(tail)) + tail


@pytest.mark.parametrize(
    ("size_bytes", "payload_state"),
    [
        (MAX_PAYLOAD_BYTES - 1000, "full"),
        (MAX_PAYLOAD_BYTES, "truncated"),
        (MAX_PAYLOAD_BYTES + 1, "truncated"),
        (MAX_PAYLOAD_BYTES + 2, "omitted"),
        (10 * MEBIBYTE, "omitted"),
        (MAX_FRAME_BYTES + 1, "omitted"),
    ],
)
def test_large_message_is_paired_and_its_payload_bounded(size_bytes: int, payload_state: str) -> None:
    data = request_of(size_bytes)

    request, answer = record(client(data), server(PONG + b"\n"))

    assert (request.target, request.size_bytes, request.payload_state) == ("write", size_bytes, payload_state)
    assert request.sha256 == (hashlib.sha256(data[:-1]).hexdigest() if payload_state == "omitted" else None)
    assert answer.call_seq == 0


@pytest.mark.parametrize("filler", [b"\xff", b"\x01", b'"', b"\\ud800", "€".encode()])
def test_encoded_event_is_never_over_the_limit(filler: bytes) -> None:
    text = filler * (MAX_PAYLOAD_BYTES // len(filler) - 100)
    lines = [b'{"id":1,"method":"m","params":{"a":[1,"%s"]}}\n' % text, text + b"\n", b'["' + text + b'"]\n']

    rows = play_all([start(), *make_records(*map(client, lines), *map(log, lines))])

    assert max(len(row.wire) for row in rows) <= MAX_WIRE_BYTES
    for row in rows:
        json.loads(row.wire)


def test_message_over_the_frame_limit_is_counted_and_not_held() -> None:
    piece, session = b"x" * (256 << 10), play([start()])

    tracemalloc.start()
    for number in range(160):
        session.take(make_record(journal.SERVER_TO_CLIENT, piece, stream_offset=number * len(piece)))
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    session.take(make_record(journal.SERVER_TO_CLIENT, b"\n" + PONG + b"\n", stream_offset=160 * len(piece)))
    oversized, response = events_of(finished(session))

    assert peak < 2 * MAX_FRAME_BYTES
    assert (oversized.kind, oversized.reason, oversized.size_bytes) == (
        "undecodable",
        "oversized",
        160 * len(piece) + 1,
    )
    assert (response.kind, response.size_bytes) == ("response", len(PONG) + 1)


def test_message_over_the_frame_limit_is_counted_across_a_stop() -> None:
    steps = [server(b"x" * 4 * MEBIBYTE) for _ in range(6)] + [server(b"\n")]
    records, kept = [start(), *make_records(*steps)], Kept()

    kept.save(play(records[:6]))
    rows = finished(play(records[6:], kept.load()))

    assert [(row.kind, row.size_bytes) for row in rows] == [("undecodable", 24 * MEBIBYTE + 1)]


def test_poison_frame_is_undecodable_without_an_excerpt() -> None:
    def is_poison(stream: int, offset: int, size_bytes: int) -> bool:
        return (stream, offset, size_bytes) == (journal.CLIENT_TO_SERVER, len(PING) + 1, len(PING) + 1)

    session = play(
        [start(), *make_records(client(PING + b"\n" + PING + b"\n"))],
        Session(new_state(SESSION_ID), is_poison=is_poison),
    )
    _, event = events_of(finished(session))

    assert (event.kind, event.reason, event.size_bytes) == ("undecodable", "crashed_recorder", len(PING) + 1)
    assert event.payload is None


def test_time_is_when_the_last_bytes_were_read() -> None:
    request, answer = record(client(PING[:5]), client(PING[5:] + b"\n"), server(PONG), server(b"\n"))

    assert request.at == at_time(BEGIN_NS + 2 * MILLISECOND_NS)
    assert (answer.at, answer.duration_us) == (at_time(BEGIN_NS + 4 * MILLISECOND_NS), 2000)


def test_clock_that_was_read_too_early_makes_no_negative_duration() -> None:
    request, answer = make_records(client(PING + b"\n"), server(PONG + b"\n"))
    answer.monotonic_ns = request.monotonic_ns - 5000

    assert events_of(play_all([start(), request, answer]))[1].duration_us == 0


def test_end_of_file_that_comes_again_ends_nothing() -> None:
    end = make_record(journal.CLIENT_TO_SERVER, b"")
    records = make_records(client(PING[:9]), client(PING[9:] + b"\n"))

    events = events_of(play_all([start(), end, records[0], end, records[1]]))

    assert [event.kind for event in events] == ["request"]


def test_unterminated_line_keeps_its_time() -> None:
    request, answer = record(client(PING), client(b""), server(PONG))

    assert request.at == at_time(BEGIN_NS + MILLISECOND_NS)
    assert answer.duration_us == 2000


def test_call_before_a_gap_has_its_true_duration() -> None:
    records = [start(), *make_records(client(PING), server(PONG + b"\n"))]
    records.insert(2, make_record(journal.CLIENT_TO_SERVER, b"x\n", stream_offset=500, after_ns=MILLISECOND_NS))

    events = events_of(play_all(records))

    assert [event.kind for event in events] == ["request", "gap", "undecodable", "response"]
    assert events[3].duration_us == 1000


def test_gap_tears_what_stands_around_it() -> None:
    records = [
        make_record(journal.CLIENT_TO_SERVER, b'{"jsonrpc', after_ns=1000),
        make_record(
            journal.CLIENT_TO_SERVER, b'"ping"}\n' + PING + b"\nbanner\n", stream_offset=109, after_ns=5000, reason=1
        ),
    ]

    torn, gap, tail, request, banner = events_of(play_all([start(), *records]))

    assert (torn.kind, torn.reason, torn.size_bytes) == ("undecodable", "torn", 9)
    assert (gap.kind, gap.direction, gap.at) == ("gap", CLIENT_TO_SERVER, at_time(BEGIN_NS + 1000))
    assert gap.gap is not None
    assert (gap.gap.reason, gap.gap.bytes, gap.gap.until) == ("journal_full", 100, at_time(BEGIN_NS + 5000))
    assert (tail.kind, tail.reason, tail.size_bytes) == ("undecodable", "torn", 8)
    assert (request.kind, banner.reason) == ("request", "not_json")


def test_whole_messages_around_a_gap_are_messages() -> None:
    records = [
        make_record(journal.CLIENT_TO_SERVER, PING),
        make_record(journal.CLIENT_TO_SERVER, PING + b"\n", stream_offset=500),
    ]

    events = events_of(play_all([start(), *records]))

    assert [event.kind for event in events] == ["request", "gap", "request"]


def test_missing_end_is_a_gap_by_the_totals() -> None:
    fields = journal.pack_fields([*journal.pack_totals([0, 50, 0, 7]), ("exit_status", "0")])

    events = events_of(play_all([start(), *make_records(client(PING + b"\n")), make_record(journal.END, fields)]))

    assert [(event.kind, event.direction) for event in events[1:]] == [("gap", CLIENT_TO_SERVER), ("gap", None)]
    assert [event.gap.bytes for event in events if event.gap] == [50 - len(PING) - 1, 7]


def test_unknown_reason_of_a_newer_relay_is_unknown() -> None:
    (gap,) = events_of(play_all([make_record(journal.STDERR, b"", stream_offset=5, reason=200)]))

    assert gap.gap is not None
    assert (gap.gap.reason, gap.gap.bytes) == ("unknown", 5)


def test_lost_journal_is_a_gap_of_unknown_size() -> None:
    session = play([start(), *make_records(client(PING[:9]))])

    session.lose("lost_journal", BEGIN_NS)
    torn, gap = events_of(finished(session))

    assert (torn.reason, torn.size_bytes) == ("torn", 9)
    assert gap.gap is not None
    assert (gap.direction, gap.gap.reason, gap.gap.bytes) == (None, "lost_journal", None)


def test_log_lines_are_events_of_no_direction() -> None:
    events = record(log(b"one\r\ntwo\rtwo\n\nlast \xff"))

    assert [(event.kind, event.direction, event.size_bytes) for event in events] == [
        ("log", None, 5), ("log", None, 8), ("log", None, 1), ("log", None, 6),
    ]  # fmt: skip
    assert [msgspec.json.decode(event.payload or b"") for event in events] == [
        "one", "two\rtwo", "", "last \N{REPLACEMENT CHARACTER}",
    ]  # fmt: skip


def test_long_log_line_is_several_events() -> None:
    events = record(log(b"x" * 100_000), log(b"y" * 100_000 + b"\n"))

    assert [event.size_bytes for event in events] == [MAX_LOG_BYTES] * 3 + [200_001 - 3 * MAX_LOG_BYTES]


@pytest.mark.parametrize(("capture", "is_kept"), [("full", True), ("metadata", False), ("new in a later km", False)])
def test_payloads_are_kept_only_where_the_session_says_full(capture: str, is_kept: bool) -> None:  # noqa: FBT001 - a column
    steps = client(PING + b"\n"), server(b"banner\n"), log(b"secret\n")

    assert {event.payload is not None for event in record(*steps, capture=capture)} == {is_kept}


def test_payloads_are_not_kept_where_the_settings_are_lost() -> None:
    (event,) = events_of(play_all(make_records(client(PING + b"\n"))))

    assert (event.payload, event.payload_state) == (None, "omitted")


def test_first_start_counts() -> None:
    session = play([start("metadata"), start("full"), *make_records(client(PING + b"\n"))])

    assert decode(finished(session)[0].wire).payload is None


def test_fields_that_are_no_utf_8_can_be_saved() -> None:
    fields = journal.pack_fields([("name", "x"), ("argv", "caf\udce9"), ("argv", "é")])
    session = play([make_record(journal.START, fields), make_record(journal.END, fields)])

    state = msgspec.msgpack.decode(msgspec.msgpack.encode(session.sync_state()), type=SessionState)

    assert state.fields["argv"] == state.end_fields["argv"] == ["caf?", "é"]
    assert msgspec.json.encode(summarize(state, is_ended=True))


def test_summary_tells_of_a_session_that_ended() -> None:
    fields = journal.pack_fields([*journal.pack_totals([0, 0, 0, 5]), ("exit_status", "3")])
    steps = [client(id=1, method="initialize", params={"clientInfo": {"name": "c"}}), server(id=1, error={"code": 1})]
    session = play([start(), *make_records(*steps), make_record(journal.END, fields, after_ns=9 * MILLISECOND_NS)])
    session.finish(0)

    summary = summarize(session.state, is_ended=True)

    assert (summary.name, summary.capture, summary.exit_status, summary.is_clean) == ("memory", "full", 3, True)
    assert (summary.events, summary.calls, summary.errors, summary.gaps, summary.is_probe) == (3, 1, 1, 1, False)
    assert summary.ended_at == at_time(BEGIN_NS + 9 * MILLISECOND_NS)
    assert summary.client is not None
    assert summary.client.name == "c"


def test_session_that_was_killed_ends_with_its_last_bytes_and_unclean() -> None:
    session = play([start(), *make_records(client(PING + b"\n"))])
    session.finish(BEGIN_NS + 10**12)

    summary = summarize(session.state, is_ended=True)

    assert (summary.ended_at, summary.is_clean) == (at_time(BEGIN_NS + MILLISECOND_NS), False)
    assert summary.unanswered == 1


def test_session_that_lives_says_nothing_of_its_end() -> None:
    session = play([start(), *make_records(client(id=1, method="server/discover"))])

    summary = summarize(session.sync_state(), is_ended=False)

    assert (summary.ended_at, summary.is_clean, summary.exit_status, summary.is_probe) == (None, None, None, False)
