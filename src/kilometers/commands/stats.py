"""`km stats`: calls, errors, latencies and bytes, by tool, server, client or method."""

from kilometers import console, tables
from kilometers.commands.reading import open_store, parse_since
from kilometers.core import units
from kilometers.core.event import ARROWS
from kilometers.statistics import GROUPINGS, Statistics, read_statistics

NUMBERS = ("CALLS", "ERRORS", "P50", "P95", "P99", "MAX", "SIZE")


def run(by: str, *, since: str | None, server: str | None, as_json: bool) -> None:
    """Print the statistics."""
    found = read_statistics(open_store(), by, since_us=parse_since(since), server=server)
    if as_json:
        for line in found:
            console.print_json(line)
        return
    columns = ("" if name == "direction" else name.upper() for name in GROUPINGS[by])
    tables.print_rows((*columns, *NUMBERS), (row(by, line) for line in found))
    if not found:
        console.say(f"No {'tool was called' if by == 'tool' else 'calls'}{' in this time' if since else ''}.")


def row(by: str, line: Statistics) -> tuple[str, ...]:
    """Return the cells of a line."""
    names = [getattr(line, name) for name in GROUPINGS[by]]
    if by == "method":
        names[0] = ARROWS[names[0]]
    return (
        *(name or "unknown" for name in names),
        str(line.calls),
        str(line.errors),
        *(units.duration(time_us) for time_us in (line.p50_us, line.p95_us, line.p99_us, line.max_us)),
        units.size(line.size_bytes),
    )
