"""The timeline: which events make a line, which call an ending belongs to, and where times lie."""

import json
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from kilometers.core import journal
from kilometers.core.event import Event
from kilometers.core.timeline import PAUSE_US, Axis, Line, LineKind, find_endings, find_pauses, make_lines, merge_ticks
from unit.scripted import (
    BEGIN_NS,
    Step,
    call,
    cancelled,
    client,
    events_of,
    listen,
    log,
    make_record,
    modern,
    play_all,
    progress,
    record,
    server,
    start,
)

BEGIN_US = BEGIN_NS // 1000
SECOND_US = 1_000_000
ROUND = {"resultType": "input_required", "requestState": "first"}


def endings(*steps: Step) -> dict[int, int]:
    return seqs(record(*steps))


def seqs(events: list[Event]) -> dict[int, int]:
    return {seq: ending.seq for seq, ending in find_endings(events).items()}


def lines_of(*steps: Step, is_living: bool = False) -> list[Line]:
    events = record(*steps)
    return make_lines(events, find_endings(events), is_living=is_living)


def shapes(lines: list[Line]) -> list[tuple[int, str, str]]:
    return [(line.seq, line.kind, line.status) for line in lines]


def test_overlapping_calls_end_with_their_own_answers() -> None:
    steps = (call(1), call(2), server(id=2, result={}), server(id=1, result={}))

    assert endings(*steps) == {0: 3, 1: 2}
    assert [(line.duration_us, line.at_us + (line.duration_us or 0)) for line in lines_of(*steps)] == [
        (3000, BEGIN_US + 4000),
        (1000, BEGIN_US + 3000),
    ]


def test_same_id_in_both_directions_is_two_calls() -> None:
    steps = (
        call(1),
        server(id=1, method="sampling/createMessage"),
        client(id=1, result={}),
        server(id=1, result={}),
    )

    assert endings(*steps) == {0: 3, 1: 2}


@pytest.mark.parametrize(("asked", "answered"), [(1, "1"), ("1", 1), (1, 1.0)])
def test_id_that_is_answered_in_another_type_ends_its_call(asked: Any, answered: Any) -> None:
    assert endings(call(asked), call(2), server(id=answered, result={})) == {0: 2}


def test_duplicate_ids_in_flight_end_first_in_first_out() -> None:
    assert endings(call(1), call(1), server(id=1, result={}), server(id=1, result={})) == {0: 2, 1: 3}


def test_answer_to_a_request_before_the_window_ends_no_later_one_with_its_id() -> None:
    events = record(call(1), call(1), server(id=1, result={}), server(id=1, result={}))

    assert seqs(events[1:]) == {1: 3}


def test_id_that_is_used_again_after_a_cancellation_ends_the_new_call() -> None:
    steps = (call(1), client(**cancelled(1)), call(1), server(id=1, result={}), server(id=1, result={}))

    assert endings(*steps) == {0: 1, 2: 3}
    assert shapes(lines_of(*steps)) == [
        (0, "call", "cancelled"),
        (1, "tick", ""),
        (2, "call", "ok"),
        (4, "answer", "cancelled"),
    ]


def test_cancelled_call_ends_there_and_a_late_answer_is_a_line() -> None:
    lines = lines_of(call(1), client(**cancelled(1)), server(id=1, result={}))

    assert shapes(lines) == [(0, "call", "cancelled"), (1, "tick", ""), (2, "answer", "cancelled")]
    assert lines[0].duration_us == 1000


def test_each_round_of_a_call_ends_with_its_own_answer() -> None:
    again = client(id=2, method="tools/call", params={"name": "echo", "requestState": "first"})

    lines = lines_of(call(1), server(id=1, result=ROUND), again, server(id=2, result={}))

    assert shapes(lines) == [(0, "call", "input_required"), (2, "call", "ok")]
    assert [line.of_seq for line in lines] == [None, 0]


def test_late_answer_to_a_later_round_ends_no_other_call() -> None:
    again = client(id=2, method="tools/call", params={"name": "echo", "requestState": "first"})
    steps = (call(1), server(id=1, result=ROUND), again, client(**cancelled(2)), call(1), server(id=2, result={}))

    assert endings(*steps) == {0: 1, 2: 3}


def test_polled_task_ends_nothing_but_the_poll() -> None:
    created = server(id=1, result={"task": {"taskId": "t"}})
    poll = client(id=2, method="tasks/get", params={"taskId": "t"})

    assert endings(call(1), created, poll, server(id=2, result={})) == {0: 1, 2: 3}


