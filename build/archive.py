"""Pack the folder of a native build, so that the same files give the same bytes; and the checksums of a release.

    python build/archive.py FOLDER OUTPUT      writes OUTPUT/<name of FOLDER>.tar.gz, for Windows .zip
    python build/archive.py --sums OUTPUT      writes OUTPUT/SHA256SUMS, for `sha256sum -c`

An archive holds one folder of its own name: sorted, each file of SOURCE_DATE_EPOCH, without users, 0644 or 0755.  The
tar is ustar with names of at most 100 bytes, which is what build/launcher.c unpacks.
"""

import gzip
import hashlib
import io
import os
import stat
import subprocess
import sys
import tarfile
import time
import zipfile
from collections.abc import Iterator
from pathlib import Path

ROOT = Path(__file__).parents[1]
SUMS = "SHA256SUMS"
NEEDED = ("LICENSE", "README.md", "THIRD-PARTY-NOTICES")
PROGRAM, PLAIN = 0o755, 0o644
# Zip knows no earlier time: 1980-01-01 UTC.
ZIP_EPOCH_S = 315_532_800


class CannotPackError(Exception):
    """A folder that cannot be packed, and why."""


def source_date() -> int:
    """Return the one time that a build may know, in seconds since 1970: SOURCE_DATE_EPOCH, else the commit's.

    Source: https://reproducible-builds.org/specs/source-date-epoch/
    """
    given = os.environ.get("SOURCE_DATE_EPOCH")
    if given:
        return int(given)
    command = ["git", "-C", str(ROOT), "log", "-1", "--format=%ct"]
    return int(subprocess.run(command, check=True, capture_output=True, text=True).stdout)


def find_entries(folder: Path, top: str) -> Iterator[tuple[str, Path]]:
    """Yield what is below the folder, folders before what is in them; in the archive all stands below *top*."""
    for path in sorted(folder.rglob("*"), key=lambda path: path.relative_to(folder).as_posix()):
        name = f"{top}/{path.relative_to(folder).as_posix()}"
        if path.is_symlink() or not (path.is_dir() or path.is_file()):
            raise CannotPackError(f"{path} is neither a file nor a folder")
        if len(name.encode()) > tarfile.LENGTH_NAME:
            raise CannotPackError(f"{name} is longer than {tarfile.LENGTH_NAME} bytes")
        yield name, path


def mode_of(path: Path) -> int:
    """Return the mode that a file gets."""
    is_program = path.suffix == ".exe" or path.stat().st_mode & stat.S_IXUSR
    return PROGRAM if is_program or path.is_dir() else PLAIN


def pack_tar(folder: Path, top: str, *, date_s: int) -> bytes:
    """Return the folder as a tar.gz."""
    packed = io.BytesIO()
    with (
        gzip.GzipFile(filename="", mode="wb", compresslevel=9, fileobj=packed, mtime=0) as compressed,
        tarfile.open(fileobj=compressed, mode="w", format=tarfile.USTAR_FORMAT) as archive,
    ):
        for name, path in find_entries(folder, top):
            entry = tarfile.TarInfo(name)
            entry.type = tarfile.DIRTYPE if path.is_dir() else tarfile.REGTYPE
            entry.mode, entry.mtime = mode_of(path), date_s
            content = b"" if path.is_dir() else path.read_bytes()
            entry.size = len(content)
            archive.addfile(entry, io.BytesIO(content))
    return packed.getvalue()


def pack_zip(folder: Path, top: str, *, date_s: int) -> bytes:
    """Return the folder as a zip, without entries for folders."""
    packed = io.BytesIO()
    at = time.gmtime(max(date_s, ZIP_EPOCH_S))
    with zipfile.ZipFile(packed, "w", zipfile.ZIP_DEFLATED, compresslevel=9) as archive:
        for name, path in find_entries(folder, top):
            if path.is_file():
                entry = zipfile.ZipInfo(name, at[:6])
                entry.compress_type = zipfile.ZIP_DEFLATED
                entry.create_system = 3  # POSIX: the modes are read
                entry.external_attr = (stat.S_IFREG | mode_of(path)) << 16
                archive.writestr(entry, path.read_bytes())
    return packed.getvalue()


def pack(folder: Path, output: Path, name: str) -> Path:
    """Write the folder of a build into the folder *output* as the archive of this name, and return it.

    CannotPackError: it lacks what every archive must hold, or holds what none can.
    """
    missing = [needed for needed in NEEDED if not (folder / needed).is_file()]
    if missing:
        raise CannotPackError(f"{folder} has no {', '.join(missing)}")
    is_windows = "-windows-" in name
    target = output / f"{name}{'.zip' if is_windows else '.tar.gz'}"
    target.write_bytes((pack_zip if is_windows else pack_tar)(folder, name, date_s=source_date()))
    return target


def write_sums(folder: Path) -> Path:
    """Write and return the checksums of all files that are directly in the folder."""
    files = sorted(path for path in folder.iterdir() if path.is_file() and path.name != SUMS)
    lines = [f"{hashlib.sha256(path.read_bytes()).hexdigest()}  {path.name}\n" for path in files]
    target = folder / SUMS
    target.write_bytes("".join(lines).encode())
    return target


def main(first: str, second: str) -> int:
    """Pack, or write checksums; return the exit status."""
    try:
        written = write_sums(Path(second)) if first == "--sums" else pack(Path(first), Path(second), Path(first).name)
    except CannotPackError as error:
        print(f"archive: {error}", file=sys.stderr)
        return 1
    print(f"archive: {written}, {written.stat().st_size:,} bytes")
    return 0


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
