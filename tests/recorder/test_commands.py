"""The reading commands, on a store that real sessions made."""

import json
import shlex
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from recorder.sessions import KM, Sessions
from relay.wrapped import home_in

DISCOVER = b'{"jsonrpc":"2.0","id":"server-discover-probe-1","method":"server/discover","params":{}}\n'


@pytest.fixture(scope="module")
def recorded(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Sessions]:
    """A home with a session of tool calls, a probe, and a session that still runs."""
    with home_in(tmp_path_factory.mktemp("commands")) as home:
        sessions = Sessions(home)
        calls = sessions.start()
        for number, tool in enumerate(("get-sum", "get-time", "echo")):
            calls.write(
                b'{"jsonrpc":"2.0","id":%d,"method":"tools/call","params":{"name":"%b"}}\n' % (number, tool.encode())
            )
            calls.wait_for_answers(number + 1)
        calls.write(b"not json\n")
        calls.end()
        sessions.wait_until_recorded()
        probe = sessions.start()
        probe.write(DISCOVER)
        probe.end()
        sessions.wait_until_recorded()
        yield sessions
        sessions.close()


def lines(sessions: Sessions, *arguments: str) -> list[Any]:
    done = sessions.km(*arguments, "--json")
    assert done.returncode == 0, done.stderr
    return [json.loads(line) for line in done.stdout.splitlines()]


def test_sessions_hides_probes_unless_asked(recorded: Sessions) -> None:
    shown = lines(recorded, "sessions")
    everything = lines(recorded, "sessions", "--all")

    assert [one["name"] for one in shown] == ["server-0"]
    assert [one["name"] for one in everything] == ["server-1", "server-0"]
    assert [one["is_probe"] for one in everything] == [True, False]


def test_sessions_finds_by_search_and_since(recorded: Sessions) -> None:
    assert len(lines(recorded, "sessions", "--search", "ANSWERING_SERVER")) == 1
    assert lines(recorded, "sessions", "--search", "no such thing") == []
    assert lines(recorded, "sessions", "--since", "0s") == []
    assert len(lines(recorded, "sessions", "--since", "2h", "--limit", "1")) == 1


def test_events_are_gapless_and_in_order(recorded: Sessions) -> None:
    events = lines(recorded, "events")

    assert [event["seq"] for event in events] == list(range(7))
    assert [event["kind"] for event in events][-1] == "undecodable"


@pytest.mark.parametrize(
    ("filters", "targets"),
    [
        (["--tool", "get-*"], ["get-sum", "get-sum", "get-time", "get-time"]),
        (["--tool", "echo", "--status", "ok"], ["echo"]),
        (["--method", "tools/*", "--limit", "2"], ["echo", "echo"]),
        (["--status", "error"], []),
        (["--search", "GET-SUM"], ["get-sum", "get-sum"]),
    ],
)
def test_events_are_filtered(recorded: Sessions, filters: list[str], targets: list[str]) -> None:
    assert [event["target"] for event in lines(recorded, "events", "server-0", *filters)] == targets


def test_events_of_all_sessions_come_with_all(recorded: Sessions) -> None:
    methods = {event.get("method") for event in lines(recorded, "events", "--all")}

    assert methods >= {"server/discover", "tools/call"}


@pytest.mark.parametrize("name", ["server-0", "id", "last 8 digits"])
def test_session_is_found_by(recorded: Sessions, name: str) -> None:
    session_id = lines(recorded, "sessions")[0]["session_id"]
    place = {"id": session_id, "last 8 digits": session_id[-8:]}.get(name, name)

    assert {event["session_id"] for event in lines(recorded, "events", place)} == {session_id}


def test_show_prints_an_event_with_its_payload(recorded: Sessions) -> None:
    done = recorded.km("show", "server-0:0")

    assert done.returncode == 0
    assert b'"name": "get-sum"' in done.stdout
    assert lines(recorded, "show", "server-0:0")[0]["payload"]["method"] == "tools/call"


def test_show_pairs_calls_with_their_answers(recorded: Sessions) -> None:
    rows = [line.split("\t") for line in recorded.km("show", "server-0").stdout.decode().splitlines() if "\t" in line]

    assert [(row[3], row[4], row[5]) for row in rows[:3]] == [
        ("tools/call", "get-sum", "ok"),
        ("tools/call", "get-time", "ok"),
        ("tools/call", "echo", "ok"),
    ]


@pytest.mark.parametrize(
    ("arguments", "status", "said"),
    [
        (["events", "nobody"], 1, 'no session "nobody"'),
        (["show", "server-0:99"], 1, "has no event 99"),
        (["show", "server-0:x"], 1, 'no session "server-0:x"'),
        (["show", "server-0:4294967296"], 1, "has no event 4294967296"),
        (["show", "server-0:99999999999999999999"], 1, "has no event"),
        (["events", "--since", "99999999999999999d"], 2, "is no time"),
        (["events", "--since", "yesterday"], 2, "is no time"),
        (["events", "--status", "fine"], 2, "fine"),
        (["monitor"], 2, "CMD"),
        (["nonsense"], 2, "nonsense"),
    ],
)
def test_error_says_what_is_wrong(recorded: Sessions, arguments: list[str], status: int, said: str) -> None:
    done = recorded.km(*arguments)

    assert done.returncode == status
    assert said in done.stderr.decode()
    assert done.stdout == b""


def test_empty_home_says_what_to_do(tmp_path: Path) -> None:
    for command in ("sessions", "events", "show"):
        done = Sessions(tmp_path / "nowhere").km(command)

        assert done.returncode == 1
        assert b"km demo" in done.stderr
    assert not (tmp_path / "nowhere").exists()


def test_status_counts_what_is_there(recorded: Sessions) -> None:
    (status,) = lines(recorded, "status")

    assert status["sessions"] == 2
    assert status["gaps"] == 0
    assert status["home"] == str(recorded.folder)


def test_closed_pipe_ends_quietly(recorded: Sessions) -> None:
    command = f"{shlex.join(KM)} events --json | head -n 1"
    done = subprocess.run(["sh", "-c", command], env=recorded.environment, capture_output=True, check=True)

    assert json.loads(done.stdout)["seq"] == 0
    assert done.stderr == b""


@pytest.mark.parametrize("locale", ["C", "POSIX", "en_US.ISO-8859-1", ""])
def test_any_locale_gets_utf_8(recorded: Sessions, locale: str) -> None:
    environment = {**recorded.environment, "LC_ALL": locale}
    done = subprocess.run([*KM, "events"], env=environment, capture_output=True, timeout=60, check=True)

    assert "→" in done.stdout.decode()
