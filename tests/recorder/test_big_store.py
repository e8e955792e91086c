"""Large stores: the work of a list's first page does not grow with the store, and long sessions are shown whole."""

import json
import os
import shutil
import subprocess
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import apsw
import pytest
from rich.text import Text

from kilometers import paths
from kilometers.commands.show import PAGE_EVENTS, read_pages
from kilometers.following import Follower
from kilometers.queries import PAGE_ROWS, EventFilter, StoreReader
from kilometers.statistics import read_statistics
from recorder.sessions import KM, Sessions
from recorder.terminal import Terminal
from screens.scripted_store import ScriptedStore, TimedStep, busy_steps
from unit.scripted import Step, call, log, progress, server

MINUTE_US = 60_000_000
BEGIN_US = time.time_ns() // 1000 - 3_000 * MINUTE_US
SESSIONS, CALLS = 30, 100
LAST_CALLS = 1_100  # more events than a page
TIMES = 10
VM_STEP = "SQLITE_STMTSTATUS_VM_STEP"
MANY = 10_000
PATIENCE_S = 5.0  # of a busy machine; it takes a tenth of that

EVENTS = "kind, direction, method, target, status, duration_us, size_bytes, call_seq, wire, hash"


@pytest.fixture(scope="module")
def small(tmp_path_factory: pytest.TempPathFactory) -> paths.Home:
    """A store with some sessions, the last of them long."""
    scripted = ScriptedStore(tmp_path_factory.mktemp("small") / "home")
    scripted.store.connection.pragma("synchronous", 0)
    for number in range(SESSIONS + 1):
        calls = CALLS if number < SESSIONS else LAST_CALLS
        scripted.add(
            busy_steps(calls, client=f"client-{number % 3}", seed=number),
            begin_ns=(BEGIN_US + (2_000 + number // 2) * MINUTE_US) * 1000,  # two at a time
            name=f"server-{number % 5}",
            end_after_ms=calls * 100 + 1,
        )
    scripted.close()
    return scripted.home


@pytest.fixture(scope="module")
def more_sessions(small: paths.Home, tmp_path_factory: pytest.TempPathFactory) -> paths.Home:
    """The same with ten times as many sessions, all of them older."""
    home = copy(small, tmp_path_factory.mktemp("more"))
    with apsw.Connection(home.store_file) as connection:
        for number in range(1, TIMES):
            multiply_sessions(connection, number)
    return home


def multiply_sessions(connection: apsw.Connection, number: int) -> None:
    """Add all sessions but the last once more, earlier."""
    values = {"by": 1000 * number, "n": number, "last": SESSIONS, "us": 200 * number * MINUTE_US}
    connection.execute(
        "INSERT INTO sessions SELECT session_no + :by, session_id || :n, journal_id || :n, continues, install_id,"
        " destination, name, started_at_us - :us, ended_at_us - :us, is_probe, kept_bytes, summary, state"
        " FROM sessions WHERE session_no <= :last",
        values,
    )
    connection.execute(
        f"INSERT INTO events SELECT event_id + (:by << 32), at_us - :us, {EVENTS} FROM events"
        " WHERE event_id >> 32 <= :last",
        values,
    )
    connection.execute(
        "INSERT INTO rollups SELECT session_no + :by, period - 20 * :n, direction, method, tool, rollup FROM rollups"
        " WHERE session_no <= :last",
        values,
    )


@pytest.fixture(scope="module")
def longer_session(small: paths.Home, tmp_path_factory: pytest.TempPathFactory) -> paths.Home:
    """The same with ten times as many events in the last session."""
    home = copy(small, tmp_path_factory.mktemp("longer"))
    with apsw.Connection(home.store_file) as connection:
        for number in range(1, TIMES):
            connection.execute(
                f"INSERT INTO events SELECT event_id + :by, at_us + 1, {EVENTS} FROM events"
                " WHERE event_id >= :last << 32 AND event_id < (:last << 32) + :by_one",
                {"by": 3_000 * number, "by_one": 3_000, "last": SESSIONS + 1},
            )
    return home


def copy(home: paths.Home, folder: Path) -> paths.Home:
    shutil.copytree(home.folder, folder / "home")
    return paths.Home(str(folder / "home"), str(folder / "home" / "config.toml"))


def show_last(store: StoreReader) -> None:
    number, _ = store.find_session(None)
    end_seq = store.end_seq(number)
    list(read_pages(store, number, range(end_seq - 200, end_seq), is_living=False))


def search(**wanted: str | int) -> Callable[[StoreReader], object]:
    """Return what a terminal's page of all events with a filter reads."""
    return lambda store: list(store.events(None, EventFilter(**wanted), limit=100, newest_first=True))  # type: ignore[arg-type]


LISTS: dict[str, Callable[[StoreReader], object]] = {
    "sessions": lambda store: list(store.sessions(limit=20, since_us=None, search=None, with_probes=False)),
    "events": lambda store: list(
        store.events(store.find_session(None)[0], EventFilter(), limit=100, newest_first=True)
    ),
    "events --all": search(),
    "events --all --tool": search(tool="tool-*"),
    "events --all --search": search(search="tool-"),
    "events --all --since": search(since_us=BEGIN_US + 2_999 * MINUTE_US, status="tool_error"),
    "events --all --since, piped": lambda store: list(
        store.events(None, EventFilter(since_us=BEGIN_US + 2_999 * MINUTE_US))
    ),
    "show": show_last,
    "living": lambda store: store.living(),
}


def work(home: paths.Home, read: Callable[[StoreReader], object]) -> int:
    """Return how many steps SQLite's virtual machine takes."""
    store = StoreReader(home)
    steps = 0

    def count(trace: dict[str, dict[str, int]]) -> None:
        nonlocal steps
        steps += trace["stmt_status"][VM_STEP]

    store.connection.trace_v2(apsw.SQLITE_TRACE_PROFILE, count)
    read(store)
    store.connection.close()
    return steps


@pytest.mark.parametrize("name", LISTS)
def test_first_page_is_as_much_work_in_a_larger_store(
    small: paths.Home, more_sessions: paths.Home, longer_session: paths.Home, name: str
) -> None:
    least = work(small, LISTS[name])

    assert work(more_sessions, LISTS[name]) <= least * 1.2
    assert work(longer_session, LISTS[name]) <= least * 1.2


@pytest.mark.parametrize("since", [None, 2_010])
@pytest.mark.parametrize("order", ["DESC", "ASC"])
def test_all_events_come_once_each_in_the_order_of_time(small: paths.Home, order: str, since: int | None) -> None:
    store, since_us = StoreReader(small), None if since is None else BEGIN_US + since * MINUTE_US
    sql = f"SELECT wire FROM events WHERE at_us >= :since ORDER BY at_us {order}, event_id {order}"

    found = list(store.events(None, EventFilter(since_us=since_us), newest_first=order == "DESC"))

    assert found == [wire for (wire,) in store.rows(sql, {"since": since_us or 0})]
    assert len(found) > PAGE_ROWS


def test_statistics_are_as_much_work_as_there_are_rollups(
    small: paths.Home, more_sessions: paths.Home, longer_session: paths.Home
) -> None:
    def read(store: StoreReader) -> None:
        assert read_statistics(store, "tool", since_us=None, server=None)

    least = work(small, read)

    assert work(longer_session, read) <= least * 1.2
    assert least * 2 < work(more_sessions, read) <= least * TIMES * 1.2


def test_statistics_since_then_look_at_the_events_of_one_period(small: paths.Home, more_sessions: paths.Home) -> None:
    since_us = BEGIN_US + 2_010 * MINUTE_US

    def count_since(store: StoreReader) -> None:
        assert read_statistics(store, "tool", since_us=since_us, server=None)

    def count_sessions(store: StoreReader) -> None:
        assert read_statistics(store, "tool", since_us=since_us + 10**15, server=None) == []

    assert work(more_sessions, count_since) - work(more_sessions, count_sessions) <= 1.2 * (
        work(small, count_since) - work(small, count_sessions)
    )


def test_totals_grow_with_the_sessions_alone(
    small: paths.Home, more_sessions: paths.Home, longer_session: paths.Home
) -> None:
    least = work(small, lambda store: store.totals())

    assert work(longer_session, lambda store: store.totals()) <= least
    assert work(more_sessions, lambda store: store.totals()) <= least * TIMES * 1.2


def test_following_looks_at_what_is_new_alone(small: paths.Home, more_sessions: paths.Home) -> None:
    steps = {home.folder: work_of_a_look(home) for home in (small, more_sessions)}

    assert steps[more_sessions.folder] <= steps[small.folder] * 1.2


def work_of_a_look(home: paths.Home) -> int:
    """Return how much work the look after a commit is."""
    follower = Follower(home, EventFilter())
    looked = 0

    def count(trace: dict[str, dict[str, int]]) -> None:
        nonlocal looked
        looked += trace["stmt_status"][VM_STEP]

    def read(store: StoreReader) -> None:
        follower.skip(store)
        assert list(follower.news()) == []
        with apsw.Connection(home.store_file) as other:
            other.execute("INSERT OR REPLACE INTO meta VALUES ('seen', 'once')")
        store.connection.trace_v2(apsw.SQLITE_TRACE_PROFILE, count, id="look")
        assert list(follower.news()) == []

    work(home, read)
    return looked


@pytest.fixture(scope="module")
def many(tmp_path_factory: pytest.TempPathFactory) -> Sessions:
    """A store of ten thousand tiny sessions, each of another server; some began at the same time."""
    scripted = ScriptedStore(tmp_path_factory.mktemp("many") / "home")
    steps = busy_steps(2, client="client-0", seed=0)
    first_id = scripted.add(steps, begin_ns=BEGIN_US * 1000, name="server-0", end_after_ms=200)
    id_at, name = "printf('%s%08x', substr(session_id, 1, 28), :first + 16 * i)", "'server-' || i"
    scripted.store.connection.execute(
        "WITH RECURSIVE numbers(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM numbers WHERE i < :many - 1)"
        f" INSERT INTO sessions SELECT session_no + i, {id_at}, journal_id || i, continues, install_id, destination,"
        f" {name}, started_at_us + i / 7, ended_at_us, is_probe, kept_bytes,"
        f" CAST(json_set(CAST(summary AS text), '$.name', {name}, '$.session_id', {id_at}) AS blob), state"
        " FROM sessions, numbers",
        {"many": MANY, "first": int(first_id[-8:], 16)},
    )
    scripted.close()
    return Sessions(Path(scripted.home.folder))


def on_a_terminal(sessions: Sessions, *arguments: str, columns: int = 100) -> list[str]:
    environment = {"PATH": os.environ["PATH"], "KILOMETERS_HOME": str(sessions.folder), "NO_COLOR": "1"}
    with Terminal([*KM, *arguments], environment, columns=columns) as terminal:
        assert terminal.wait() == 0
    return Text.from_ansi(terminal.shown.replace("\r", "")).plain.splitlines()


def test_terminal_shows_the_newest_fifty_sessions_and_says_that_there_are_more(many: Sessions) -> None:
    shown = on_a_terminal(many, "sessions")

    names = [word for line in shown for word in line.split() if word.startswith("server-")]
    assert names == [f"server-{number}" for number in range(MANY - 1, MANY - 51, -1)]
    assert shown[-1] == "The newest 50 sessions; more: --limit N"


@pytest.mark.parametrize("limit", [MANY, 4_321])
def test_sessions_are_listed_once_each_in_the_order_of_their_start(many: Sessions, limit: int) -> None:
    done = many.km("sessions", "--json", "--limit", str(limit))

    names = [json.loads(line)["name"] for line in done.stdout.splitlines()]
    assert names == [f"server-{number}" for number in range(MANY - 1, MANY - 1 - limit, -1)]


@pytest.mark.parametrize("name", ["server-x", "servr-99", "x" * 5_000, "0" * 36])
def test_unknown_session_is_said_to_be_unknown_at_once(many: Sessions, name: str) -> None:
    before_s = children_s()

    done = many.km("show", name)

    assert (done.returncode, done.stdout) == (1, b"")
    assert done.stderr.startswith(f'km: no session "{name}"'.encode())
    assert children_s() - before_s < PATIENCE_S


def children_s() -> float:
    """Return how much time of the processor the processes have used that this one has started."""
    used = os.times()
    return used.children_user + used.children_system


def test_end_of_several_ids_asks_for_more_digits(many: Sessions) -> None:
    done = many.km("show", "0011")

    assert done.returncode == 1
    assert b'"0011" is the end of 3 session ids' in done.stderr


def pipelined(count: int) -> list[Step]:
    """Return calls in groups of a hundred, answered the other way round, with progress in between."""
    steps: list[Step] = []
    for first in range(0, count, 100):
        group = range(first, first + 100)
        steps += [call(number, _meta={"progressToken": number}) for number in group]
        steps += [server(**progress(number)) for number in group if number % 10 == 0]
        steps += [server(id=number, result={}) for number in reversed(group)]
    return steps


@pytest.fixture(scope="module")
def long(tmp_path_factory: pytest.TempPathFactory) -> Sessions:
    """A session of three pages: calls are open at each page's end, one of them from the first to the last page.

    Of a call in two rounds the first is asked on the first page, the second on the second and answered on the third.
    """
    asked = server(id="a", result={"resultType": "input_required", "requestState": "s"})
    steps = [call("a", "in-rounds"), asked, call("slow", "slow"), *pipelined(5_200), server(id="slow", result={})]
    for at, step in (
        (9_985, call("b", "in-rounds", requestState="s")),
        (10_010, server(id="b", result={})),
        *((at, log(b"a word on stderr\n")) for at in range(4_000, 11_000, 1_000)),
    ):
        steps.insert(at, step)
    timed: list[TimedStep] = [(at_ms / 10, *step) for at_ms, step in enumerate(steps)]
    scripted = ScriptedStore(tmp_path_factory.mktemp("long") / "home")
    scripted.add(timed, begin_ns=BEGIN_US * 1000, name="long", end_after_ms=len(steps) / 10)
    scripted.close()
    return Sessions(Path(scripted.home.folder))


def test_piped_timeline_pairs_calls_across_pages_and_has_each_event_once(long: Sessions) -> None:
    events = [json.loads(line) for line in long.km("events", "--json").stdout.splitlines()]
    rows = [line.split("\t") for line in long.km("show").stdout.decode().splitlines() if "\t" in line]

    assert all(open_at(events, seq) > 2 for seq in range(PAGE_EVENTS, len(events), PAGE_EVENTS))
    is_answer = {"response", "error"}
    assert [int(row[0]) for row in rows] == [event["seq"] for event in events if event["kind"] not in is_answer]
    calls = [row for row in rows if row[3] == "tools/call"]
    assert len(calls) == 5_203
    assert [row[5] for row in calls if row[4] == "in-rounds"] == ["input_required", "ok"]
    assert {row[5] for row in calls if row[4] != "in-rounds"} == {"ok"}
    assert all(row[6] for row in calls)


def open_at(events: list[dict[str, Any]], seq: int) -> int:
    """Return how many calls are open before an event."""
    return sum((event["kind"] == "request") - (event["kind"] == "response") for event in events[:seq])


def test_full_timeline_on_a_terminal_pairs_calls_across_pages_and_has_each_event_once(long: Sessions) -> None:
    shown = on_a_terminal(long, "show", "--full", columns=120)

    lines = [line.split() for line in shown if line[:5].strip().isdigit()]
    seqs = [int(words[0]) for words in lines]
    assert seqs == sorted(set(seqs))
    assert sum(words[3:6] == ["tools/call", "echo", "ok"] for words in lines) == 5_200
    assert not any(status in words for words in lines for status in ("open", "unanswered", "answer"))


def test_terminal_shows_the_last_events_of_a_long_session_and_says_that_there_are_more(long: Sessions) -> None:
    shown = on_a_terminal(long, "show")

    assert any("earlier events; all of them: --full" in line for line in shown)
    assert len(shown) < 210


@pytest.mark.parametrize(
    "arguments", [("show",), ("events",), ("events", "--all", "--json"), ("export",)], ids=" ".join
)
def test_reader_that_has_seen_enough_ends_a_long_list(long: Sessions, arguments: tuple[str, ...]) -> None:
    environment = {"PATH": os.environ["PATH"], "KILOMETERS_HOME": str(long.folder)}
    pipe = subprocess.PIPE
    with subprocess.Popen([*KM, *arguments], env=environment, stdout=pipe, stderr=pipe, bufsize=0) as process:
        assert process.stdout is not None
        process.stdout.read(1)
        process.stdout.close()
        assert process.stderr is not None
        said = process.stderr.read()

    assert (process.returncode, said) == (0, b"")
