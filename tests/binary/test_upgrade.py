"""An upgrade takes the program away from under the sessions that run, and they go on: nothing is imported any more."""

import json
import os
import shutil
import signal
from pathlib import Path

import pytest

from kilometers import election
from recorder.sessions import Sessions, assert_equation, wait_until

HOSTILE = (
    b"no JSON\r\n",
    b'{"jsonrpc":"2.0","id":2,"method":"tools/call","params":{"name":"t","arguments":{"a":"\xff\xfe"}}}\n',
    b'{"jsonrpc":"2.0","method":"notifications/cancelled","params":{"requestId":1}}\n',
    b'[{"jsonrpc":"2.0","id":9,"method":"ping"}]\n',
    b'{"jsonrpc":"2.0","id":3,"method":"big","params":"' + b"x" * 3_000_000 + b'"}\n',
)


@pytest.fixture
def old(folder: Path, tmp_path: Path) -> Path:
    """A folder build of its own, which will go."""
    return shutil.copytree(folder, tmp_path / "old")


def test_sessions_and_recorder_outlive_their_program(old: Path, folder: Path, home: Path) -> None:
    sessions = Sessions(home, [str(old / "km")])
    clients = [sessions.start() for _ in range(3)]
    for client in clients:
        client.call(1)
        client.wait_for_answers(1)
    sessions.wait_for_recorder()
    shutil.rmtree(old)
    for frame in HOSTILE:
        clients[0].write(frame)
    clients[1].call(2)
    os.kill(clients[2].relay.pid, signal.SIGTERM)
    clients[2].relay.wait(10)
    statuses = [client.end() for client in clients]
    sessions.command = [str(folder / "km")]
    recorded = sessions.wait_until_recorded()

    assert statuses == [0, 0, 128 + signal.SIGTERM]
    assert_equation(clients, recorded)
    assert not [line for line in log_of(sessions) if line["level"] == "error"]


def test_program_that_is_gone_is_replaced_by_the_next_km(old: Path, folder: Path, home: Path) -> None:
    sessions = Sessions(home, [str(old / "km")])
    client = sessions.start()
    client.call(1)
    client.wait_for_answers(1)
    sessions.wait_for_recorder()
    shutil.rmtree(old)
    sessions.kill_recorder()
    client.call(2)
    client.wait_for_answers(2)
    newer = sessions.start(km=[str(folder / "km")])
    newer.call(1)
    newer.wait_for_answers(1)
    statuses = [client.end(), newer.end()]
    sessions.command = [str(folder / "km")]
    recorded = sessions.wait_until_recorded()

    assert statuses == [0, 0]
    assert_equation([client, newer], recorded)


def test_newest_km_seen_is_the_one_that_is_started(folder: Path, single_file: Path, home: Path) -> None:
    sessions = Sessions(home, [str(folder / "km")])
    content = election.LockFile({"version": ["99.0.0"], "command": [str(single_file)]})
    Path(sessions.home.recorder_lock).write_bytes(content.pack())
    client = sessions.start(environment={"HOME": str(home.parent)})
    client.call(1)
    client.wait_for_answers(1)
    recorder = Path(f"/proc/{sessions.wait_for_recorder()}/cmdline").read_bytes()
    client.end()
    sessions.wait_until_recorded()

    assert recorder == f"{single_file}\0recorder\0".encode()


def test_program_replaced_in_place_is_no_matter(single_file: Path, home: Path) -> None:
    program = shutil.copy(single_file, home.parent / "km")
    sessions = Sessions(home, [str(program)])
    client = sessions.start(environment={"HOME": str(home.parent)})
    client.call(1)
    client.wait_for_answers(1)
    shutil.copy("/bin/true", program)
    client.call(2)
    client.wait_for_answers(2)

    assert client.end() == 0
    wait_until(lambda: sum(len(one.events) for one in sessions.recorded().values()) == 4, 30)


def log_of(sessions: Sessions) -> list[dict[str, str]]:
    """Return km's own log."""
    file = Path(sessions.home.log_file)
    return [json.loads(line) for line in file.read_text().splitlines()] if file.exists() else []
