"""Rollups equal what counting all events from scratch gives, whatever was killed, cancelled or deleted."""

import json
import time
from collections.abc import Iterator
from itertools import pairwise
from pathlib import Path
from typing import Any

import apsw
import pytest
from hypothesis import given
from hypothesis import strategies as st

from kilometers import rollups
from kilometers.core import journal
from kilometers.core.event import CLIENT_TO_SERVER, SERVER_TO_CLIENT
from kilometers.core.session import Row, new_state
from kilometers.core.statistics import PERIOD_US, Rollup
from kilometers.retention import Retention
from kilometers.store import Store
from recorder.sessions import Client, Sessions, wait_until
from screens.scripted_store import ScriptedStore, TimedStep
from unit.scripted import (
    SESSION_ID,
    Step,
    call,
    cancelled,
    client,
    listen,
    log,
    make_records,
    play_all,
    server,
    start,
)

BEGIN_NS = 1_790_000_000_000_000_000
PERIOD_MS = PERIOD_US / 1000
TO_PERIOD_END_MS = PERIOD_MS - BEGIN_NS // 1_000_000 % PERIOD_MS
TOOLS = ("get-sum", "get-time", "echo")
CALL = (CLIENT_TO_SERVER, "tools/call", "echo")

Place = tuple[int, int, str, str, str]


def kept(connection: apsw.Connection) -> dict[Place, Rollup]:
    """Return the rollups that a store holds, by session, period, direction, method and tool."""
    rows = connection.execute("SELECT session_no, period, direction, method, tool, rollup FROM rollups")
    return {place: rollups.decode(rollup) for *place, rollup in rows for place in [tuple(place)]}


def counted_anew(connection: apsw.Connection) -> dict[Place, Rollup]:
    """Return what counting all events of a store gives."""
    connection.execute("DELETE FROM rollups")
    rollups.count_everything(connection)
    return kept(connection)


def assert_equal_to_the_events(store_file: str, folder: Path) -> dict[Place, Rollup]:
    """Compare with a copy of the store, and return the rollups."""
    connection = apsw.Connection(store_file, flags=apsw.SQLITE_OPEN_READONLY)
    copy = folder / "copy.db"
    copy.unlink(missing_ok=True)
    connection.execute("VACUUM INTO ?", (str(copy),))
    copied = apsw.Connection(str(copy))
    found = kept(copied)
    assert found == counted_anew(copied)
    copied.close()
    connection.close()
    return found


def total(found: dict[Place, Rollup]) -> Rollup:
    whole = Rollup()
    for rollup in found.values():
        whole.merge(rollup)
    return whole


def line(**members: Any) -> bytes:
    return json.dumps({"jsonrpc": "2.0", **members}).encode() + b"\n"


def traffic(client: Client, first: int) -> None:
    """Talk to a server that echoes, so that it crosses both ways: calls, errors, cancellations, late answers."""
    before = client.received.count(b"\n")
    for number in range(first, first + 20):
        client.write(line(id=number, method="tools/call", params={"name": TOOLS[number % 3]}))
    client.wait_for_answers(before + 20)
    for number in range(first, first + 20):
        if number % 5 == 0:
            client.write(line(method="notifications/cancelled", params={"requestId": number}))
        if number % 7 == 0:
            client.write(line(id=number, error={"code": -1, "message": ""}))
        elif number % 11 != 0:
            client.write(line(id=number, result={"isError": number % 3 == 0}))
    client.write(b"no message\n")


@pytest.mark.fault
def test_real_sessions_under_several_recorders_are_counted_once(sessions: Sessions, tmp_path: Path) -> None:
    clients = [sessions.start(command=["cat"]) for _ in range(2)]
    for number, point in enumerate(("in_transaction", "before_commit", "committed", "read")):
        sessions.arm(point)
        for one in clients:
            traffic(one, first=100 * number)
        wait_until(lambda: not (sessions.folder / "fault").exists(), 20)
        sessions.kill_recorder()
    for one in clients:
        one.end()
    recorded = sessions.wait_until_recorded()

    found = assert_equal_to_the_events(sessions.home.store_file, tmp_path)

    requests = [event for one in recorded.values() for event in one.events if event.kind == "request"]
    assert total(found).calls == len(requests) == 2 * 2 * 4 * 20
    assert total(found).cancelled > 0
    assert total(found).errors > 0
    assert {place[2:] for place in found} == {
        (direction, "tools/call", tool) for direction in (CLIENT_TO_SERVER, SERVER_TO_CLIENT) for tool in TOOLS
    }


