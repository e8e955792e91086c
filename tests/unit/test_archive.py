"""Archives and checksums of a release: the same files, the same bytes."""

import gzip
import hashlib
import os
import shutil
import stat
import subprocess
import sys
import tarfile
import zipfile
from pathlib import Path

import pytest

import archive

AT_S = 1_790_000_000
PAPERS = ("LICENSE", "README.md", "THIRD-PARTY-NOTICES")


@pytest.fixture(autouse=True)
def _at(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SOURCE_DATE_EPOCH", str(AT_S))


def build(parent: Path, target: str = "linux-x64", *, reverse: bool = False) -> Path:
    """Write a small build, its files in this order or the other way round."""
    folder = parent / f"km-1.2-{target}"
    names = ["km", "inner/core.so", "inner/b/data", *PAPERS]
    for name in reversed(names) if reverse else names:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text(name)
    (folder / "km").chmod(0o700)
    return folder


def packed(folder: Path, output: Path) -> Path:
    output.mkdir(exist_ok=True)
    return archive.pack(folder, output, folder.name)


@pytest.mark.parametrize("target", ["linux-x64", "windows-x64"])
def test_two_builds_at_different_times_and_places_are_packed_alike(tmp_path: Path, target: str) -> None:
    first, second = build(tmp_path / "a", target), build(tmp_path / "b", target, reverse=True)
    for path in second.rglob("*"):
        path.chmod(path.stat().st_mode & ~0o077)
        os.utime(path, (1, 1))

    one, other = packed(first, tmp_path / "1"), packed(second, tmp_path / "2")

    assert one.read_bytes() == other.read_bytes()


@pytest.mark.skipif(sys.platform == "win32", reason="Windows has no modes, and makes no tar")
def test_tar_holds_one_folder_of_its_name_sorted_without_users(tmp_path: Path) -> None:
    path = packed(build(tmp_path), tmp_path / "out")

    with tarfile.open(path) as opened:
        entries = opened.getmembers()
    assert path.name == "km-1.2-linux-x64.tar.gz"
    assert [entry.name.removeprefix("km-1.2-linux-x64/") for entry in entries] == [
        "LICENSE",
        "README.md",
        "THIRD-PARTY-NOTICES",
        "inner",
        "inner/b",
        "inner/b/data",
        "inner/core.so",
        "km",
    ]
    assert {(entry.uid, entry.gid, entry.uname, entry.gname, entry.mtime) for entry in entries} == {
        (0, 0, "", "", AT_S)
    }
    assert {entry.name.rpartition("/")[2]: oct(entry.mode) for entry in entries if entry.isfile()} == {
        "km": "0o755",
        "core.so": "0o644",
        "data": "0o644",
        **dict.fromkeys(PAPERS, "0o644"),
    }


def test_folder_in_the_archive_has_the_name_of_the_release(tmp_path: Path) -> None:
    path = archive.pack(build(tmp_path), tmp_path, "km-1.3-macos-x64")

    with tarfile.open(path) as opened:
        assert {name.partition("/")[0] for name in opened.getnames()} == {"km-1.3-macos-x64"}


def test_gzip_header_holds_no_name_and_no_time(tmp_path: Path) -> None:
    content = packed(build(tmp_path), tmp_path / "out").read_bytes()

    assert content[3:8] == bytes(5)


def test_tar_is_the_plain_ustar_that_the_launcher_reads(tmp_path: Path) -> None:
    content = gzip.decompress(packed(build(tmp_path), tmp_path / "out").read_bytes())

    assert content[257:263] == b"ustar\0"
    assert content[345:500] == bytes(155)  # no prefix: every name is whole


def test_windows_gets_a_zip_whose_program_is_one(tmp_path: Path) -> None:
    folder = build(tmp_path, "windows-x64")
    (folder / "km").rename(folder / "km.exe")

    path = packed(folder, tmp_path / "out")

    with zipfile.ZipFile(path) as opened:
        entries = {entry.filename: entry for entry in opened.infolist()}
        assert opened.read("km-1.2-windows-x64/inner/b/data") == b"inner/b/data"
    assert path.name == "km-1.2-windows-x64.zip"
    assert stat.S_IMODE(entries["km-1.2-windows-x64/km.exe"].external_attr >> 16) == 0o755
    assert entries["km-1.2-windows-x64/LICENSE"].date_time == (2026, 9, 21, 14, 13, 20)


@pytest.mark.parametrize("name", PAPERS)
def test_folder_without_its_papers_is_not_packed(tmp_path: Path, name: str) -> None:
    folder = build(tmp_path)
    (folder / name).unlink()

    with pytest.raises(archive.CannotPackError, match=name):
        archive.pack(folder, tmp_path, folder.name)


@pytest.mark.skipif(sys.platform == "win32", reason="Windows lets only administrators make links")
def test_link_is_not_packed(tmp_path: Path) -> None:
    folder = build(tmp_path)
    (folder / "link").symlink_to("km")

    with pytest.raises(archive.CannotPackError, match="link"):
        archive.pack(folder, tmp_path, folder.name)


def test_name_that_the_launcher_could_not_read_is_not_packed(tmp_path: Path) -> None:
    folder = build(tmp_path)
    (folder / ("n" * 100)).touch()

    with pytest.raises(archive.CannotPackError, match="longer than 100 bytes"):
        archive.pack(folder, tmp_path, folder.name)


def test_time_is_the_commits_where_none_is_given(monkeypatch: pytest.MonkeyPatch) -> None:
    given_s = archive.source_date()
    monkeypatch.delenv("SOURCE_DATE_EPOCH")
    command = ["git", "-C", str(archive.ROOT), "show", "-s", "--format=%ct", "HEAD"]

    commit_s = int(subprocess.run(command, check=True, capture_output=True).stdout)

    assert (given_s, archive.source_date()) == (AT_S, commit_s)


def test_sums_are_sorted_and_can_be_checked(tmp_path: Path) -> None:
    names = [f"km-{number:02}" for number in range(20)]
    for name in (*reversed(names), "SHA256SUMS"):
        (tmp_path / name).write_text(name)

    sums = archive.write_sums(tmp_path)

    assert sums.read_text() == "".join(f"{hashlib.sha256(name.encode()).hexdigest()}  {name}\n" for name in names)
    if program := shutil.which("sha256sum"):
        subprocess.run([program, "--check", "--strict", "--quiet", sums.name], cwd=tmp_path, check=True)