def test_polls_with_the_same_id_end_first_in_first_out() -> None:
    created = server(id=1, result={"task": {"taskId": "t"}})
    poll, answer = client(id=2, method="tasks/get", params={"taskId": "t"}), server(id=2, result={})

    assert endings(call(1), created, poll, poll, answer, answer) == {0: 1, 2: 4, 3: 5}


def test_later_round_that_is_answered_in_another_type_ends() -> None:
    again = client(id=2, method="tools/call", params={"name": "echo", "requestState": "first"})

    assert endings(call(1), server(id=1, result=ROUND), again, server(id="2", result={})) == {0: 1, 2: 3}


def test_listen_stays_open_with_its_notifications_on_one_line() -> None:
    told = {"method": "notifications/tools/list_changed", "params": {"_meta": modern(subscriptionId=1)}}

    lines = merge_ticks(lines_of(listen(1), server(**told), server(**told), server(**told)))

    assert shapes(lines) == [(0, "call", "open"), (1, "tick", "")]
    assert lines[1].marks == [BEGIN_US + 2000, BEGIN_US + 3000, BEGIN_US + 4000]


def test_call_without_an_answer_is_open_while_its_session_lives() -> None:
    (living,) = lines_of(call(1), is_living=True)
    (over,) = lines_of(call(1))

    assert (living.status, over.status) == ("open", "unanswered")
    assert (living.end_us, living.duration_us) == (over.end_us, over.duration_us) == (None, None)


def test_answer_without_its_request_is_a_line() -> None:
    events = record(call(1), server(id=1, error={"code": -32601, "message": "no"}), server(id=7, result={}))

    lines = make_lines(events[1:], find_endings(events[1:]), is_living=False)

    assert shapes(lines) == [(1, "answer", "error -32601"), (2, "answer", "ok")]
    assert lines[0].duration_us == 1000


def test_batch_is_a_line_of_its_own_before_its_messages() -> None:
    requests = [{"jsonrpc": "2.0", "id": number, "method": "ping"} for number in (1, 2)]
    answers = [{"jsonrpc": "2.0", "id": number, "result": {}} for number in (2, 1)]
    steps = (client(json.dumps(requests).encode() + b"\n"), server(json.dumps(answers).encode() + b"\n"))

    assert shapes(lines_of(*steps)) == [(0, "tick", ""), (1, "call", "ok"), (2, "call", "ok"), (3, "tick", "")]


def test_gap_says_how_much_is_missing_and_until_when() -> None:
    half = make_record(journal.SERVER_TO_CLIENT, b'{"half', after_ns=1_000_000)
    behind = make_record(
        journal.SERVER_TO_CLIENT,
        b'tail}\n{"jsonrpc":"2.0","method":"a"}\n',
        stream_offset=500,
        after_ns=9_000_000,
        reason=1,
    )

    lines = make_lines(events_of(play_all([start(), half, behind])), {}, is_living=False)

    assert shapes(lines) == [
        (0, "text", "torn"),
        (1, "gap", journal.REASONS[1]),
        (2, "text", "torn"),
        (3, "tick", ""),
    ]
    assert (lines[1].size_bytes, lines[1].at_us, lines[1].end_us) == (500 - 6, BEGIN_US + 1000, BEGIN_US + 9000)


def test_gap_of_unknown_size_says_none() -> None:
    gap = msgspec.json.decode(
        b'{"session_id":"x","seq":0,"at":"2026-01-01T00:00:00Z","kind":"gap","gap":{"reason":"lost_journal"}}',
        type=Event,
    )

    (line,) = make_lines([gap], {}, is_living=False)

    assert (line.kind, line.status, line.size_bytes, line.end_us) == ("gap", "lost_journal", None, line.at_us)


def test_stderr_and_what_is_no_message_are_text() -> None:
    lines = lines_of(log(b"a\tline\r\n"), server(b"banner\n"), server(b"[1\n"))

    assert [(line.kind, line.status, line.text) for line in lines] == [
        ("text", "", "a\tline"),
        ("text", "not_json", "banner"),
        ("text", "not_json", "[1"),
    ]


