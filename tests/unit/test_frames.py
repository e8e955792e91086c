import itertools
import json
import tracemalloc

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kilometers.core.frames import (
    BLANK_LINES,
    MAX_BATCH_ITEMS,
    MAX_BLANK_BYTES,
    MAX_FRAME_BYTES,
    MAX_LOG_BYTES,
    MAX_PAYLOAD_BYTES,
    OVERSIZED,
    Batch,
    Frame,
    FrameSplitter,
    LineSplitter,
    Message,
    Undecodable,
    id_key,
    read_frame,
)

PING = b'{"jsonrpc":"2.0","id":1,"method":"ping"}'
SMALL = 16

# Lines around the limit of 16 bytes, blank ones, and everything in between.
streams = st.lists(st.sampled_from([b"\n", b" ", b"\r\n", b"\r", b"a", b"{}\n", b"x" * 15, b"x" * 17, b" " * 17])).map(
    b"".join
)


def cut(data: bytes, places: list[int]) -> list[bytes]:
    edges = sorted({0, len(data), *(place % (len(data) + 1) for place in places)})
    return [data[begin:end] for begin, end in itertools.pairwise(edges)]


def split(splitter: FrameSplitter, pieces: list[bytes]) -> list[Frame]:
    frames = [frame for piece in pieces for frame in splitter.feed(piece)]
    return frames + splitter.flush("unterminated")


def message(data: bytes) -> Message:
    found = read_frame(data)
    assert isinstance(found, Message)
    return found


@given(streams, st.lists(st.integers(0, 10_000)), st.sampled_from([FrameSplitter, LineSplitter]))
def test_any_chunking_gives_the_same_frames(data: bytes, places: list[int], kind: type[FrameSplitter]) -> None:
    whole = split(kind(max_bytes=SMALL), [data])

    assert split(kind(max_bytes=SMALL), cut(data, places)) == whole


@given(streams, st.lists(st.integers(0, 10_000)), st.sampled_from([FrameSplitter, LineSplitter]))
def test_frames_cover_every_byte_once(data: bytes, places: list[int], kind: type[FrameSplitter]) -> None:
    frames = split(kind(max_bytes=SMALL), cut(data, places))
    sizes = [frame.size_bytes for frame in frames]

    assert sum(sizes) == len(data)
    assert [frame.stream_offset for frame in frames] == [sum(sizes[:count]) for count in range(len(sizes))]


@given(streams, st.lists(st.integers(0, 10_000)), st.integers(0, 20))
def test_splitter_goes_on_from_consumed_and_skipped(data: bytes, places: list[int], stop: int) -> None:
    pieces = cut(data, places)
    whole = split(FrameSplitter(max_bytes=SMALL), pieces)
    first = FrameSplitter(max_bytes=SMALL)

    before = [frame for piece in pieces[:stop] for frame in first.feed(piece)]
    second = FrameSplitter(first.consumed, first.skipped, max_bytes=SMALL)

    assert before + split(second, [data[second.read_through :]]) == whole


def test_carriage_return_and_unicode_line_ends_end_no_frame() -> None:
    data = '{"a":\r"\u2028\u2029\u0085\x0b\x0c"}'.encode()

    frames = FrameSplitter().feed(data + b"\r\n")

    assert frames == [Frame(data + b"\r", len(data) + 2, 0)]


def test_blank_lines_count_to_the_next_frame() -> None:
    frames = FrameSplitter().feed(b"\n \t\r\n{}\n")

    assert frames == [Frame(b"{}", 8, 0)]


def test_endless_blank_lines_become_frames_of_their_own() -> None:
    splitter = FrameSplitter()

    frames = splitter.feed(b"\n" * (MAX_BLANK_BYTES + 1) + PING + b"\n")

    assert [(frame.problem, frame.size_bytes) for frame in frames] == [(BLANK_LINES, MAX_BLANK_BYTES + 1), ("", 41)]


@pytest.mark.parametrize("extra", [0, 1])
def test_frame_up_to_the_limit_is_held_and_a_longer_one_counted(extra: int) -> None:
    frames = FrameSplitter().feed(b"x" * (MAX_FRAME_BYTES + extra) + b"\n")

    assert [(len(frame.data), frame.problem) for frame in frames] == [
        (0, OVERSIZED) if extra else (MAX_FRAME_BYTES, "")
    ]
    assert frames[0].size_bytes == MAX_FRAME_BYTES + extra + 1


