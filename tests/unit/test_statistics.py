"""Statistics: buckets, percentiles, and what counts as what."""

import copy

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kilometers.core.event import CLIENT_TO_SERVER, SERVER_TO_CLIENT, Direction, Event
from kilometers.core.statistics import (
    PERIOD_US,
    Call,
    Key,
    Rollup,
    bucket_of,
    call_of,
    key_of,
    latency_us,
    middle_of,
)
from unit.scripted import call, cancelled, client, listen, log, record, server

Counted = tuple[str, str | None, int | None, int | None]

durations_us = st.integers(0, 2**53)
counted = st.one_of(
    st.tuples(st.just("request"), st.none(), st.none(), st.integers(0, 2**40)),
    st.tuples(
        st.sampled_from(("response", "error")),
        st.sampled_from(("ok", "error", "tool_error", "cancelled", "input_required")),
        st.none() | durations_us,
        st.none() | st.integers(0, 2**40),
    ),
    st.tuples(st.just("notification"), st.just("cancelled"), durations_us, st.integers(0, 2**40)),
)
parts = st.lists(counted, max_size=20)


def rollup_of(events: list[Counted]) -> Rollup:
    rollup = Rollup()
    for kind, status, duration_us, size_bytes in events:
        rollup.count(kind, status, duration_us, size_bytes)
    return rollup


def answered_after(*durations_us: int) -> Rollup:
    return rollup_of([("response", "ok", duration_us, 0) for duration_us in durations_us])


def merged(*rollups: Rollup) -> Rollup:
    total = Rollup()
    for rollup in rollups:
        total.merge(rollup)
    return total


@given(durations_us, durations_us)
def test_buckets_keep_the_order_of_values(one: int, other: int) -> None:
    low, high = sorted((one, other))

    assert bucket_of(low) <= bucket_of(high)


@given(durations_us)
def test_middle_of_a_bucket_is_at_most_a_32nd_off(value: int) -> None:
    assert abs(middle_of(bucket_of(value)) - value) * 32 <= value


@given(st.integers(0, 2_000))
def test_middle_of_a_bucket_lies_in_it(bucket: int) -> None:
    assert bucket_of(middle_of(bucket)) == bucket


@given(durations_us)
def test_no_bucket_is_left_out(value: int) -> None:
    assert bucket_of(value + 1) - bucket_of(value) in {0, 1}