def test_deleted_session_takes_its_rollups_with_it(sessions: Sessions, tmp_path: Path) -> None:
    for number in range(3):
        one = sessions.start(command=["cat"])
        traffic(one, first=100 * number)
        one.end()
    sessions.wait_until_recorded()
    sessions.kill_recorder()
    store = Store(sessions.home.store_file)

    assert store.delete_page(2)
    store.close()

    found = assert_equal_to_the_events(sessions.home.store_file, tmp_path)
    assert {place[0] for place in found} == {1, 3}


def test_retention_takes_rollups_with_it(tmp_path: Path) -> None:
    scripted = ScriptedStore(tmp_path / "home")
    for number in range(3):
        steps = timed(call(1), server(id=1, result={}))
        scripted.add(steps, begin_ns=time.time_ns() + number, end_after_ms=10)
    (tmp_path / "home" / "config.toml").write_text("retention_mb = 1\n")
    scripted.store.connection.execute("UPDATE sessions SET kept_bytes = 600000")

    assert Retention(scripted.store, scripted.home).apply()

    assert {place[0] for place in kept(scripted.store.connection)} == {3}
    scripted.close()


def timed(*steps: Step) -> list[TimedStep]:
    """Return steps that come a millisecond after the other, the first one after 1 ms."""
    return [(float(at_ms), stream, data) for at_ms, (stream, data) in enumerate(steps, 1)]


def counted(folder: Path, steps: list[TimedStep]) -> dict[Place, Rollup]:
    scripted = ScriptedStore(folder)
    scripted.add(steps, begin_ns=BEGIN_NS, end_after_ms=10_000)
    scripted.close()
    return assert_equal_to_the_events(scripted.home.store_file, folder)


def by_method(found: dict[Place, Rollup]) -> dict[tuple[str, str, str], tuple[int, int, int, int]]:
    """Return (calls, errors, cancelled, answers with a latency) of each method."""
    return {
        place[2:]: (rollup.calls, rollup.errors, rollup.cancelled, sum(rollup.histogram.values()))
        for place, rollup in found.items()
    }


@pytest.mark.parametrize(
    ("steps", "expected"),
    [
        ([call(1), server(id=1, result={})], {CALL: (1, 0, 0, 1)}),
        ([call(1), server(id=1, result={"isError": True})], {CALL: (1, 1, 0, 1)}),
        ([call(1), server(id=1, error={"code": -32000})], {CALL: (1, 1, 0, 1)}),
        ([call(1)], {CALL: (1, 0, 0, 0)}),
        ([call(1), client(**cancelled(1)), server(id=1, error={"code": -1})], {CALL: (1, 0, 1, 0)}),
        ([call(1), client(**cancelled(1)), client(**cancelled(1))], {CALL: (1, 0, 1, 0)}),
        ([client(**cancelled(1)), call(1), server(id=1, result={})], {CALL: (1, 0, 0, 1)}),
        ([call(1), call(1), server(id=1, result={}), server(id=1, result={})], {CALL: (2, 0, 0, 2)}),
        ([server(id=1, result={}), server(id=None, error={"code": -32700}), log(b"x\n"), server(b"x\n")], {}),
        (
            [
                call(1),
                server(id=1, result={"resultType": "input_required", "requestState": "s"}),
                call(2, requestState="s"),
                client(**cancelled(2)),
            ],
            {CALL: (2, 0, 1, 1)},
        ),
        (
            [listen(1), server(id=1, result={})],
            {(CLIENT_TO_SERVER, "subscriptions/listen", ""): (1, 0, 0, 0)},
        ),
        (
            [server(id=1, method="roots/list"), server(**cancelled(1)), call(1), server(id=1, result={})],
            {(SERVER_TO_CLIENT, "roots/list", ""): (1, 0, 1, 0), CALL: (1, 0, 0, 1)},
        ),
        (
            [client(id=1, method="resources/read", params={"uri": "a://b"}), client(id="x", method="")],
            {(CLIENT_TO_SERVER, "resources/read", ""): (1, 0, 0, 0), (CLIENT_TO_SERVER, "", ""): (1, 0, 0, 0)},
        ),
        ([client(id=1, method="tools/call")], {(CLIENT_TO_SERVER, "tools/call", ""): (1, 0, 0, 0)}),
        (
            [client(id=1, method="tools/call", params={"name": "a\x00b'\U0001f680"})],
            {(CLIENT_TO_SERVER, "tools/call", "a\x00b'\U0001f680"): (1, 0, 0, 0)},
        ),
    ],
    ids=lambda value: None if isinstance(value, dict) else "",
)
def test_what_counts(tmp_path: Path, steps: list[Step], expected: dict[Any, Any]) -> None:
    assert by_method(counted(tmp_path, timed(*steps))) == expected


