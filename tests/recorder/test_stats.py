"""`km stats` says what counting the events one by one says, whatever it is asked by and since."""

import json
from collections import defaultdict
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import apsw
import pytest
from hypothesis import given
from hypothesis import strategies as st

from kilometers.core import journal
from kilometers.core.statistics import PERIOD_US
from kilometers.queries import StoreReader
from kilometers.statistics import GROUPINGS, Statistics, read_statistics
from recorder.sessions import Sessions
from screens.example import EVERYTHING
from screens.scripted_store import ScriptedStore, TimedStep, busy_steps
from unit.scripted import call, cancelled, client, server

BEGIN_US = 1_790_000_000_000_000 // PERIOD_US * PERIOD_US
MINUTE_US = 60_000_000
PERCENTS = {"p50_us": 50, "p95_us": 95, "p99_us": 99}

Group = tuple[str, ...]


def odd_steps() -> list[TimedStep]:
    """Return what is not as usual: names like our own words, no client, a call over a period's end, odd answers."""
    steps = [
        call(1, "client_to_server"),
        server(id=1, result={}),
        call(2, "日本語\n\x1b[2J"),
        client(**cancelled(2)),
        server(id=2, error={"code": -1}),
        server(id=9, method="roots/list"),
        client(id=9, error={"code": -1}),
        client(id=3, method="tools/call"),
        server(id=4, result={}),
        call(5, "over the end"),
    ]
    timed = [(float(at_ms), stream, data) for at_ms, (stream, data) in enumerate(steps)]
    return [*timed, (6 * 60_000.0, *server(id=5, result={"isError": True}))]


@pytest.fixture(scope="module")
def recorded(tmp_path_factory: pytest.TempPathFactory) -> Sessions:
    """A home with sessions of four servers over an hour, each of which goes on into another period."""
    home = tmp_path_factory.mktemp("stats") / "home"
    scripted = ScriptedStore(home)
    for number in range(6):
        begin_ns = (BEGIN_US + number * 9 * MINUTE_US) * 1000
        steps = busy_steps(200, client=f"client-{number % 2}", seed=number)
        slowed = [(at_ms * 20, stream, data) for at_ms, stream, data in steps]
        scripted.add(slowed, begin_ns=begin_ns, name=f"busy-{number % 3}", end_after_ms=500_000)
    scripted.add(EVERYTHING, begin_ns=(BEGIN_US + 9 * MINUTE_US) * 1000, end_after_ms=47_000)
    scripted.add(odd_steps(), begin_ns=(BEGIN_US + 7 * MINUTE_US) * 1000, name="odd")
    probe = [(1.0, *client(id=1, method="server/discover"))]
    scripted.add(probe, begin_ns=BEGIN_US * 1000, name="probe", end_after_ms=3)
    scripted.close()
    return Sessions(home)


