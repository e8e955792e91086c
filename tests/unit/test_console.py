"""How commands talk: widths, units, and what may not reach a terminal."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kilometers.console import FLEXIBLE, GAP, MIN_WIDTH, duration, fit, printable, size


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


@pytest.mark.parametrize(
    ("microseconds", "shown"),
    [(0, "0 µs"), (999, "999 µs"), (1_234, "1.23 ms"), (999_600, "1 s"), (61_000_000, "61 s"), (300_000_000, "5 min")],
)
def test_duration_is_shown_with_its_unit(microseconds: int, shown: str) -> None:
    assert duration(microseconds) == shown


@pytest.mark.parametrize(
    ("size_bytes", "shown"), [(0, "0 B"), (999, "999 B"), (999_999, "1 MB"), (12_340, "12.3 kB"), (5 * 10**9, "5 GB")]
)
def test_size_is_shown_with_its_unit(size_bytes: int, shown: str) -> None:
    assert size(size_bytes) == shown


def test_nothing_that_moves_a_cursor_is_printed() -> None:
    assert printable("a\x1b[2Jb\r\nc\u202ed") == "a·[2Jb··c·d"
