"""`km tail` follows what real sessions do: nothing twice, nothing missing, and it ends when it should."""

import json
import os
import signal
import subprocess
import threading
from collections import defaultdict
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from itertools import count
from typing import Any, Self

import pytest

from recorder.sessions import KM, Client, Sessions, find_recorded, wait_until
from recorder.terminal import Terminal

PATIENCE_S = 30


class Tail:
    """A `km tail --json` that runs, and what it has printed."""

    def __init__(self, sessions: Sessions, *arguments: str) -> None:
        self.lines: list[bytes] = []
        environment = {"PATH": os.environ["PATH"], "KILOMETERS_HOME": str(sessions.folder)}
        pipe = subprocess.PIPE
        command = [*KM, "tail", "--json", *arguments]
        self.process = subprocess.Popen(command, env=environment, stdout=pipe, stderr=pipe)
        self._reader = threading.Thread(target=self._read, daemon=True)
        self._reader.start()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.process.kill()
        self.process.wait(PATIENCE_S)
        self._reader.join(PATIENCE_S)
        for pipe in (self.process.stdout, self.process.stderr):
            assert pipe is not None
            pipe.close()

    def _read(self) -> None:
        assert self.process.stdout is not None
        for line in self.process.stdout:
            self.lines.append(line)

    @property
    def events(self) -> list[dict[str, Any]]:
        return [json.loads(line) for line in self.lines]

    def of(self, name: str) -> list[Any]:
        """Return a member of every event that has it."""
        return [event[name] for event in self.events if name in event]

    def wait_for(self, lines: int) -> None:
        wait_until(lambda: len(self.lines) >= lines, PATIENCE_S)

    def said(self) -> bytes:
        """Return a line of stderr, once there is one."""
        assert self.process.stderr is not None
        return self.process.stderr.readline()

    def end(self) -> tuple[int, bytes]:
        """Wait until it ends; return its exit status and what else it said."""
        status = self.process.wait(PATIENCE_S)
        self._reader.join(PATIENCE_S)
        assert self.process.stderr is not None
        return status, self.process.stderr.read()


@pytest.fixture
def tail(sessions: Sessions) -> Iterator[Callable[..., Tail]]:
    """Start a tail in the test's home; it is ended with the test."""
    with ExitStack() as stack:
        yield lambda *arguments: stack.enter_context(Tail(sessions, *arguments))


def ask(client: Client, *numbers: int) -> None:
    """Send requests and wait for their answers."""
    before = client.received.count(b"\n")
    for number in numbers:
        client.call(number)
    client.wait_for_answers(before + len(numbers))


def wait_until_stored(sessions: Sessions, events: int) -> None:
    wait_until(lambda: sessions.count("SELECT count(*) FROM events") >= events, PATIENCE_S)


def events_of(sessions: Sessions) -> list[bytes]:
    """Return all events in the order of time, as another command prints them."""
    return sessions.km("events", "--all", "--json").stdout.splitlines(keepends=True)


def test_tail_that_was_there_before_the_first_session_sees_its_first_event(
    sessions: Sessions, tail: Callable[..., Tail]
) -> None:
    running = tail()
    assert b"Waiting for the first session" in running.said()

    ask(sessions.start(), 1)

    running.wait_for(2)
    assert running.lines == events_of(sessions)


def test_last_ten_events_come_first(sessions: Sessions, tail: Callable[..., Tail]) -> None:
    client = sessions.start()
    ask(client, *range(8))
    client.end()
    sessions.wait_until_recorded()

    running = tail()

    running.wait_for(10)
    ask(sessions.start(), 100)
    running.wait_for(12)
    assert running.lines == events_of(sessions)[-12:]


def test_events_of_several_sessions_come_in_the_order_of_time(sessions: Sessions, tail: Callable[..., Tail]) -> None:
    clients = [sessions.start() for _ in range(3)]
    for client in clients:
        ask(client, 0)
    running = tail()
    running.wait_for(6)
    with stopped(sessions.wait_for_recorder()):
        for number in range(1, 11):
            for client in clients:
                ask(client, number)

    running.wait_for(66)
    assert running.lines == events_of(sessions)
    assert running.of("at") == sorted(running.of("at"))
    assert len(set(running.of("session_id")[6:12])) == 3


@contextmanager
def stopped(pid: int) -> Iterator[None]:
    """Let a process do nothing; afterwards it finds all that came in meanwhile."""
    os.kill(pid, signal.SIGSTOP)
    yield
    os.kill(pid, signal.SIGCONT)


