"""Each test has a KILOMETERS_HOME of its own, whose recorder it keeps from starting."""

import os
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from faults.disk_faults import build
from kilometers import locks, paths
from relay.wrapped import end_survivors, home_in, remove

if sys.platform != "linux":
    names = os.listdir(os.path.dirname(__file__))
    collect_ignore = [name for name in names if name.startswith("test_") and not name.startswith("test_windows")]


@pytest.fixture
def home(tmp_path: Path) -> Iterator[Path]:
    """A home with `recorder.lock` held: a recorder would consume the segments that the tests read."""
    with home_in(tmp_path) as home:
        lock_fd = os.open(home / "recorder.lock", os.O_RDWR | os.O_CREAT, 0o600)
        locks.wait_for_lock(lock_fd)
        yield home
        end_survivors(home)  # before they get the lock
        os.close(lock_fd)


@pytest.fixture
def memory_folder(home: Path) -> Iterator[Path]:
    """A folder in memory that is the test's own, below which a journal may be."""
    folder = Path("/dev/shm") / f"km-test-{os.getpid()}-{home.stat().st_ino}"
    folder.mkdir(mode=0o700)
    yield folder
    end_survivors(home)
    remove(folder)


@pytest.fixture
def disk_folder(home: Path) -> Path:
    """A folder that is not in memory, where km hands its journal to a writer thread."""
    if paths.is_in_memory(str(home)):
        pytest.skip("the temporary folder is in memory here")
    return home / "disk"


@pytest.fixture(scope="session")
def fault_library(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return build(tmp_path_factory.mktemp("disk_faults"))
