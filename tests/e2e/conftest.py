"""Homes for tests that run the real km, and no recorder left behind in them."""

import contextlib
import os
import shutil
import signal
from collections.abc import Iterator
from pathlib import Path

import pytest

from kilometers.paths import Home

pytest.register_assert_rewrite("e2e.checks")  # so that a failing check shows its values


@pytest.fixture
def kilometers_home(tmp_path: Path) -> Iterator[Path]:
    """An empty home; whatever still runs in it at the end of the test is killed."""
    home = tmp_path / "kilometers"
    home.mkdir(mode=0o700)
    ram_folders = Home(str(home), "").ram_folders()
    yield home
    for pid in find_processes_of(home):
        with contextlib.suppress(ProcessLookupError):  # it ended by itself
            os.kill(pid, signal.SIGKILL)
    for folder in ram_folders:
        shutil.rmtree(folder, ignore_errors=True)


def find_processes_of(home: Path) -> list[int]:
    """Return the processes that were started with *home* as KILOMETERS_HOME; none where there is no /proc."""
    wanted = f"KILOMETERS_HOME={home}".encode()
    return [int(path.parent.name) for path in Path("/proc").glob("[0-9]*/environ") if wanted in read_environment(path)]


def read_environment(path: Path) -> list[bytes]:
    try:
        return path.read_bytes().split(b"\0")
    except OSError:
        return []  # ended meanwhile, or another user's