@pytest.mark.timeout(120)
def test_nothing_comes_twice_and_nothing_is_missing(sessions: Sessions, tail: Callable[..., Tail]) -> None:
    running = tail()
    running.said()
    clients = [sessions.start() for _ in range(3)]
    for first in range(0, 900, 30):
        for client in clients:
            for number in range(first, first + 30):
                client.call(number)
    for client in clients:
        client.wait_for_answers(900)
        client.end()
    sessions.wait_until_recorded()

    running.wait_for(5_400)
    stored = events_of(sessions)
    assert sorted(running.lines) == sorted(stored)
    assert by_session(running.lines) == by_session(stored)


def by_session(lines: list[bytes]) -> dict[str, list[int]]:
    """Return the seqs of each session, as they came."""
    found: dict[str, list[int]] = defaultdict(list)
    for event in map(json.loads, lines):
        found[event["session_id"]].append(event["seq"])
    return found


def test_limit_ends_it_after_so_many_new_events(sessions: Sessions, tail: Callable[..., Tail]) -> None:
    client = sessions.start()
    ask(client, 1, 2)
    wait_until_stored(sessions, 4)
    running = tail("--limit", "3")

    for number in count(3):
        ask(client, number)
        if running.process.poll() is not None:
            break

    assert running.end() == (0, b"")
    first, second, third = running.of("seq")
    assert 4 <= first == second - 1 == third - 2


def test_server_is_followed_into_its_coming_sessions(sessions: Sessions, tail: Callable[..., Tail]) -> None:
    ask(sessions.start(), 1)
    wait_until_stored(sessions, 2)
    running = tail("server-0")
    running.wait_for(2)
    other = sessions.start()
    ask(other, 7)
    wait_until_stored(sessions, 4)
    sessions.clients[0].end()

    again = Client(sessions.folder, "server-0")
    sessions.clients.append(again)
    ask(again, 2)

    running.wait_for(4)
    assert running.of("request_id") == ["1", "1", "2", "2"]
    assert len(set(running.of("session_id"))) == 2


@pytest.mark.parametrize("state", ["over before", "living"])
def test_session_is_followed_to_its_end(sessions: Sessions, tail: Callable[..., Tail], state: str) -> None:
    client, other = sessions.start(), sessions.start()
    ask(client, 1)
    wait_until(lambda: find_recorded(client, sessions.recorded()), PATIENCE_S)
    session_id = next(one.id for one in sessions.recorded().values() if one.summary["name"] == client.name)
    if state == "over before":
        client.end()
        wait_until(lambda: "ended_at" in sessions.recorded()[session_id].summary, PATIENCE_S)

    running = tail(session_id[-8:])

    running.wait_for(2)
    ask(other, 9)
    if state == "living":
        ask(client, 2)
        client.write(b"the last words\n")
        client.end()
    assert running.end() == (0, b"")
    assert set(running.of("session_id")) == {session_id}
    assert running.lines == [wire + b"\n" for wire in sessions.recorded()[session_id].wires]


def test_only_what_is_wanted_comes(sessions: Sessions, tail: Callable[..., Tail]) -> None:
    running = tail("--tool", "get-*", "--status", "ok")
    running.said()
    client = sessions.start()
    for number, tool in enumerate((b"echo", b"get-sum", b"set-sum", b"get-time")):
        client.write(b'{"jsonrpc":"2.0","id":%d,"method":"tools/call","params":{"name":"%b"}}\n' % (number, tool))

    running.wait_for(2)

    assert [(event["kind"], event["target"]) for event in running.events] == [
        ("response", "get-sum"),
        ("response", "get-time"),
    ]


def test_since_brings_all_that_happened_since_then(sessions: Sessions, tail: Callable[..., Tail]) -> None:
    client = sessions.start()
    ask(client, *range(8))
    wait_until_stored(sessions, 16)

    running = tail("--since", "1h")

    running.wait_for(16)
    ask(client, 8)
    running.wait_for(18)
    assert running.lines == events_of(sessions)


def test_store_that_is_begun_anew_is_followed_and_nothing_comes_twice(
    sessions: Sessions, tail: Callable[..., Tail]
) -> None:
    client = sessions.start()
    ask(client, 1)
    running = tail()
    running.wait_for(2)
    ask(client, 2)
    running.wait_for(4)

    for ending in ("", "-wal", "-shm"):
        os.rename(sessions.home.store_file + ending, f"{sessions.home.store_file}.aside{ending}")
    ask(client, 3)
    ask(sessions.start(), 4)

    # What was recorded before is in the new store too, unless its journal had been given up already.
    wait_until(lambda: {"3", "4"} <= answered(sessions), PATIENCE_S)
    wait_until(lambda: set(events_of(sessions)) <= set(running.lines), PATIENCE_S)
    assert len(running.lines) == len(set(running.lines))


