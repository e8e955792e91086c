"""Each test has a home of its own, in which real relays and real recorders work."""

import shutil
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from faults.disk_faults import build
from recorder.sessions import Sessions
from relay.wrapped import end_survivors, ram_folders

if sys.platform != "linux":
    collect_ignore_glob = ["test_*.py"]


@pytest.fixture
def home(tmp_path: Path) -> Iterator[Path]:
    home = tmp_path / "home"
    home.mkdir(mode=0o700)
    folders = ram_folders(home)
    yield home
    end_survivors(home)
    for folder in folders:
        shutil.rmtree(folder, ignore_errors=True)


@pytest.fixture
def sessions(home: Path) -> Iterator[Sessions]:
    sessions = Sessions(home)
    yield sessions
    sessions.close()


@pytest.fixture(scope="session")
def fault_library(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return build(tmp_path_factory.mktemp("disk_faults"))
