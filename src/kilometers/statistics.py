"""Statistics of what the store holds, by tool, server, client or method.

Whole periods come from the rollups; with a `since` in the middle of a period, its rest is counted from the events.
Counterparts: rollups.py, core/statistics.py.
"""

from collections.abc import Iterator
from typing import Any

import msgspec

from kilometers.core.event import CLIENT_TO_SERVER
from kilometers.core.statistics import PERIOD_US, Rollup
from kilometers.errors import KilometersError
from kilometers.queries import StoreReader
from kilometers.rollups import FACTS, Rollups, count_facts, decode
from kilometers.store import ROLLUPS_SINCE, SEQ_BITS

# What makes a line, by what it may be asked for.
GROUPINGS = {
    "tool": ("server", "tool"),
    "server": ("server",),
    "client": ("client",),
    "method": ("direction", "method"),
}
# Sampling, roots and elicitation are asked by the server and answered by the client: only `method` counts them.
SESSIONS = """
SELECT session_no, name, coalesce(json_extract(CAST(summary AS text), '$.client.name'), '')
  FROM sessions
 WHERE summary <> x'' AND NOT is_probe AND (:server IS NULL OR name GLOB :server)
"""
ROLLUPS = """
SELECT session_no, direction, method, tool, rollup
  FROM rollups
 WHERE session_no BETWEEN :first AND :last AND period >= :period
"""
PAGE_SESSIONS = 500
PAGE_EVENTS = 20_000


class Statistics(msgspec.Struct, omit_defaults=True, kw_only=True):
    """One line of `km stats`: which of the first five are there depends on what it is by.

    Latencies in µs; the percentiles are at most 1/32 off, the maximum is exact; absent without answers.
    """

    server: str | None = None
    tool: str | None = None
    client: str | None = None
    direction: str | None = None
    method: str | None = None
    calls: int
    errors: int
    cancelled: int
    p50_us: int | None = None
    p95_us: int | None = None
    p99_us: int | None = None
    max_us: int | None = None
    size_bytes: int


def read_statistics(store: StoreReader, by: str, *, since_us: int | None, server: str | None) -> list[Statistics]:
    """Return a line for each group, the most called first.  Raises KilometersError where an older km keeps the store.

    *by*: one of GROUPINGS.  *server*: a glob.
    """
    if store.version < ROLLUPS_SINCE:
        raise KilometersError(
            "the store is still that of an older km, which keeps no statistics.",
            "End the servers that it wraps (restart your MCP client), and try again ten seconds later.",
        )
    sessions = {number: (name, client) for number, name, client in store.rows(SESSIONS, {"server": server})}
    groups: dict[tuple[str, ...], Rollup] = {}
    for number, direction, method, tool, rollup in _rollups(store, since_us or 0, sorted(sessions)):
        if number not in sessions:
            continue
        group = _group(by, *sessions[number], direction, method, tool)
        if group in groups:
            groups[group].merge(rollup)
        elif group:
            groups[group] = rollup
    lines = [_line(by, group, rollup) for group, rollup in groups.items()]
    return sorted(lines, key=lambda line: (-line.calls, line.server or "", line.tool or line.method or ""))


def _rollups(store: StoreReader, since_us: int, sessions: list[int]) -> Iterator[tuple[int, str, str, str, Rollup]]:
    """Yield the rollups since then of *sessions*, and of those in between; whole periods first."""
    first_period = -(-since_us // PERIOD_US)
    for at in range(0, len(sessions), PAGE_SESSIONS):
        page = sessions[at : at + PAGE_SESSIONS]
        values: dict[str, object] = {"first": page[0], "last": page[-1], "period": first_period}
        for number, direction, method, tool, rollup in store.rows(ROLLUPS, values):
            yield number, direction, method, tool, decode(rollup)
    for number, found in _counted(store, since_us, first_period * PERIOD_US).items():
        for key, rollup in found.items():
            yield number, key.direction, key.method, key.tool, rollup


def _counted(store: StoreReader, since_us: int, until_us: int) -> dict[int, Rollups]:
    """Count the events of the rest of a period, by session."""
    found: dict[int, Rollups] = {}
    after: tuple[Any, ...] = (since_us, -1)
    sql = f"""{FACTS} WHERE (event.at_us, event.event_id) > (:after_us, :after_id) AND event.at_us < :until_us
        ORDER BY event.at_us, event.event_id LIMIT {PAGE_EVENTS}"""
    while page := store.rows(sql, {"after_us": after[0], "after_id": after[1], "until_us": until_us}):
        for fact in page:
            count_facts(found.setdefault(fact[0] >> SEQ_BITS, {}), [fact])
        after = (page[-1][1], page[-1][0])
    return found


def _group(by: str, server: str, client: str, direction: str, method: str, tool: str) -> tuple[str, ...]:
    """Return which line a rollup belongs to; () = none."""
    names = {"server": server, "client": client, "direction": direction, "method": method, "tool": tool}
    is_asked_by_server = direction != CLIENT_TO_SERVER and by != "method"
    is_no_tool = by == "tool" and not tool
    return () if is_asked_by_server or is_no_tool else tuple(names[name] for name in GROUPINGS[by])


def _line(by: str, group: tuple[str, ...], rollup: Rollup) -> Statistics:
    return Statistics(
        **dict(zip(GROUPINGS[by], group, strict=True)),
        calls=rollup.calls,
        errors=rollup.errors,
        cancelled=rollup.cancelled,
        p50_us=rollup.percentile_us(50),
        p95_us=rollup.percentile_us(95),
        p99_us=rollup.percentile_us(99),
        max_us=rollup.max_us if rollup.histogram else None,
        size_bytes=rollup.size_bytes,
    )
