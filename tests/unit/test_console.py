"""How commands talk: widths, colours, and what may not reach a terminal."""

from datetime import UTC, datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kilometers.console import ProgressLine, clock, printable, status_style
from kilometers.tables import FLEXIBLE, GAP, MIN_WIDTH, OPTIONAL, READABLE, fit, keep, style_of

COLUMNS = ("SESSION", "SERVER", "CLIENT", "STARTED", "CALLS", "ERRORS", "GAPS", "EVENTS", "STATUS")
some_widths = st.lists(st.integers(1, 60), min_size=len(COLUMNS), max_size=len(COLUMNS))


@given(st.lists(st.integers(1, 200), min_size=3, max_size=3), st.integers(40, 200))
def test_only_flexible_columns_give_way(widths: list[int], room: int) -> None:
    columns = ["SEQ", *sorted(FLEXIBLE)[:2]]
    fitted = fit(columns, widths, room)

    assert fitted[0] == widths[0]
    assert all(narrow <= wide for narrow, wide in zip(fitted, widths, strict=True))
    is_least = all(narrow <= MIN_WIDTH or narrow == wide for narrow, wide in zip(fitted, widths, strict=True))
    assert sum(fitted) + (GAP + 1) * 3 <= room or is_least


def test_widest_flexible_column_shrinks_first() -> None:
    columns = ["METHOD", "TARGET"]

    assert fit(columns, [30, 10], 30) == [16, 10]


def test_nothing_that_moves_a_cursor_is_printed() -> None:
    assert printable("a\x1b[2Jb\r\nc\u202ed") == "a·[2Jb··c·d"


def needed(kept: list[int], widths: list[int]) -> int:
    """Return the least room in which these columns are readable."""
    least = [min(widths[at], READABLE) if COLUMNS[at] in FLEXIBLE else widths[at] for at in kept]
    return sum(least) + (GAP + 1) * len(kept)


@given(some_widths, st.integers(20, 300))
def test_no_more_columns_are_left_out_than_have_to_be(widths: list[int], room: int) -> None:
    kept = keep(COLUMNS, widths, room)
    gone = [column for column in OPTIONAL if column in COLUMNS and COLUMNS.index(column) not in kept]
    optional = [column for column in OPTIONAL if column in COLUMNS]

    assert gone == optional[: len(gone)]
    assert [COLUMNS[at] for at in kept] == [column for column in COLUMNS if column not in gone]
    assert needed(kept, widths) <= room or gone == optional
    assert not gone or needed(sorted([*kept, COLUMNS.index(gone[-1])]), widths) > room


def test_what_cannot_be_missed_stays_however_narrow_it_is() -> None:
    kept = keep(COLUMNS, [30] * len(COLUMNS), 1)

    assert [COLUMNS[at] for at in kept] == ["SESSION", "SERVER", "STARTED", "CALLS", "ERRORS", "STATUS"]


@given(some_widths, st.integers(0, 300))
def test_fitted_columns_are_never_wider_than_what_is_in_them(widths: list[int], room: int) -> None:
    fitted = fit(COLUMNS, widths, room)

    assert all(narrow <= wide for narrow, wide in zip(fitted, widths, strict=True))
    assert all(width >= min(MIN_WIDTH, wide) for width, wide in zip(fitted, widths, strict=True))


def test_columns_of_which_none_may_shrink_are_left_alone() -> None:
    assert fit(["SEQ", "TIME"], [50, 50], 10) == [50, 50]


@pytest.mark.usefixtures("capsys")
def test_programs_get_a_time_as_rfc_3339() -> None:
    assert clock(datetime(2026, 1, 2, 3, 4, 5, 678, UTC), is_exact=True) == "2026-01-02T03:04:05.000678Z"
    assert clock(None) == ""


@pytest.mark.parametrize(
    ("column", "cell", "style"),
    [
        ("STATUS", "error -32601", "red"),
        ("STATUS", "signal 15", "yellow"),
        ("STATUS", "exit 0", ""),
        ("ERRORS", "0", ""),
        ("ERRORS", "3", "red"),
        ("GAPS", "1", "red"),
        ("CALLS", "1", ""),
    ],
)
def test_errors_and_statuses_stand_out(column: str, cell: str, style: str) -> None:
    assert style_of(column, cell) == style


def test_unknown_status_has_no_colour() -> None:
    assert status_style("") == status_style("made up") == ""


def test_progress_is_not_shown_where_nobody_looks(capsys: pytest.CaptureFixture[str]) -> None:
    progress = ProgressLine()
    progress._next_s = 0

    progress.say("searching…")
    found = list(progress.cleared_before([b"one", b"two"]))
    progress.clear()

    assert found == [b"one", b"two"]
    assert capsys.readouterr() == ("", "")
