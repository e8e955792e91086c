"""What a benchmark found: figures beside their baselines, and the table that shows them all."""

from collections.abc import Sequence

import msgspec

MICROSECOND_NS = 1_000
MILLISECOND_NS = 1_000_000


class Figure(msgspec.Struct, frozen=True, kw_only=True):
    """One line of the table; *is_met* is None where the target does not apply to what was measured."""

    what: str
    value: str
    baseline: str = ""
    ratio: float | None = None
    target: str = ""
    is_met: bool | None = None


def percentile(samples: Sequence[float], percent: float) -> float:
    """Return the nearest-rank percentile of at least one sample."""
    ordered = sorted(samples)
    return ordered[min(len(ordered) - 1, int(len(ordered) * percent / 100))]


def median(samples: Sequence[float]) -> float:
    """Return the middle sample."""
    return percentile(samples, 50)


def microseconds(duration_ns: float) -> str:
    """Return a duration as users of a microsecond benchmark read it."""
    return f"{duration_ns / MICROSECOND_NS:.0f} µs"


def milliseconds(duration_ns: float) -> str:
    """Return a duration in milliseconds."""
    return f"{duration_ns / MILLISECOND_NS:.1f} ms"


def megabytes(size_bytes: float) -> str:
    """Return a size in 10^6 bytes."""
    return f"{size_bytes / 1e6:.1f} MB"


def print_figures(figures: Sequence[Figure]) -> None:
    """Print *figures* as an aligned table."""
    rows: list[tuple[str, ...]] = [("what", "measured", "baseline", "ratio", "target", "")]
    rows += [table_row(figure) for figure in figures]
    widths = [max(len(row[column]) for row in rows) for column in range(len(rows[0]))]
    for row in rows:
        print("  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip(), flush=True)


def table_row(figure: Figure) -> tuple[str, ...]:
    """Return the cells of one line."""
    ratio = "" if figure.ratio is None else f"{figure.ratio:.2f}×"
    verdict = {True: "met", False: "NOT MET", None: "" if not figure.target else "n/a"}[figure.is_met]
    return figure.what, figure.value, figure.baseline, ratio, figure.target, verdict
