import hashlib
import json
import re
from datetime import UTC, datetime
from typing import Any

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from kilometers.core.event import (
    EXCERPT_CHARACTERS,
    MAX_TEXT,
    MAX_WIRE_BYTES,
    Event,
    Gap,
    Implementation,
    at_time,
    chain_hash,
    cut_text,
    decode,
    encode,
    excerpt,
    shrink,
)

AT = datetime(2026, 11, 23, 5, 15, 25, 123456, tzinfo=UTC)

texts = st.text(st.characters(exclude_categories=["Cs"]), max_size=80)
values = st.recursive(
    st.none() | st.booleans() | st.integers(-(10**20), 10**20) | texts | st.just("long " * 30),
    lambda inner: st.lists(inner) | st.dictionaries(texts, inner),
    max_leaves=20,
)


def make_event(payload: bytes | None = None, **facts: Any) -> Event:
    event = Event("017f22e2-79b0-7cc3-98c4-dc0c0c07398f", 3, AT, "request", payload_state="full", **facts)
    event.payload = None if payload is None else msgspec.Raw(payload)
    return event


def shape(value: Any) -> Any:
    if isinstance(value, list):
        return [shape(item) for item in value]
    if isinstance(value, dict):
        return {key: shape(item) for key, item in value.items()}
    return "" if isinstance(value, str) else value


@given(texts, st.none() | texts, st.none() | texts, st.none() | values)
def test_event_reads_back(method: str, target: str | None, name: str | None, payload: Any) -> None:
    client = None if name is None else Implementation(name, name)
    written = json.dumps(payload).encode()
    event = make_event(written, method=method, target=target, client=client, gap=Gap("damaged", 5, AT))

    assert decode(encode(event)) == event


@pytest.mark.parametrize(
    "payload",
    [
        b'{"a":"\\ud800"}',
        b'{"a":1e400}',
        b'{"payload":{"a":",\\"payload\\":"}}',
        b"[" * 900 + b"]" * 900,
        b"9" * 5000,
    ],
)
def test_payload_reads_back_even_where_parsers_give_up(payload: bytes) -> None:
    event = make_event(payload, method=',"payload":{')

    assert bytes(decode(encode(event)).payload or b"") == payload


def test_event_without_payload_reads_back() -> None:
    event = make_event()

    assert decode(encode(event)) == event


def test_absent_facts_are_not_written() -> None:
    wire = encode(make_event(b"{}", error_code=0, method=""))

    assert list(json.loads(wire)) == [
        "session_id", "seq", "at", "kind", "method", "error_code", "payload_state", "payload",
    ]  # fmt: skip


def test_time_has_microseconds_and_zone() -> None:
    wire = encode(make_event())

    assert json.loads(wire)["at"] == "2026-11-23T05:15:25.123456Z"
    assert at_time(1_795_410_925_123_456_789) == AT


def test_chain_hash_is_of_the_previous_one_and_the_wire() -> None:
    assert chain_hash(b"previous", b"wire") == hashlib.sha256(b"previouswire").digest()


@pytest.mark.parametrize("missing", range(-3, 10))
def test_event_around_the_limit_is_never_longer(missing: int) -> None:
    overhead = len(encode(make_event(b'""')))
    text = "x" * (MAX_WIRE_BYTES - overhead + missing)

    wire = encode(make_event(json.dumps(text).encode()))

    assert len(wire) <= MAX_WIRE_BYTES
    assert json.loads(wire)["payload_state"] == ("full" if missing <= 0 else "truncated")


@settings(max_examples=20)
@given(st.lists(st.integers(0, 3000), min_size=300, max_size=300))
def test_any_payload_of_strings_fits(lengths: list[int]) -> None:
    payload = json.dumps(["\u20ac" * length for length in lengths] + ["x" * MAX_WIRE_BYTES], ensure_ascii=False)

    wire = encode(make_event(payload.encode()))

    assert len(wire) <= MAX_WIRE_BYTES
    assert len(json.loads(wire)["payload"]) == 301


def test_longest_strings_are_cut_and_the_shape_is_kept() -> None:
    value = {"name": "read", "content": [{"text": "y" * 2_000_000}, {"n": 1.5, "ok": True, "none": None}], "": []}

    kept = json.loads(encode(make_event(json.dumps(value).encode())))["payload"]

    assert kept["content"][0]["text"].startswith("y" * 500_000)
    assert re.search(r"y… \[9\d{5} characters cut\]$", kept["content"][0]["text"])
    assert shape(kept) == shape(value)
    assert kept["content"][1] == value["content"][1]


@pytest.mark.parametrize(
    "payload",
    [
        b"[" + b"1," * 600_000 + b"1]",
        b'{"%s":1}' % (b"k" * 1_100_000),
        b'{"a":' * 600 + b"1" * 1_100_000 + b"}" * 600,
        b"[" * 100_000 + b'"%s"' % (b"x" * 1_100_000) + b"]" * 100_000,
    ],
)
def test_payload_without_long_strings_is_omitted_with_its_digest(payload: bytes) -> None:
    event = decode(encode(make_event(payload)))

    assert (event.payload_state, event.payload) == ("omitted", None)
    assert event.sha256 == hashlib.sha256(payload).hexdigest()


@given(values, st.integers(0, 2000))
def test_shrunk_payload_keeps_its_shape_within_the_limit(value: Any, limit: int) -> None:
    shrunk = shrink(json.dumps(value).encode(), limit)

    assert len(shrunk) <= limit
    if shrunk:
        assert shape(json.loads(shrunk)) == shape(value)


def test_shrunk_payload_is_json_even_with_numbers_beyond_a_float() -> None:
    shrunk = shrink(b'[1e400,"%s"]' % (b"x" * 5000), 1000)

    assert json.loads(shrunk, parse_constant=pytest.fail)[0] == "1e400"


@pytest.mark.parametrize("length", [MAX_TEXT, MAX_TEXT + 1, 10 * MAX_TEXT])
def test_text_is_cut_at_its_limit(length: int) -> None:
    cut = cut_text("é" * length)

    assert len(cut) == MAX_TEXT
    assert cut.endswith("…") == (length > MAX_TEXT)


@given(st.binary(max_size=1000) | st.text().map(str.encode))
def test_excerpt_is_short_and_safe_to_print(data: bytes) -> None:
    text = excerpt(data)

    assert len(text) <= EXCERPT_CHARACTERS
    assert text.isprintable()


@pytest.mark.parametrize(
    ("data", "text"),
    [
        (b"  Server ready\r", "Server ready"),
        (b"\x1b[31mred\x00", "\\x1b[31mred\\x00"),
        (b"caf\xe9", "caf\N{REPLACEMENT CHARACTER}"),
        (b"x" * 300, "x" * 199 + "…"),
    ],
)
def test_excerpt_is_the_beginning(data: bytes, text: str) -> None:
    assert excerpt(data) == text
