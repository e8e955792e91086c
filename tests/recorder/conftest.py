"""Each test has a home of its own, in which real relays and real recorders work."""

import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from faults.disk_faults import build
from recorder.doctor_runs import Doctor
from recorder.sessions import Sessions
from relay.wrapped import home_in

if sys.platform != "linux":
    collect_ignore_glob = ["test_*.py"]


@pytest.fixture
def home(tmp_path: Path) -> Iterator[Path]:
    with home_in(tmp_path) as home:
        yield home


@pytest.fixture
def sessions(home: Path) -> Iterator[Sessions]:
    sessions = Sessions(home)
    yield sessions
    sessions.close()


@pytest.fixture
def doctor(sessions: Sessions, tmp_path: Path) -> Doctor:
    return Doctor(sessions, tmp_path)


@pytest.fixture
def recorded(doctor: Doctor) -> Doctor:
    """A home in which a session has been recorded, and whose recorder still lingers."""
    client = doctor.sessions.start()
    client.call(1)
    client.wait_for_answers(1)
    client.end()
    doctor.sessions.wait_until_recorded()
    return doctor


@pytest.fixture(scope="session")
def fault_library(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return build(tmp_path_factory.mktemp("disk_faults"))
