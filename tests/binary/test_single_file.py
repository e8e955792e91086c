"""The launcher: one km in the cache, whole or not there, whatever happens; the same pid; a clear last word."""

import os
import shutil
import subprocess
import time
from pathlib import Path

import pytest

from binary.bare_machine import BareMachine
from kilometers import __version__
from recorder.sessions import Sessions
from relay.wrapped import wait_until

SAYS_VERSION = f"km {__version__}\n"
CACHE = Path(".cache/kilometers")


def start(single_file: Path, user_home: Path, *arguments: str) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [str(single_file), *(arguments or ("--version",))],
        env={"HOME": str(user_home)},
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def ended(process: subprocess.Popen[str]) -> tuple[int, str, str]:
    shown, said = process.communicate(timeout=60)
    return process.returncode, shown, said


def unpacked(user_home: Path) -> Path:
    """Return the one folder in the cache."""
    (folder,) = [path for path in (user_home / CACHE).iterdir() if path.name != "lock"]
    return folder


def files_in(folder: Path) -> dict[str, tuple[int, int]]:
    """Return inode and size of every file."""
    files = [path for path in folder.rglob("*") if path.is_file()]
    return {str(path.relative_to(folder)): (path.stat().st_ino, path.stat().st_size) for path in files}


def test_is_unpacked_once(single_file: Path, folder: Path, tmp_path: Path) -> None:
    first = ended(start(single_file, tmp_path))
    before = files_in(unpacked(tmp_path))
    second = ended(start(single_file, tmp_path))

    assert first == second == (0, SAYS_VERSION, "")
    assert files_in(unpacked(tmp_path)) == before
    assert {name: size for name, (_, size) in before.items()} == {
        name: size for name, (_, size) in files_in(folder).items()
    }


def test_only_the_user_may_read_what_is_unpacked(single_file: Path, tmp_path: Path) -> None:
    os.umask(0)
    ended(start(single_file, tmp_path))
    os.umask(0o022)
    modes = {path.stat().st_mode & 0o777 for path in (tmp_path / CACHE).rglob("*")}

    assert modes <= {0o700, 0o600}


def test_twenty_at_once_unpack_one(single_file: Path, tmp_path: Path) -> None:
    processes = [start(single_file, tmp_path) for _ in range(20)]

    assert [ended(process) for process in processes] == [(0, SAYS_VERSION, "")] * 20
    assert len(unpacked(tmp_path).name) == 64


def test_kill_while_it_unpacks_leaves_nothing_half(single_file: Path, tmp_path: Path) -> None:
    for delay_ms in range(0, 120, 6):
        shutil.rmtree(tmp_path / CACHE, ignore_errors=True)
        killed = start(single_file, tmp_path)
        time.sleep(delay_ms / 1000)
        killed.kill()
        killed.communicate()

        assert ended(start(single_file, tmp_path)) == (0, SAYS_VERSION, "")
        assert len(unpacked(tmp_path).name) == 64


@pytest.mark.parametrize(
    "damage", ["rm $0/_struct.so", "rm -r $0/apsw", ": > $0/km", "rm $0/km", "echo x >> $0/LICENSE"]
)
def test_folder_that_lost_something_is_made_again(single_file: Path, tmp_path: Path, damage: str) -> None:
    ended(start(single_file, tmp_path))
    whole = files_in(unpacked(tmp_path)).keys()
    (next(unpacked(tmp_path).glob("_struct*.so"))).rename(unpacked(tmp_path) / "_struct.so")
    subprocess.run(["sh", "-c", damage, str(unpacked(tmp_path))], check=True)

    assert ended(start(single_file, tmp_path, "version"))[0] == 0
    assert files_in(unpacked(tmp_path)).keys() == whole


def test_it_is_the_process_that_the_client_started(single_file: Path, home: Path) -> None:
    process = start(single_file, home.parent, "monitor", "--", "sh", "-c", "echo $PPID")

    assert ended(process) == (0, f"{process.pid}\n", "")


