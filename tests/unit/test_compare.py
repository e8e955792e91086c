"""Whether two builds are the same, and where they are not."""

import shutil
import struct
import sys
import tarfile
from pathlib import Path

import pytest

import compare


@pytest.fixture
def folders(tmp_path: Path) -> tuple[Path, Path]:
    """Two folders with the same in them."""
    left, right = tmp_path / "left", tmp_path / "right"
    (left / "inner").mkdir(parents=True)
    (left / "km").write_bytes(bytes(200_000))
    (left / "inner" / "core.so").write_bytes(b"core")
    shutil.copytree(left, right)
    return left, right


def elf(*sections: tuple[str, bytes]) -> bytes:
    """Return a 64-bit ELF file with these sections, the table of their names last."""
    names = b"".join(name.encode() + b"\0" for name, _ in sections) + b".shstrtab\0"
    contents = [content for _, content in sections] + [names]
    headers, offset, name_at = b"", 64, 0
    for index, content in enumerate(contents):
        headers += struct.pack("<2I4Q2I2Q", name_at, 1, 0, 0, offset, len(content), 0, 0, 1, 0)
        offset += len(content)
        name_at = names.index(b"\0", name_at) + 1 if index < len(sections) else name_at
    header = (
        b"\x7fELF\x02\x01\x01"
        + bytes(9)
        + struct.pack("<2HI3QI6H", 3, 62, 1, 0, 0, offset, 0, 64, 0, 0, 64, len(contents), len(sections))
    )
    return header + b"".join(contents) + headers


def test_same_builds_have_no_difference(folders: tuple[Path, Path], capsys: pytest.CaptureFixture[str]) -> None:
    left, right = folders

    assert compare.main(str(left), str(right)) == 0
    assert "are the same" in capsys.readouterr().out


def test_difference_is_found_at_its_first_byte(folders: tuple[Path, Path], capsys: pytest.CaptureFixture[str]) -> None:
    left, right = folders
    content = bytearray(200_000)
    content[150_000] = content[199_999] = 1
    (right / "km").write_bytes(content)

    assert compare.main(str(left), str(right)) == 1
    assert capsys.readouterr().out == f"km: differs from offset {150_000:#x}\n"


def test_sizes_that_differ_are_said(folders: tuple[Path, Path]) -> None:
    left, right = folders
    (right / "inner" / "core.so").write_bytes(b"core and more")

    assert [*compare.find_differences(left, right)] == ["inner/core.so: 4 and 13 bytes"]


def test_file_of_one_build_alone_is_named(folders: tuple[Path, Path]) -> None:
    left, right = folders
    (left / "km").unlink()
    (right / "inner" / "new").touch()

    assert [*compare.find_differences(left, right)] == [f"inner/new: only in {right}", f"km: only in {right}"]


@pytest.mark.skipif(sys.platform == "win32", reason="Windows has no modes")
def test_mode_that_differs_is_said(folders: tuple[Path, Path]) -> None:
    left, right = folders
    (left / "km").chmod(0o755)
    (right / "km").chmod(0o644)

    assert [*compare.find_differences(left, right)] == ["km: -rwxr-xr-x and -rw-r--r--"]


def test_two_files_are_compared_too(tmp_path: Path) -> None:
    for name in ("a", "b"):
        (tmp_path / name).write_text(name)

    assert [*compare.find_differences(tmp_path / "a", tmp_path / "b")] == ["a: differs from offset 0x0"]


def test_missing_build_is_a_difference(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert compare.main(str(tmp_path), str(tmp_path / "none")) == 1
    assert "none does not exist" in capsys.readouterr().out


def test_section_of_an_elf_file_is_named() -> None:
    left, right = elf((".text", b"code"), (".data", b"1234")), elf((".text", b"code"), (".data", b"1294"))

    assert [*compare.differences_of_content(left, right)] == [f"differs from offset {64 + 6:#x}, in .data"]


def test_file_in_an_archive_is_named(tmp_path: Path) -> None:
    for name in ("left", "right"):
        (tmp_path / name / "km-1").mkdir(parents=True)
        (tmp_path / name / "km-1" / "km").write_text(f"a {name}")
        with tarfile.open(tmp_path / name / "km-1.tar.gz", "w:gz") as archive:
            archive.add(tmp_path / name / "km-1", "km-1")

    differences = [*compare.differences_of(tmp_path / "left" / "km-1.tar.gz", tmp_path / "right" / "km-1.tar.gz")]

    assert "km-1/km: differs from offset 0x2" in differences
