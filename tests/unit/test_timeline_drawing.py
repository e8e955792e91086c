"""Drawing a timeline: whatever is in it, its lines fit and move no cursor."""

from collections.abc import Iterator

import pytest
from hypothesis import given
from hypothesis import strategies as st
from rich.cells import cell_len, set_cell_size
from rich.text import Text

from kilometers.commands import event_lines
from kilometers.commands.timeline import draw, draw_header, offset
from kilometers.core.event import Event
from kilometers.core.timeline import find_endings, make_lines, merge_ticks
from kilometers.drawing import cut
from unit.scripted import (
    BEGIN_NS,
    Step,
    call,
    cancelled,
    client,
    listen,
    log,
    record,
    server,
)

BEGIN_US = BEGIN_NS // 1000


@pytest.mark.parametrize(
    ("microseconds", "shown"),
    [
        (0, "0.000"),
        (1_204_999, "1.204"),
        (59_999_999, "59.999"),
        (123_500_000, "2:03.5"),
        (3_599_999_999, "59:59.9"),
        (3_723_000_000, "1:02:03"),
        (360_000_000_000, "100:00:00"),
        (-5_000, "-0.005"),
        (-61_000_000, "-1:01.0"),
    ],
)
def test_time_since_the_start_is_shown_as(microseconds: int, shown: str) -> None:
    assert offset(microseconds) == shown


HOSTILE = (
    "日本語のとても長い名前のツール" * 3,
    "e\u0301" * 40,
    "👩‍👩‍👧‍👦🏳️‍🌈" * 5,
    "\x1b[2J\x1b]0;owned\x07",
    "\u202eevil\u2066",
    "שלום עולם " * 4,
    "\u200b" * 30,
    "a\r\nb\tc\x00d",
    "ﷺ" * 20,
    "\u0e33\u1160ᄀ" * 10,
    "",
)
words = st.sampled_from(HOSTILE) | st.text(max_size=80)
codes = st.integers(-(2**63), 2**63 - 1)
ids = st.integers(1, 4)


def answers(id: int, code: int, *, is_error: bool) -> Step:
    return server(id=id, error={"code": code, "message": "x"}) if is_error else server(id=id, result={"isError": True})


steps = st.one_of(
    st.builds(call, ids, words),
    st.builds(answers, ids, codes, is_error=st.booleans()),
    st.builds(lambda number: client(**cancelled(number)), ids),
    st.builds(lambda word: server(method=word, params={}), words),
    st.builds(lambda word: server(id=9, method="sampling/createMessage", params={"name": word}), words),
    st.builds(listen, ids),
    st.builds(lambda word: log(word.encode() + b"\n"), words),
    st.builds(lambda word: server(word.encode() + b"\n"), words),
    st.builds(lambda word: client(id=5, method="resources/read", params={"uri": word}), words),
)


def hostile_lines(events: list[Event], width: int) -> Iterator[Text]:
    lines = make_lines(events, find_endings(events), is_living=True)
    yield from draw(merge_ticks(lines), began_us=BEGIN_US, width=width)


@given(st.lists(steps, max_size=8), st.integers(40, 250))
def test_drawn_lines_are_as_wide_as_the_terminal_at_most(steps: list[Step], width: int) -> None:
    drawn = [line.plain for line in hostile_lines(record(*steps), width)]

    assert [line for line in drawn if cell_len(line) > width] == []
    assert all(line.isprintable() for line in drawn)


@given(st.lists(steps, max_size=8), st.integers(80, 250))
def test_statuses_stand_below_their_head(steps: list[Step], width: int) -> None:
    events = record(*steps)
    statuses = {line.seq: line.status for line in make_lines(events, find_endings(events), is_living=True)}

    head, *drawn = [line.plain for line in hostile_lines(events, width)]

    for line in drawn:
        seq, before = line.split()[0], set_cell_size(line, head.index("STATUS"))
        if seq.isdigit() and line.split()[2:3] == ["→"] and statuses[int(seq)]:
            assert line.startswith(before)
            assert line.removeprefix(before).startswith(statuses[int(seq)])


@given(words, st.integers(1, 100))
def test_text_is_cut_to_so_many_cells(text: str, width: int) -> None:
    assert cell_len(cut(text, width)) == width
    assert cut(text, width).rstrip() == text.rstrip() or cell_len(text) > width


@given(st.lists(steps, max_size=4), st.integers(40, 250))
def test_event_lines_are_as_wide_as_the_terminal_at_most(steps: list[Step], width: int) -> None:
    drawn = [
        event_lines.draw_event(event, width=width, has_session=has_session).plain
        for event in record(*steps)
        for has_session in (True, False)
    ]

    assert [line for line in drawn if cell_len(line) > width] == []
    assert all(line.isprintable() for line in drawn)


@given(st.lists(st.lists(words, max_size=4), max_size=3), st.integers(20, 250))
def test_header_is_as_wide_as_the_terminal_at_most(facts: list[list[str]], width: int) -> None:
    drawn = [line.plain for line in draw_header("", facts, width=width)]

    assert [line for line in drawn if cell_len(line) > width] == []
    assert all(line.isprintable() for line in drawn)