@pytest.mark.parametrize(("size_bytes", "times"), [(1 << 18, 400), (3, 200_000)])
def test_memory_stays_flat_whatever_the_frame(size_bytes: int, times: int) -> None:
    splitter, piece = FrameSplitter(max_bytes=1 << 20), b"x" * size_bytes

    tracemalloc.start()
    for _ in range(times):
        splitter.feed(piece)
    (frame,) = splitter.flush("unterminated")
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()

    assert frame.size_bytes == size_bytes * times
    assert peak < 5 << 20


def test_log_line_is_a_frame_blank_or_not() -> None:
    frames = LineSplitter().feed(b"one\r\n\nthree\rthree\nrest")

    assert [(frame.data, frame.size_bytes) for frame in frames] == [(b"one", 5), (b"", 1), (b"three\rthree", 12)]


def test_long_log_line_is_cut_into_pieces() -> None:
    splitter = LineSplitter()

    frames = splitter.feed(b"x" * (2 * MAX_LOG_BYTES) + b"yy\n") + splitter.feed(b"z" * MAX_LOG_BYTES + b"\n")

    assert [frame.size_bytes for frame in frames] == [MAX_LOG_BYTES, MAX_LOG_BYTES, 3, MAX_LOG_BYTES + 1]


@pytest.mark.parametrize(
    ("data", "kind"),
    [
        (b'{"jsonrpc":"2.0","id":0,"method":"m"}', "request"),
        (b'{"jsonrpc":"2.0","id":"","method":"m"}', "request"),
        (b'{"jsonrpc":"2.0","method":"m"}', "notification"),
        (b'{"result":{},"jsonrpc":"2.0","id":7}', "response"),
        (b'{"jsonrpc":"2.0","id":1,"result":null}', "response"),
        (b'{"jsonrpc":"2.0","id":1,"result":{},"error":null}', "response"),
        (b'{"jsonrpc":"2.0","id":1,"result":null,"error":{"code":1}}', "error"),
        (b'{"jsonrpc":"2.0","id":null,"error":{"code":-32700}}', "error"),
        (b'{"jsonrpc":"2.0","error":{"code":-32700}}', "error"),
        (b'{"id":1,"id":2,"method":"first","method":"m"}', "request"),
    ],
)
def test_kind_follows_from_the_members_present(data: bytes, kind: str) -> None:
    found = message(data)

    assert found.kind == kind
    assert found.method == ("m" if kind in {"request", "notification"} else "")


@pytest.mark.parametrize(
    ("data", "reason"),
    [
        (b"Server listening on stdio", "not_json"),
        (b"", "not_json"),
        (PING + PING, "not_json"),
        (PING[:-1], "not_json"),
        (PING + b"\x00", "not_json"),
        (b'{"id":1,"method":"a\x01b"}', "not_json"),
        (b"1", "not_jsonrpc"),
        (b'"text"', "not_jsonrpc"),
        (b"null", "not_jsonrpc"),
        (b'"\\ud800"', "not_jsonrpc"),
        (b"{}", "not_jsonrpc"),
        (b'{"level":"info","msg":"a log line"}', "not_jsonrpc"),
        (b'{"id":null,"result":{}}', "not_jsonrpc"),
        (b'{"id":1,"method":5}', "invalid_request"),
        (b'{"id":null,"method":"m"}', "invalid_request"),
        (b'{"id":true,"method":"m"}', "invalid_request"),
        (b'{"id":1.5,"method":"m"}', "invalid_request"),
        (b'{"id":1e400,"method":"m"}', "invalid_request"),
        (b'{"id":[%s],"method":"m"}' % (b"1," * 200 + b"1"), "invalid_request"),
        (b"[" * 100_000 + b"]" * 100_000, "too_deep"),
        (b'{"method":"m","params":' + b'{"a":' * 50_000 + b"1" + b"}" * 50_001, "too_deep"),
        (b'{"method":"m","a":"\\ud800","params":' + b"[" * 50_000 + b"]" * 50_000 + b"}", "too_deep"),
        (b"[" + b"1," * MAX_BATCH_ITEMS + b"1]", "batch_too_large"),
        (b'["' + b"x" * MAX_PAYLOAD_BYTES + b'"]', "batch_too_large"),
        (b'{"method":"m","params":"\\ud800' + b"x" * MAX_PAYLOAD_BYTES + b'"}', "not_json"),
    ],
)
def test_what_is_no_message_has_a_reason(data: bytes, reason: str) -> None:
    assert read_frame(data) == Undecodable(reason)