class Counted:
    """What one line should say."""

    def __init__(self) -> None:
        self.calls = self.errors = self.cancelled = self.size_bytes = 0
        self.durations: list[int] = []

    def add(self, event: dict[str, Any]) -> None:
        """Count a request, an answer or a cancellation."""
        kind, status = event["kind"], event.get("status")
        self.calls += kind == "request"
        self.cancelled += kind == "notification"
        self.size_bytes += event.get("size_bytes", 0) if kind != "notification" else 0
        if kind in {"response", "error"} and status != "cancelled":
            self.errors += status in {"error", "tool_error"}
            self.durations.append(event["duration_us"])

    def check(self, line: Statistics) -> None:
        """Compare with what was printed: all but the percentiles exactly."""
        counts = (line.calls, line.errors, line.cancelled, line.size_bytes)
        assert counts == (self.calls, self.errors, self.cancelled, self.size_bytes)
        ordered = sorted(self.durations)
        assert line.max_us == (ordered[-1] if ordered else None)
        for name, percent in PERCENTS.items():
            found = getattr(line, name)
            if not ordered:
                assert found is None
            else:
                exact = ordered[max(1, -(-len(ordered) * percent // 100)) - 1]
                assert abs(found - exact) * 32 <= exact


def count_one_by_one(sessions: Sessions, by: str, *, since_us: int | None, of: str = "") -> dict[Group, Counted]:
    """Count the events of all sessions but probes, of servers whose name begins with *of*."""
    counted: dict[Group, Counted] = defaultdict(Counted)
    connection = apsw.Connection(sessions.home.store_file, flags=apsw.SQLITE_OPEN_READONLY)
    for number, summary in connection.execute("SELECT session_no, summary FROM sessions WHERE NOT is_probe"):
        facts = json.loads(summary)
        wires = connection.execute("SELECT wire FROM events WHERE event_id >> 32 = ? ORDER BY event_id", (number,))
        events = [json.loads(wire) for (wire,) in wires.fetchall()]
        for event in events if facts["name"].startswith(of) else []:
            call = call_of(event, events)
            at_us = round(datetime.fromisoformat(event["at"]).timestamp() * 1_000_000)
            if call is None or (since_us is not None and at_us < since_us):
                continue
            group = group_of(by, facts, call)
            if group:
                counted[group].add(event)
    return dict(counted)


def call_of(event: dict[str, Any], events: list[dict[str, Any]]) -> dict[str, Any] | None:
    """Return the request that an event is, answers or cancels."""
    if event["kind"] == "request":
        return event
    if event["kind"] in {"response", "error"} or event.get("status") == "cancelled":
        return events[event["call_seq"]] if "call_seq" in event else None
    return None


def group_of(by: str, facts: dict[str, Any], request: dict[str, Any]) -> Group:
    is_by_server = request["direction"] == "server_to_client"
    tool = request.get("target", "") if request["method"] == "tools/call" else ""
    match by:
        case "method":
            return request["direction"], request["method"]
        case "tool":
            return (facts["name"], tool) if tool and not is_by_server else ()
        case "server":
            return (facts["name"],) if not is_by_server else ()
        case _:
            return (facts.get("client", {}).get("name", ""),) if not is_by_server else ()


def check(sessions: Sessions, by: str, *, since_us: int | None, of: str = "") -> list[Statistics]:
    glob = f"{of}*" if of else None
    lines = read_statistics(StoreReader(sessions.home), by, since_us=since_us, server=glob)
    expected = count_one_by_one(sessions, by, since_us=since_us, of=of)

    found = {tuple(getattr(line, name) for name in GROUPINGS[by]): line for line in lines}

    assert len(found) == len(lines)
    assert found.keys() == expected.keys()
    for group, line in found.items():
        expected[group].check(line)
    return lines


@pytest.mark.parametrize("of", ["", "busy-", "odd", "nobody"])
@pytest.mark.parametrize("by", GROUPINGS)
def test_statistics_are_what_counting_the_events_gives(recorded: Sessions, by: str, of: str) -> None:
    lines = check(recorded, by, since_us=None, of=of)

    assert bool(lines) == (of != "nobody")
    assert [line.calls for line in lines] == sorted((line.calls for line in lines), reverse=True)


@pytest.mark.parametrize("by", GROUPINGS)
@pytest.mark.parametrize(
    "minutes",
    [-60, 0, 9.99, 10, 10.01, 7.000_05, 7.000_2, 12.5, 13, 59, 600],
    ids="{} min".format,
)
def test_since_counts_from_the_middle_of_a_period_on(recorded: Sessions, by: str, minutes: float) -> None:
    check(recorded, by, since_us=BEGIN_US + int(minutes * MINUTE_US))


@given(since_us=st.integers(BEGIN_US - MINUTE_US, BEGIN_US + 60 * MINUTE_US))
def test_two_halves_are_the_whole(recorded: Sessions, since_us: int) -> None:
    """What is counted since then, and what began before, by rollups and by events."""
    store = StoreReader(recorded.home)
    later = read_statistics(store, "server", since_us=since_us, server="busy-0")
    (whole,) = read_statistics(store, "server", since_us=None, server="busy-0")
    sql = (
        "SELECT count(*) FROM events JOIN sessions ON session_no = event_id >> 32"
        " WHERE name = 'busy-0' AND kind = 'request' AND at_us < :since_us"
    )
    (earlier,) = store.rows(sql, {"since_us": since_us})[0]

    assert sum(line.calls for line in later) + earlier == whole.calls


def test_json_is_a_line_for_each_group(recorded: Sessions) -> None:
    done = recorded.km("stats", "--by", "client", "--json")

    lines = [json.loads(line) for line in done.stdout.splitlines()]
    assert (done.returncode, done.stderr) == (0, b"")
    assert {line["client"] for line in lines} == {"client-0", "client-1", "example-ide", ""}
    assert all(line.keys() >= {"calls", "errors", "cancelled", "size_bytes"} for line in lines)
    assert all("server" not in line and "tool" not in line for line in lines)


def test_time_is_typed_as_a_date(recorded: Sessions) -> None:
    since_us = BEGIN_US + 12 * MINUTE_US + 345
    typed = datetime.fromtimestamp(since_us / 1e6, UTC).isoformat()
    expected = read_statistics(StoreReader(recorded.home), "tool", since_us=since_us, server="busy-*")

    done = recorded.km("stats", "--since", typed, "--server", "busy-*", "--json")

    assert [json.loads(line)["calls"] for line in done.stdout.splitlines()] == [line.calls for line in expected]


def test_piped_lines_are_tab_separated_and_names_stay_what_they_are(recorded: Sessions) -> None:
    rows = [line.split("\t") for line in recorded.km("stats", "--server", "odd").stdout.decode().splitlines()]

    assert {tuple(row[:2]) for row in rows} == {
        ("odd", "client_to_server"),
        ("odd", "日本語 \x1b[2J"),
        ("odd", "over the end"),
    }
    assert {len(row) for row in rows} == {9}


def test_unknown_client_is_said_to_be_unknown(recorded: Sessions) -> None:
    rows = [line.split("\t") for line in recorded.km("stats", "--by", "client").stdout.decode().splitlines()]

    assert "unknown" in {row[0] for row in rows}


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("--server", "nobody"), b"No tool was called.\n"),
        (("--by", "server", "--since", "0s"), b"No calls in this time.\n"),
    ],
)
def test_nothing_to_count_is_said(recorded: Sessions, arguments: tuple[str, ...], said: bytes) -> None:
    done = recorded.km("stats", *arguments)

    assert (done.returncode, done.stdout, done.stderr) == (0, b"", said)


@pytest.mark.parametrize("arguments", [("--by", "weather"), ("--since", "soon"), ("--limit", "3")], ids=" ".join)
def test_wrong_usage_is_said(recorded: Sessions, arguments: tuple[str, ...]) -> None:
    done = recorded.km("stats", *arguments)

    assert (done.returncode, done.stdout) == (2, b"")
    assert arguments[-1].encode() in done.stderr or arguments[0].encode() in done.stderr


def test_store_of_probes_alone_has_no_statistics(tmp_path: Path) -> None:
    scripted = ScriptedStore(tmp_path / "home")
    probe: list[TimedStep] = [(1.0, journal.CLIENT_TO_SERVER, client(id=1, method="server/discover")[1])]
    scripted.add(probe, begin_ns=BEGIN_US * 1000, end_after_ms=3)
    scripted.close()

    done = Sessions(tmp_path / "home").km("stats", "--by", "method", "--json")

    assert (done.returncode, done.stdout) == (0, b"")
