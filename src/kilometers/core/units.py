"""Numbers, sizes, durations and times as a person reads them."""

from collections.abc import Sequence
from datetime import datetime


def duration(microseconds: int | None) -> str:
    """Return a duration with three digits: 840 µs, 12.3 ms, 1.2 s, 4 min."""
    return (
        ""
        if microseconds is None
        else _three_digits(microseconds, (("µs", 1000), ("ms", 1000), ("s", 120), ("min", 0)))
    )


def size(size_bytes: int | None) -> str:
    """Return a size with a decimal unit: 840 B, 12.3 kB, 1.2 MB."""
    return "" if size_bytes is None else _three_digits(size_bytes, (("B", 1000), ("kB", 1000), ("MB", 1000), ("GB", 0)))


def _three_digits(number: float, units: Sequence[tuple[str, int]]) -> str:
    """Return *number* in the first unit in which it is, once rounded, below that unit's end (0 = it has none)."""
    for unit, end in units:
        shown = f"{number:.3g}"
        if end == 0 or float(shown) < end:
            return f"{shown if 'e' not in shown else f'{number:.0f}'} {unit}"
        number /= 60 if unit == "s" else 1000
    raise AssertionError("the last unit has no end")


def count(number: int, noun: str) -> str:
    """Return a number with its noun: 1 call, 2 calls, 12,345 calls."""
    return f"{number:,} {noun}{'' if number == 1 else 's'}"


def short_clock(moment: datetime, *, now: datetime, is_exact: bool = False) -> str:
    """Return today's times without a date, this year's without a year; to the minute unless *is_exact*."""
    local, today = moment.astimezone(), now.astimezone().date()
    if local.date() == today:
        return f"{local:%H:%M:%S}.{local.microsecond // 1000:03}" if is_exact else f"{local:%H:%M:%S}"
    time = f"{local:%H:%M:%S}" if is_exact else f"{local:%H:%M}"
    return f"{local.day} {local:%b} {time}" if local.year == today.year else f"{local:%Y-%m-%d} {time}"


def ago(moment: datetime, *, now: datetime) -> str:
    """Return how long ago something was, roughly."""
    seconds = max(0, int((now - moment).total_seconds()))
    for unit, length in (("day", 86_400), ("hour", 3600), ("minute", 60)):
        if seconds >= length:
            return count(seconds // length, unit) + " ago"
    return "just now"