def test_bytes_are_those_of_requests_and_answers(tmp_path: Path) -> None:
    asked, answered, late = call(1), server(id=1, result={}), server(id=2, result={})
    steps = timed(asked, answered, asked, client(**cancelled(1)), answered, late)

    (rollup,) = counted(tmp_path, steps).values()

    assert rollup.size_bytes == 2 * (len(asked[1]) + len(answered[1]))


def test_each_event_counts_in_the_period_of_its_own_time(tmp_path: Path) -> None:
    (asked_on, asked), (answered_on, answered) = call(1), server(id=1, result={"isError": True})
    steps = [(TO_PERIOD_END_MS - 1, asked_on, asked), (TO_PERIOD_END_MS + 1, answered_on, answered)]

    found = counted(tmp_path, steps)

    first = BEGIN_NS // 1000 // PERIOD_US
    counts = {place[1]: (rollup.calls, rollup.errors, rollup.max_us) for place, rollup in found.items()}
    assert counts == {first: (1, 0, 0), first + 1: (0, 1, 2000)}


ids = st.integers(1, 3)
some_steps = st.lists(
    st.one_of(
        st.builds(call, ids, st.sampled_from(TOOLS)),
        st.builds(lambda number, is_error: server(id=number, result={"isError": is_error}), ids, st.booleans()),
        st.builds(lambda number: server(id=number, error={"code": 1}), ids),
        st.builds(lambda number: client(**cancelled(number)), ids),
        st.builds(lambda number: server(id=number, method="roots/list"), ids),
        st.builds(lambda number: client(id=number, result={}), ids),
        st.builds(listen, ids),
        st.just(log(b"stderr\n")),
    ),
    max_size=30,
)


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Store]:
    """An empty store that does not wait for the disk."""
    store = Store(str(tmp_path_factory.mktemp("rollups") / "store.db"))
    store.connection.pragma("synchronous", 0)
    yield store
    store.close()


@given(steps=some_steps, cuts=st.lists(st.integers(0, 30), max_size=5))
def test_events_may_come_in_any_portions(store: Store, steps: list[Step], cuts: list[int]) -> None:
    rows = play_all([start(), *make_records(*steps)])
    number = store.add_session(new_state(SESSION_ID), journal_id=SESSION_ID, continues=None, install_id="")
    for portion in portions(rows, cuts):
        with store.transaction():
            store.add_events(number, portion)

    found = kept(store.connection)
    anew = counted_anew(store.connection)
    store.delete_page(number)

    assert found == anew
    assert total(found).calls == sum(row.kind == "request" for row in rows)


def portions(rows: list[Row], cuts: list[int]) -> list[list[Row]]:
    places = [0, *sorted(cuts), len(rows)]
    return [rows[first:end] for first, end in pairwise(places)]


def test_more_events_than_a_page_are_counted(tmp_path: Path) -> None:
    """A session of several recorders' steps, in which every tenth call is cancelled."""
    steps: list[TimedStep] = []
    for number in range(4_000):
        at_ms = number / 10
        steps.append((at_ms, *call(number)))
        if number % 10 == 0:
            steps.append((at_ms, *client(**cancelled(number))))
        steps.append((at_ms, journal.SERVER_TO_CLIENT, line(id=number, result={})))

    found = total(counted(tmp_path, steps))

    assert (found.calls, found.cancelled, sum(found.histogram.values())) == (4_000, 400, 3_600)