@given(st.lists(durations_us, min_size=1, max_size=200), st.integers(1, 100))
def test_percentile_is_at_most_a_32nd_off_the_nearest_rank(durations: list[int], percent: int) -> None:
    rank = max(1, -(-len(durations) * percent // 100))
    exact = sorted(durations)[rank - 1]

    found = answered_after(*durations).percentile_us(percent)

    assert found is not None
    assert abs(found - exact) * 32 <= exact


@given(st.lists(durations_us, min_size=1, max_size=200))
def test_percentiles_rise_up_to_the_maximum(durations: list[int]) -> None:
    rollup = answered_after(*durations)

    found = [rollup.percentile_us(percent) or 0 for percent in (1, 50, 95, 99, 100)]

    assert found == sorted(found)
    assert found[-1] <= rollup.max_us == max(durations)


def test_without_answers_there_is_no_percentile() -> None:
    assert rollup_of([("request", None, None, 10)]).percentile_us(50) is None


@given(parts, parts, parts)
def test_merging_is_associative_and_commutative(one: list[Counted], two: list[Counted], three: list[Counted]) -> None:
    first, second, third = rollup_of(one), rollup_of(two), rollup_of(three)

    assert merged(first, second) == merged(second, first)
    assert merged(merged(first, second), third) == merged(first, merged(second, third))


@given(parts, parts)
def test_merged_parts_are_the_whole(one: list[Counted], two: list[Counted]) -> None:
    assert merged(rollup_of(one), rollup_of(two)) == rollup_of(one + two)


@given(parts, parts)
def test_merging_leaves_the_other_as_it_was(one: list[Counted], two: list[Counted]) -> None:
    other = rollup_of(two)
    before = copy.deepcopy(other)

    merged(rollup_of(one), other).count("response", "ok", 5, 5)

    assert other == before


@pytest.mark.parametrize(
    ("events", "expected"),
    [
        ([("request", None, None, 10)], Rollup(calls=1, size_bytes=10)),
        ([("response", "ok", 7, 10)], Rollup(size_bytes=10, max_us=7, histogram={7: 1})),
        ([("response", "tool_error", 7, 10)], Rollup(errors=1, size_bytes=10, max_us=7, histogram={7: 1})),
        ([("error", "error", 7, 10)], Rollup(errors=1, size_bytes=10, max_us=7, histogram={7: 1})),
        ([("response", "input_required", 7, 10)], Rollup(size_bytes=10, max_us=7, histogram={7: 1})),
        ([("response", "ok", None, 10)], Rollup(size_bytes=10)),
        ([("response", "ok", 0, None)], Rollup(histogram={0: 1})),
        ([("notification", "cancelled", 7, 10)], Rollup(cancelled=1)),
        ([("error", "cancelled", 7, 10)], Rollup(size_bytes=10)),
        ([("notification", "cancelled", 7, 10), ("response", "cancelled", 9, 20)], Rollup(cancelled=1, size_bytes=20)),
    ],
)
def test_event_counts_as(events: list[Counted], expected: Rollup) -> None:
    assert rollup_of(events) == expected


def calls_of(events: list[Event]) -> list[Call | None]:
    return [call_of(event.kind, event.direction, event.method, event.target) for event in events]


def called(method: str, target: str | None = None, direction: Direction = CLIENT_TO_SERVER) -> Call:
    return Call(direction, method, target)


def test_answers_belong_to_the_call_that_they_answer() -> None:
    events = record(call(1, "sum"), server(id=1, result={}), call(2, "sum"), server(id=2, error={"code": 1}))

    assert calls_of(events) == [called("tools/call", "sum")] * 4


def test_call_of_the_server_travels_the_other_way() -> None:
    events = record(server(id=1, method="roots/list"), client(id=1, result={}))

    assert calls_of(events) == [called("roots/list", direction=SERVER_TO_CLIENT)] * 2


@pytest.mark.parametrize(
    "steps",
    [
        [server(id=9, result={})],
        [client(method="notifications/initialized")],
        [log(b"starting\n")],
        [server(b"banner\n")],
        [client(b"[]\n")],
    ],
)
def test_orphans_and_what_is_no_call_count_nowhere(steps: list[tuple[int, bytes]]) -> None:
    assert calls_of(record(*steps)) == [None]


def test_late_answer_belongs_to_the_cancelled_call() -> None:
    events = record(call(1, "sum"), client(**cancelled(1)), server(id=1, result={}))

    assert calls_of(events) == [called("tools/call", "sum"), None, called("tools/call", "sum")]
    assert [event.status for event in events] == [None, "cancelled", "cancelled"]


def test_listen_has_no_latency() -> None:
    opened, ended = record(listen(1), server(id=1, result={}))

    assert latency_us(called(opened.method or ""), ended.duration_us) is None
    assert latency_us(called("ping"), ended.duration_us) == ended.duration_us == 1000


@pytest.mark.parametrize(
    ("call", "at_us", "key"),
    [
        (called("tools/call", "sum"), 0, Key(0, CLIENT_TO_SERVER, "tools/call", "sum")),
        (called("tools/call"), PERIOD_US - 1, Key(0, CLIENT_TO_SERVER, "tools/call", "")),
        (called("resources/read", "notes://a"), PERIOD_US, Key(1, CLIENT_TO_SERVER, "resources/read", "")),
        (called("ping", None, SERVER_TO_CLIENT), 3 * PERIOD_US + 5, Key(3, SERVER_TO_CLIENT, "ping", "")),
    ],
)
def test_rollup_is_found_by_period_direction_method_and_tool(call: Call, at_us: int, key: Key) -> None:
    assert key_of(call, at_us) == key