def answered(sessions: Sessions) -> set[str | None]:
    """Return the ids of all requests that have their answers in the store."""
    events = [event for one in sessions.recorded().values() for event in one.events]
    return {event.request_id for event in events if event.kind == "response"}


@pytest.mark.parametrize("deleted", [1, 2])
def test_deleted_sessions_do_not_hide_the_coming_ones(
    sessions: Sessions, tail: Callable[..., Tail], deleted: int
) -> None:
    """The store gives the numbers of deleted sessions to new ones; this one is over before tail looks again."""
    for _ in range(deleted):
        end(sessions.start(), 1)
    sessions.wait_until_recorded()
    running = tail()
    running.wait_for(2 * deleted)

    with stopped(running.process.pid):
        assert sessions.km("clear", "--all", "--yes").returncode == 0
        end(sessions.start(), 2)
        sessions.wait_until_recorded()

    running.wait_for(2 * deleted + 2)
    assert running.of("request_id")[2 * deleted :] == ["2", "2"]


def end(client: Client, *numbers: int) -> None:
    """Send requests, wait for their answers, and end the session."""
    ask(client, *numbers)
    client.end()


def test_session_that_ends_between_two_looks_is_seen_to_its_end(sessions: Sessions, tail: Callable[..., Tail]) -> None:
    first, second = sessions.start(), sessions.start()
    ask(first, 1)
    ask(second, 1)
    running = tail()
    running.wait_for(4)

    with stopped(running.process.pid):
        end(first, 2)
        end(second, 2)
        end(sessions.start(), 3)
        sessions.wait_until_recorded()

    running.wait_for(10)
    assert running.lines == events_of(sessions)


def test_killed_recorder_is_waited_out(sessions: Sessions, tail: Callable[..., Tail]) -> None:
    client = sessions.start()
    ask(client, 1)
    running = tail()
    running.wait_for(2)

    sessions.kill_recorder()
    ask(client, 2)

    running.wait_for(4)
    assert running.lines == events_of(sessions)


def test_interrupt_ends_it_with_130_and_no_word(sessions: Sessions, tail: Callable[..., Tail]) -> None:
    ask(sessions.start(), 1)
    running = tail()
    running.wait_for(2)

    running.process.send_signal(signal.SIGINT)

    status, said = running.end()
    assert (status, said.splitlines()[-1]) == (130, b"")
    assert b"Traceback" not in said


def test_closed_pipe_ends_it_quietly_once_something_more_comes(sessions: Sessions) -> None:
    client = sessions.start()
    ask(client, 1)
    wait_until_stored(sessions, 2)
    reading, writing = os.pipe()
    environment = {"PATH": os.environ["PATH"], "KILOMETERS_HOME": str(sessions.folder)}
    with subprocess.Popen([*KM, "tail"], env=environment, stdout=writing, stderr=subprocess.PIPE) as process:
        os.close(writing)
        first = os.read(reading, 1 << 16)
        os.close(reading)
        ask(client, 2)
        _, said = process.communicate(timeout=PATIENCE_S)

    assert first.count(b"\t") > 9
    assert (process.returncode, said) == (0, b"")


def test_on_a_terminal_each_event_is_a_line_that_fits(sessions: Sessions) -> None:
    client = sessions.start(command=["sh", "-c", "echo a word of warning >&2; exec cat"])
    ask(client, 1)
    wait_until_stored(sessions, 3)
    environment = {"PATH": os.environ["PATH"], "KILOMETERS_HOME": str(sessions.folder), "NO_COLOR": "1"}
    with Terminal([*KM, "tail"], environment, columns=80) as terminal:
        terminal.wait_for("a word of warning")
        ask(client, 2)
        terminal.wait_for("ping")
        terminal.process.send_signal(signal.SIGINT)
        assert terminal.wait() == 130

    lines = terminal.shown.replace("\r", "").splitlines()
    assert max(map(len, lines)) <= 80
    assert "Traceback" not in terminal.shown


def test_what_cannot_be_found_is_said(sessions: Sessions) -> None:
    ask(sessions.start(), 1)
    wait_until_stored(sessions, 2)

    done = sessions.km("tail", "server-x")

    assert done.returncode == 1
    assert b'no session "server-x"' in done.stderr