def test_byte_order_mark_and_line_end_are_not_of_the_message() -> None:
    found = message(b"\xef\xbb\xbf " + PING + b" \r")

    assert (found.payload, found.is_exact) == (PING, True)


def test_bare_carriage_return_is_white_space() -> None:
    assert message(PING.replace(b",", b",\r")).method == "ping"


@pytest.mark.parametrize(
    ("written", "kept"),
    [
        (b'"\\ud800"', b'"\\ud800"'),
        (b'"\xff"', b'"\\ufffd"'),
        (b'"\xed\xa0\x80"', b'"\\ufffd\\ufffd\\ufffd"'),
        (b"NaN", b'"NaN"'),
        (b"-Infinity", b'"-Infinity"'),
        (b'[1e400,"\\ud800"]', b'["1e400", "\\ud800"]'),
    ],
)
def test_what_only_some_parsers_accept_is_read_and_kept_as_json(written: bytes, kept: bytes) -> None:
    found = message(b'{"id":1,"method":"m","params":{"x":%s}}' % written)

    assert found.kind == "request"
    assert not found.is_exact
    assert found.payload == b'{"id": 1, "method": "m", "params": {"x": %s}}' % kept


def test_number_beyond_a_float_is_kept_as_it_is() -> None:
    data = b'{"id":1,"method":"m","params":{"x":1e400,"y":123456789012345678901234567890}}'

    assert message(data).payload == data


def test_batch_elements_are_kept_in_order() -> None:
    assert read_frame(b" [" + PING + b' , 5, [], {"a":1}]\r') == Batch([PING, b"5", b"[]", b'{"a":1}'])


def test_batch_with_a_lone_surrogate_is_a_batch() -> None:
    found = read_frame(b'[{"method":"m","params":"\\ud800"},' + PING + b"]")

    assert isinstance(found, Batch)
    assert [message(item).method for item in found.items] == ["m", "ping"]


@pytest.mark.parametrize(
    ("one", "other", "is_same"),
    [
        (b"1", b'"1"', False),
        (b"1", b"1.0", True),
        (b"1", b"1e0", True),
        (b"0", b"-0", True),
        (b"9007199254740993", b"9007199254740992", False),
        (b'"a"', b'"\\u0061"', True),
        (b'""', b"0", False),
        (b"1" * 300, b"1" * 300, True),
        (b"1" * 300, b"1" * 299 + b"2", False),
        (b'"%s"' % (b"x" * 300), b'"%s"' % (b"x" * 299), False),
    ],
)
def test_ids_are_the_same_by_type_and_value(one: bytes, other: bytes, is_same: bool) -> None:  # noqa: FBT001 - a column
    assert (id_key(one) == id_key(other)) == is_same
    assert id_key(one)


@pytest.mark.parametrize(
    "raw", [b"null", b"true", b"false", b"1.5", b"1e400", b"[]", b"{}", b"[" + b"1," * 200 + b"1]"]
)
def test_other_values_are_no_id(raw: bytes) -> None:
    assert id_key(raw) == ""


@given(st.binary(max_size=200) | st.text().map(str.encode) | st.just(PING).map(bytes))
def test_whatever_came_in_a_message_is_kept_as_json(data: bytes) -> None:
    found = read_frame(data)

    if isinstance(found, Message):
        json.loads(found.payload)


@given(st.integers(0, len(PING) - 1), st.integers(0, 255))
def test_damaged_message_raises_nothing(at: int, byte: int) -> None:
    damaged = bytearray(PING)
    damaged[at] = byte

    assert isinstance(read_frame(bytes(damaged)), Message | Undecodable)
