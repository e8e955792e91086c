"""The store on a disk that is full, broken or hung: nothing captured is lost, and only the recorder waits."""

import subprocess
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from faults.disk_faults import DiskFaults, Mode
from recorder.sessions import KM, Sessions, assert_equation, wait_until


@pytest.fixture
def faults(sessions: Sessions, fault_library: Path) -> Iterator[DiskFaults]:
    """Faults for the home's folder, and a recorder that feels them; the relays do not."""
    with DiskFaults(sessions.folder, library=fault_library) as faults:
        environment = {**sessions.environment, **faults.env()}
        subprocess.run([*KM, "recorder"], env=environment, check=True, timeout=20)
        sessions.wait_for_recorder()
        yield faults


@pytest.mark.parametrize("mode", ["enospc", "eio", "erofs", "short"])
def test_store_that_cannot_be_written_for_a_while_loses_nothing(
    sessions: Sessions, faults: DiskFaults, mode: Mode
) -> None:
    client = sessions.start()
    client.call(1)
    client.wait_for_answers(1)
    wait_until(lambda: any(one.events for one in sessions.recorded().values()), 10)
    faults.set(mode)
    for number in range(2, 400):
        client.call(number, size=1000)
    client.wait_for_answers(399)
    recorder = sessions.recorder_pid()
    wait_until_it_waits(sessions, mode)

    assert sessions.recorder_pid() == recorder
    faults.clear()
    client.end()

    recorded = sessions.wait_until_recorded()
    assert_equation([client], recorded)
    assert [one.summary["gaps"] for one in recorded.values()] == [0]


def wait_until_it_waits(sessions: Sessions, mode: Mode) -> None:
    """Wait for a failed step: what SQLite makes of a short write it mends itself, and the recorder goes on."""
    if mode == "short":
        return
    status = Path(f"/proc/{sessions.recorder_pid()}/status")
    # Its log is on the same disk; that it sleeps between two tries is what tells.
    wait_until(lambda: "(sleeping)" in status.read_text() and not has_all(sessions), 10)


def has_all(sessions: Sessions) -> bool:
    return any(len(one.events) == 2 * 399 for one in sessions.recorded().values())


def test_hung_store_does_not_slow_the_session(sessions: Sessions, faults: DiskFaults) -> None:
    client = sessions.start()
    client.call(1)
    client.wait_for_answers(1)
    faults.set("hang")
    slowest_s = max(round_trip_s(client, number) for number in range(2, 200))

    faults.clear()
    client.end()

    assert slowest_s < 1
    assert_equation([client], sessions.wait_until_recorded())


def round_trip_s(client: Any, number: int) -> float:
    begin_s = time.monotonic()
    client.call(number)
    wait_until(lambda: client.received.count(b"\n") >= number, 10)
    return time.monotonic() - begin_s
