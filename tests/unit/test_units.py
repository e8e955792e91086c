"""Numbers, sizes, durations and times as a person reads them."""

from datetime import UTC, datetime, timedelta

import pytest

from kilometers.core.units import ago, count, duration, short_clock, size

NOON = datetime(2026, 3, 4, 12).astimezone()  # in the local zone, whichever that is


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


@pytest.mark.parametrize(
    ("before", "shown"),
    [
        (timedelta(), "just now"),
        (timedelta(seconds=59.9), "just now"),
        (timedelta(seconds=60), "1 minute ago"),
        (timedelta(minutes=59, seconds=59), "59 minutes ago"),
        (timedelta(hours=1), "1 hour ago"),
        (timedelta(hours=47), "1 day ago"),
        (timedelta(days=1_234), "1,234 days ago"),
        (timedelta(days=-1), "just now"),
    ],
)
def test_how_long_ago_is_said_roughly(before: timedelta, shown: str) -> None:
    assert ago(NOON - before, now=NOON) == shown


@pytest.mark.parametrize(
    ("moment", "to_the_minute", "exact"),
    [
        (NOON.replace(hour=9, minute=5, microsecond=7_999), "09:05:00", "09:05:00.007"),
        (NOON - timedelta(days=1), "3 Mar 12:00", "3 Mar 12:00:00"),
        (NOON - timedelta(days=100), "2025-11-24 12:00", "2025-11-24 12:00:00"),
        (NOON + timedelta(days=1), "5 Mar 12:00", "5 Mar 12:00:00"),
    ],
)
def test_time_is_shown_as_long_as_it_has_to_be(moment: datetime, to_the_minute: str, exact: str) -> None:
    local = moment.replace(tzinfo=None).astimezone()  # the same hour, on either side of a change to summer time

    assert short_clock(local.astimezone(UTC), now=NOON) == to_the_minute
    assert short_clock(local.astimezone(UTC), now=NOON.astimezone(UTC), is_exact=True) == exact


@pytest.mark.parametrize(
    ("number", "shown"), [(0, "0 calls"), (1, "1 call"), (2, "2 calls"), (1_234_567, "1,234,567 calls")]
)
def test_number_is_said_with_its_noun(number: int, shown: str) -> None:
    assert count(number, "call") == shown