def test_progress_on_one_call_is_one_line_and_on_another_one_more() -> None:
    asked = [call(number, _meta={"progressToken": number}) for number in (1, 2)]
    told = [server(**progress(token)) for token in (1, 1, 2, 1)]

    ticks = [line for line in merge_ticks(lines_of(*asked, *told)) if line.kind == "tick"]

    assert [(line.of_seq, len(line.marks)) for line in ticks] == [(0, 2), (1, 1), (0, 1)]


def test_notifications_about_no_call_stay_apart() -> None:
    told = server(method="notifications/message", params={})

    assert len(merge_ticks(lines_of(told, told))) == 2


def line_at(at_us: int, end_us: int | None = None, marks: list[int] | None = None, method: str = "x") -> Line:
    kind: LineKind = "tick" if marks else "call"
    return Line(seq=0, kind=kind, at_us=at_us, end_us=end_us, marks=marks or [], direction=None, label=method)


times_us = st.integers(0, 3_600_000_000)


@st.composite
def some_lines(draw: st.DrawFn) -> list[Line]:
    begins = sorted(draw(st.lists(times_us, min_size=1, max_size=12)))
    lines = []
    for begin in begins:
        end = draw(st.none() | st.integers(0, 10_000_000))
        marks = draw(st.lists(st.integers(0, 10_000_000), max_size=3))
        lines.append(line_at(begin, None if end is None else begin + end, [begin + mark for mark in sorted(marks)]))
    return lines


@given(some_lines(), st.lists(st.integers(-1_000_000, 4_000_000_000), min_size=2, max_size=20))
def test_places_rise_with_time_between_0_and_1(lines: list[Line], times: list[int]) -> None:
    axis = Axis(lines)

    places = [axis.place(at_us) for at_us in sorted(times)]

    assert places == sorted(places)
    assert all(0 <= place <= 1 for place in places)
    assert axis.place(min(line.at_us for line in lines)) == 0


@given(some_lines())
def test_last_thing_that_happens_is_at_the_end(lines: list[Line]) -> None:
    axis = Axis(lines)
    ends = [line.end_us for line in lines if line.end_us is not None]
    last_us = max([*ends, *(line.at_us for line in lines), *(mark for line in lines for mark in line.marks)])

    assert axis.place(last_us) == (0 if last_us == min(line.at_us for line in lines) else 1)


def test_everything_at_one_instant_is_at_the_beginning() -> None:
    assert [Axis([line_at(5)] * 3).place(at_us) for at_us in (0, 5, 6)] == [0, 0, 1]


def test_axis_of_nothing_has_a_beginning() -> None:
    assert Axis([]).place(0) == 0


def test_idle_hour_is_a_short_break() -> None:
    hour_us = 3600 * SECOND_US
    axis = Axis([line_at(0, SECOND_US), line_at(hour_us, hour_us + SECOND_US)])

    assert axis.is_shortened
    assert 0.45 < axis.place(SECOND_US) < 0.5 < axis.place(hour_us) < 0.55


def test_time_in_which_a_call_is_open_is_drawn_as_it_was() -> None:
    hour_us = 3600 * SECOND_US
    axis = Axis([line_at(0, hour_us), line_at(hour_us - SECOND_US, hour_us)])

    assert not axis.is_shortened
    assert axis.place(hour_us // 2) == 0.5


def test_listen_does_not_keep_idle_time_from_being_shortened() -> None:
    hour_us = 3600 * SECOND_US
    lines = [line_at(0, hour_us, method="subscriptions/listen"), line_at(1, 2), line_at(hour_us, hour_us + 1)]

    assert Axis(lines).is_shortened


def test_pause_is_found_where_nothing_happened_and_nothing_was_open() -> None:
    lines = lines_with_seqs(
        line_at(0, 2 * SECOND_US),
        line_at(SECOND_US, marks=[SECOND_US, 3 * SECOND_US]),
        line_at(3 * SECOND_US + PAUSE_US, None),
        line_at(3 * SECOND_US + 2 * PAUSE_US - 1),
    )

    assert find_pauses(lines) == {2: PAUSE_US}


def test_open_call_does_not_hide_a_pause() -> None:
    lines = lines_with_seqs(line_at(0), line_at(0, None, method="subscriptions/listen"), line_at(2 * PAUSE_US))

    assert find_pauses(lines) == {2: 2 * PAUSE_US}


def test_nothing_has_no_pause() -> None:
    assert find_pauses([]) == {}


def lines_with_seqs(*lines: Line) -> list[Line]:
    return [msgspec.structs.replace(line, seq=seq) for seq, line in enumerate(lines)]