@pytest.mark.parametrize("from_its_end", [8, 5_000_000])
def test_damaged_file_says_so(
    bare: BareMachine, single_file: Path, archive: Path, tmp_path: Path, from_its_end: int
) -> None:
    content = bytearray(single_file.read_bytes())
    end = content.index(archive.read_bytes()[-1000:]) + 1000
    content[end - from_its_end] ^= 0x10  # 8: the checksum of what all the rest unpacks to
    damaged = tmp_path / "km"
    damaged.write_bytes(content)
    damaged.chmod(0o755)
    bare.install(damaged)
    done = bare.run("km --version; echo $?; ls /root/.cache/kilometers /var/tmp/kilometers-0")

    assert done.stdout == "125\n/root/.cache/kilometers:\nlock\n\n/var/tmp/kilometers-0:\nlock\n"
    assert "this file is damaged" in done.stderr


def test_moved_file_goes_on_from_the_cache(single_file: Path, home: Path) -> None:
    moved = shutil.copy(single_file, home.parent / "km")
    sessions = Sessions(home, [str(moved)])
    client = sessions.start(environment={"HOME": str(home.parent)})
    client.call(1)
    client.wait_for_answers(1)
    moved.unlink()
    sessions.wait_for_recorder()
    sessions.kill_recorder()
    client.call(2)
    client.wait_for_answers(2)
    status = client.end()
    sessions.command = [str(single_file)]
    (recorded,) = sessions.wait_until_recorded().values()

    assert status == 0
    assert [event.method for event in recorded.events] == ["ping"] * 4


def test_recorder_removes_what_nobody_uses_any_more(single_file: Path, home: Path) -> None:
    old = home.parent / CACHE / ("0" * 64)
    old.mkdir(parents=True)
    os.utime(old, (0, 0))
    sessions = Sessions(home, [str(single_file)])
    sessions.start(environment={"HOME": str(home.parent)}).end()
    sessions.wait_until_recorded()

    wait_until(lambda: not old.exists(), "the end of the old folder")


@pytest.mark.parametrize(
    ("before", "place"),
    [
        ("", "/root/.cache/kilometers"),
        ("unset HOME", "/var/tmp/kilometers-0"),
        ("export HOME=relative", "/var/tmp/kilometers-0"),
        ("export HOME=/nowhere", "/var/tmp/kilometers-0"),
        ("export HOME=/proc", "/var/tmp/kilometers-0"),
        ("mount -t tmpfs -o noexec none /root", "/var/tmp/kilometers-0"),
        ("mount -t tmpfs -o size=9m none /root", "/var/tmp/kilometers-0"),
        ("mkdir -p /root/.cache; ln -s /tmp /root/.cache/kilometers", "/var/tmp/kilometers-0"),
        ("mkdir -p /root/.cache/kilometers; chmod 777 /root/.cache/kilometers", "/var/tmp/kilometers-0"),
        ("km --version; mount --bind /root /root; mount -o remount,ro,bind /root", "/root/.cache/kilometers"),
    ],
)
def test_it_finds_a_place(bare: BareMachine, single_file: Path, before: str, place: str) -> None:
    bare.install(single_file)
    done = bare.run(f"{before}\nset -e; km --version; ls {place}")
    lines = done.stdout.splitlines()

    assert (done.returncode, done.stderr) == (0, "")
    assert lines[-3] == SAYS_VERSION.strip()
    assert sorted(map(len, lines[-2:])) == [len("lock"), 64]


@pytest.mark.parametrize(
    ("before", "why"),
    [
        ("rm -r /var /root", "cannot make /var"),
        ("export HOME=/nowhere; ln -s /tmp /var/tmp/kilometers-0", "cannot use /var/tmp/kilometers-0"),
        ("export HOME=/nowhere; mount -t tmpfs -o size=9m none /var/tmp", "No space left on device"),
        ("export HOME=/nowhere; mount -t tmpfs -o noexec none /var/tmp", "cannot start /var/tmp"),
    ],
)
def test_it_says_why_there_is_no_place(bare: BareMachine, single_file: Path, before: str, why: str) -> None:
    bare.install(single_file)
    if "rm -r" in before:
        (bare.root / "var").rename(bare.root / "gone")
        (bare.root / "var").touch()
        before = "export HOME=/nowhere"
    done = bare.run(f"{before}\nkm --version")

    assert (done.returncode, done.stdout) == (125, "")
    assert done.stderr.startswith("km: cannot unpack itself: ")
    assert why in done.stderr
    assert "Set HOME" in done.stderr
