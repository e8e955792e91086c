"""Windows: where km's home is, and files that are locked, renamed and removed while somebody has them open."""

import os
import sys
from pathlib import Path

import pytest

from kilometers import locks
from kilometers.machine import machine_id
from kilometers.paths import find_home, make_home
from kilometers.shared_open import open_shared

pytestmark = pytest.mark.skipif(sys.platform != "win32", reason="Windows' files")


def set_environment(monkeypatch: pytest.MonkeyPatch, **variables: str) -> None:
    for name in ("KILOMETERS_HOME", "LOCALAPPDATA", "USERPROFILE", "HOMEDRIVE", "HOMEPATH"):
        monkeypatch.delenv(name, raising=False)
    for name, value in variables.items():
        monkeypatch.setenv(name, value)


def test_home_is_in_the_users_local_folder(monkeypatch: pytest.MonkeyPatch) -> None:
    set_environment(monkeypatch, LOCALAPPDATA="D:\\Local", USERPROFILE="C:\\Users\\ada")

    assert find_home().folder == "D:\\Local\\Kilometers"


@pytest.mark.parametrize("local", ["", "D:Local", "Local"])
def test_local_folder_that_is_no_place_is_the_profiles(monkeypatch: pytest.MonkeyPatch, local: str) -> None:
    set_environment(monkeypatch, LOCALAPPDATA=local, USERPROFILE="C:\\Users\\ada")

    assert find_home().folder == "C:\\Users\\ada\\AppData\\Local\\Kilometers"


def test_user_without_a_profile_has_no_home(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    set_environment(monkeypatch)
    monkeypatch.chdir(tmp_path)

    assert os.path.isabs(find_home().folder)
    with pytest.raises(FileNotFoundError):
        make_home(find_home())
    assert list(tmp_path.iterdir()) == []


def test_open_file_may_be_renamed_read_and_removed(tmp_path: Path) -> None:
    fd = open_shared(str(tmp_path / "a.new"), os.O_RDWR | os.O_CREAT | os.O_EXCL)
    os.rename(tmp_path / "a.new", tmp_path / "a")
    os.write(fd, b"\r\n\x1a\n")
    reader = open_shared(str(tmp_path / "a"), os.O_RDONLY)
    content = os.read(reader, 10)
    os.unlink(tmp_path / "a")
    for each in (fd, reader):
        os.close(each)

    assert content == b"\r\n\x1a\n"
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("flags", "content"), [(os.O_RDWR | os.O_CREAT, b"old"), (os.O_RDWR | os.O_CREAT | os.O_TRUNC, b"")]
)
def test_file_that_is_there_is_opened_as_asked(tmp_path: Path, flags: int, content: bytes) -> None:
    (tmp_path / "a").write_bytes(b"old")
    fd = open_shared(str(tmp_path / "a"), flags)
    found = os.read(fd, 10)
    os.close(fd)

    assert found == content
    with pytest.raises(FileExistsError):
        open_shared(str(tmp_path / "a"), os.O_RDWR | os.O_CREAT | os.O_EXCL)
    with pytest.raises(FileNotFoundError):
        open_shared(str(tmp_path / "b"), os.O_RDWR)


def test_lock_is_one_descriptors_until_it_lets_go(tmp_path: Path) -> None:
    holder, other = (os.open(tmp_path / "lock", os.O_RDWR | os.O_CREAT) for _ in range(2))
    os.write(holder, b"what it says")

    assert locks.try_lock(holder)
    assert locks.is_locked(other)
    assert not locks.try_lock(other)
    assert os.read(other, 100) == b"what it says"
    locks.unlock(holder)
    assert not locks.is_locked(other)
    locks.wait_for_lock(other)
    assert locks.is_locked(holder)
    for fd in (holder, other):
        os.close(fd)


def test_machine_has_an_id() -> None:
    assert machine_id()
