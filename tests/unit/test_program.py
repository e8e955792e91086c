import os
import sys
import time
from pathlib import Path

from kilometers import program

DAY_S = 86_400


def unpacked(cache: Path, digit: str, *, days_ago: float) -> Path:
    """Make a folder as the launcher does, last used some days ago."""
    folder = cache / (digit * 64)
    (folder / "apsw").mkdir(parents=True)
    (folder / "apsw" / "__init__.so").write_bytes(b"library")
    os.utime(folder, (time.time() - days_ago * DAY_S,) * 2)
    return folder


def test_folders_that_nobody_uses_any_more_are_removed(tmp_path: Path) -> None:
    own = unpacked(tmp_path, "a", days_ago=100)
    recent = unpacked(tmp_path, "b", days_ago=29)
    unpacked(tmp_path, "c", days_ago=31)

    program.remove_folders_beside(str(own), unused_s=program.UNUSED_S)

    assert sorted(tmp_path.iterdir()) == [own, recent]


def test_what_the_launcher_did_not_make_is_left_alone(tmp_path: Path) -> None:
    own = unpacked(tmp_path, "a", days_ago=0)
    others = [tmp_path / "lock", tmp_path / "journal", tmp_path / ("B" * 64), tmp_path / ("a" * 63)]
    for path in others:
        path.mkdir()
        os.utime(path, (0, 0))

    program.remove_folders_beside(str(own), unused_s=program.UNUSED_S)

    assert sorted(tmp_path.iterdir()) == sorted([own, *others])


def test_python_package_starts_itself_by_its_python() -> None:
    assert program.find_build() is program.Build.PACKAGE
    assert program.own_command() == [sys.executable, "-E", "-P", "-m", "kilometers"]
