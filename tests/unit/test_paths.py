import os
import sys
from pathlib import Path

import pytest

from kilometers import paths
from kilometers.paths import Home, find_home, is_in_memory, is_private_folder, make_home, make_private_folder

posix = pytest.mark.skipif(sys.platform == "win32", reason="owners and modes are POSIX's")
linux = pytest.mark.skipif(sys.platform != "linux", reason="folders in memory are Linux's")


@pytest.fixture
def home(tmp_path: Path) -> Home:
    return Home(str(tmp_path / "home"), str(tmp_path / "home" / "config.toml"))


def test_kilometers_home_holds_everything(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("KILOMETERS_HOME", str(tmp_path))
    home = find_home()

    files = [home.folder, home.config_file, home.store_file, home.journal_folder, home.recorder_lock, home.log_file]
    assert all(Path(file).is_relative_to(tmp_path) for file in files)


def test_relative_home_is_made_absolute(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("KILOMETERS_HOME", "here")

    assert find_home().folder == str(tmp_path / "here")


@linux
def test_home_follows_the_systems_conventions(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("KILOMETERS_HOME")
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("XDG_DATA_HOME", "/elsewhere")
    home = find_home()

    assert home.folder == str(tmp_path / ".local/share/kilometers")
    assert home.config_file == str(tmp_path / ".config/kilometers/config.toml")


@posix
def test_missing_home_is_the_passwd_entrys(monkeypatch: pytest.MonkeyPatch) -> None:
    import pwd

    monkeypatch.delenv("HOME")

    assert paths.find_user_home() == pwd.getpwuid(os.getuid()).pw_dir


@pytest.mark.skipif(sys.platform == "win32" or os.getuid() != 0, reason="only root can give a folder away")
def test_home_of_another_user_is_not_ours(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import pwd

    os.chown(tmp_path, 65534, 65534)
    monkeypatch.setenv("HOME", str(tmp_path))

    assert paths.find_user_home() == pwd.getpwuid(0).pw_dir


@posix
def test_home_is_made_for_its_user_alone(home: Home) -> None:
    make_home(home)

    assert is_private_folder(home.folder)
    assert is_private_folder(home.journal_folder)


@posix
def test_missing_user_home_is_not_made(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("KILOMETERS_HOME")
    monkeypatch.setenv("HOME", str(tmp_path / "missing"))

    with pytest.raises(FileNotFoundError):
        make_home(find_home())
    assert not (tmp_path / "missing").exists()


@posix
def test_private_folder_is_made_and_found_again(tmp_path: Path) -> None:
    path = str(tmp_path / "private")

    assert make_private_folder(path)
    assert make_private_folder(path)
    assert os.stat(path).st_mode & 0o777 == 0o700


@posix
def test_folder_open_to_others_is_not_private(tmp_path: Path) -> None:
    for mode in (0o777, 0o750, 0o701, 0o720):
        path = tmp_path / f"{mode:o}"
        path.mkdir()
        path.chmod(mode)

        assert not make_private_folder(str(path))
        assert path.stat().st_mode & 0o777 == mode


@posix
def test_symlink_and_file_are_no_private_folder(tmp_path: Path) -> None:
    (tmp_path / "target").mkdir(mode=0o700)
    (tmp_path / "link").symlink_to(tmp_path / "target")
    (tmp_path / "file").write_text("")

    assert not make_private_folder(str(tmp_path / "link"))
    assert not make_private_folder(str(tmp_path / "file"))


@pytest.mark.skipif(sys.platform == "win32" or os.getuid() != 0, reason="only root can give a folder away")
def test_folder_of_another_user_is_not_private(tmp_path: Path) -> None:
    path = tmp_path / "theirs"
    path.mkdir(mode=0o700)
    os.chown(path, 65534, 65534)

    assert not make_private_folder(str(path))


def test_folder_that_cannot_be_made_is_not_private(tmp_path: Path) -> None:
    assert not make_private_folder(str(tmp_path / "missing" / "folder"))


@linux
def test_journal_is_in_memory_first_and_in_the_home_last(home: Home) -> None:
    make_home(home)
    folders = home.journal_folders()

    assert folders[0].startswith(f"/run/user/{os.getuid()}/kilometers-")
    assert folders[1].startswith("/dev/shm/kilometers-")
    assert folders[2:] == [home.journal_folder]


def test_configured_folder_goes_before_the_homes(home: Home) -> None:
    assert home.journal_folders("/elsewhere") == ["/elsewhere", home.journal_folder]


@linux
def test_every_way_to_a_home_leads_to_one_folder_in_memory(home: Home, tmp_path: Path) -> None:
    make_home(home)
    (tmp_path / "link").symlink_to(home.folder)
    other = Home(str(tmp_path), "")

    assert Home(str(tmp_path / "link"), "").ram_folders() == home.ram_folders()
    assert other.ram_folders() != home.ram_folders()


@linux
def test_shared_memory_is_memory_and_proc_is_not() -> None:
    assert is_in_memory("/dev/shm")
    assert not is_in_memory("/proc")
    assert not is_in_memory("/nonexistent")
