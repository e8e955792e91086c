"""Compare two builds, file by file: whether a build is reproducible.

    python build/compare.py LEFT RIGHT

LEFT and RIGHT are two files or two folders.  Prints each difference and where it begins, in an ELF file with its
section; exits 1 if there is any.
"""

import io
import stat
import sys
import tarfile
from collections.abc import Iterator
from pathlib import Path

from elftools.common.exceptions import ELFError
from elftools.elf.elffile import ELFFile

BLOCK = 65_536


def find_differences(left: Path, right: Path) -> Iterator[str]:
    """Yield in what two files or two folders differ."""
    if left.is_dir() and right.is_dir():
        lefts, rights = names_in(left), names_in(right)
        yield from (f"{name}: only in {left}" for name in sorted(lefts - rights))
        yield from (f"{name}: only in {right}" for name in sorted(rights - lefts))
        for name in sorted(lefts & rights):
            yield from (f"{name}: {difference}" for difference in differences_of(left / name, right / name))
    else:
        yield from (f"{left.name}: {difference}" for difference in differences_of(left, right))


def names_in(folder: Path) -> set[str]:
    """Return everything below a folder."""
    return {path.relative_to(folder).as_posix() for path in folder.rglob("*")}


def differences_of(left: Path, right: Path) -> Iterator[str]:
    """Yield in what two files of one name differ: kind, mode, size, content."""
    left_mode, right_mode = left.lstat().st_mode, right.lstat().st_mode
    if left_mode != right_mode:
        yield f"{stat.filemode(left_mode)} and {stat.filemode(right_mode)}"
    if left.is_file() and right.is_file():
        yield from differences_of_content(left.read_bytes(), right.read_bytes())
        if left.name.endswith(".tar.gz") and right.name.endswith(".tar.gz"):
            yield from differences_in_archives(left, right)


def differences_in_archives(left: Path, right: Path) -> Iterator[str]:
    """Yield in what the files in two archives differ."""
    lefts, rights = members_of(left), members_of(right)
    yield from (f"{name}: only in one of the archives" for name in sorted(lefts.keys() ^ rights.keys()))
    for name in sorted(lefts.keys() & rights.keys()):
        yield from (f"{name}: {difference}" for difference in differences_of_content(lefts[name], rights[name]))


def members_of(archive: Path) -> dict[str, bytes]:
    """Return the files in an archive."""
    with tarfile.open(archive) as opened:
        files = {entry.name: opened.extractfile(entry) for entry in opened if entry.isfile()}
        return {name: file.read() for name, file in files.items() if file}


def differences_of_content(left: bytes, right: bytes) -> Iterator[str]:
    """Yield in what two contents differ."""
    if len(left) != len(right):
        yield f"{len(left):,} and {len(right):,} bytes"
    offset = first_difference(left, right)
    if offset is not None:
        section = section_at(left, offset)
        yield f"differs from offset {offset:#x}" + (f", in {section}" if section else "")


def first_difference(left: bytes, right: bytes) -> int | None:
    """Return where two contents first differ; None: one begins with the other."""
    for start in range(0, min(len(left), len(right)), BLOCK):
        pairs = zip(left[start : start + BLOCK], right[start : start + BLOCK], strict=False)
        if left[start : start + BLOCK] != right[start : start + BLOCK]:
            found = next((index for index, (one, other) in enumerate(pairs) if one != other), None)
            return None if found is None else start + found
    return None


def section_at(content: bytes, offset: int) -> str:
    """Return the name of the section of an ELF file that an offset is in; empty: none, or no such file."""
    try:
        sections = list(ELFFile(io.BytesIO(content)).iter_sections())
    except ELFError:
        return ""
    # SHT_NOBITS has a size, but takes no room in the file.
    here = (each for each in sections if each["sh_type"] != "SHT_NOBITS")
    return next((each.name for each in here if 0 <= offset - each["sh_offset"] < each["sh_size"]), "")


def main(left: str, right: str) -> int:
    """Print the differences; return the exit status."""
    missing = [path for path in (left, right) if not Path(path).exists()]
    differences = [f"{path} does not exist" for path in missing] or [*find_differences(Path(left), Path(right))]
    for difference in differences:
        print(difference)
    if not differences:
        print(f"{left} and {right} are the same")
    return 1 if differences else 0


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
