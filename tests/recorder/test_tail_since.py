"""`km tail --since` with `--limit`: what happened before counts too, and comes first."""

import subprocess
from collections.abc import Iterator

import pytest

from recorder.sessions import KM, Sessions, wait_until

STORED = 8


@pytest.fixture
def living(sessions: Sessions) -> Sessions:
    """A home with a session that runs, and of which so many events are stored."""
    client = sessions.start()
    for number in range(STORED // 2):
        client.call(number)
    client.wait_for_answers(STORED // 2)
    wait_until(lambda: sessions.count("SELECT count(*) FROM events") == STORED, 30)
    return sessions


def events_of(sessions: Sessions) -> list[bytes]:
    return sessions.km("events", "--all", "--json").stdout.splitlines(keepends=True)


@pytest.mark.parametrize("limit", [1, 3, STORED])
def test_limit_counts_what_happened_since_then(living: Sessions, limit: int) -> None:
    done = living.km("tail", "--json", "--since", "1h", "--limit", str(limit))

    assert (done.returncode, done.stderr) == (0, b"")
    assert done.stdout.splitlines(keepends=True) == events_of(living)[:limit]


@pytest.fixture
def tail(living: Sessions) -> Iterator[subprocess.Popen[bytes]]:
    """A tail that wants two events more than are stored."""
    command = [*KM, "tail", "--json", "--since", "1h", "--limit", str(STORED + 2)]
    with subprocess.Popen(command, env=living.environment, stdout=subprocess.PIPE) as process:
        yield process
        process.kill()


def test_limit_beyond_what_happened_since_then_waits_for_new_events(
    living: Sessions, tail: subprocess.Popen[bytes]
) -> None:
    assert tail.stdout is not None
    before = [tail.stdout.readline() for _ in range(STORED)]
    living.clients[0].call(STORED)
    after = tail.stdout.readlines()

    assert tail.wait(30) == 0
    assert len(after) == 2
    assert before + after == events_of(living)
