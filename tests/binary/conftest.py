"""What `nox -s binary` has built: the archive, unpacked where a user might put it, and the single file."""

import os
import shutil
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from binary.bare_machine import BareMachine
from relay.wrapped import home_in

DIST = Path(os.environ["KM_DIST"])  # named by `nox -s binary`: without a build there is nothing to test

if sys.platform == "win32":  # the launcher is not for Windows; the rest needs /proc and pseudo-terminals
    collect_ignore_glob = ["test_*.py"]


@pytest.fixture(scope="session")
def archive() -> Path:
    (found,) = DIST.glob("km-*.tar.gz")
    return found


@pytest.fixture(scope="session")
def single_file(archive: Path) -> Path:
    return archive.with_name(archive.name.removesuffix(".tar.gz"))


@pytest.fixture(scope="session")
def folder(archive: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    place = tmp_path_factory.mktemp("Programs of a user, ü")
    shutil.unpack_archive(archive, place, filter="data")
    (unpacked,) = place.iterdir()
    return unpacked


@pytest.fixture(params=["folder", "single file"])
def program(request: pytest.FixtureRequest, folder: Path, single_file: Path) -> Path:
    """Each shape of the native km."""
    return folder / "km" if request.param == "folder" else single_file


@pytest.fixture
def home(tmp_path: Path) -> Iterator[Path]:
    with home_in(tmp_path) as home:
        yield home


@pytest.fixture
def bare(tmp_path: Path) -> BareMachine:
    return BareMachine(tmp_path / "bare")
