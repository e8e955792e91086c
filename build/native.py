"""Build the native km for this machine: the folder, its archive, the single file, what goes with them.

    python build/native.py [--output FOLDER] [--release]

Leaves in the output folder (dist):

    km-<version>-<target>.tar.gz    the folder, stripped, with LICENSE, README.md, THIRD-PARTY-NOTICES (Windows: .zip)
    km-<version>-<target>           the single file (Windows: .exe)
    km-<version>-<target>.cdx.json  the SBOM
    nuitka/                         Nuitka's own: its report, its C code, the folder before it was packed

A local build runs on systems as new as the one that built it.  With --release the build fails where it would not start
on all that we promise (system_floor.py): build on an old base then, as .github/workflows/build.yml does.

Needs a C compiler, on Linux also zlib's headers and static library (Debian: gcc libc6-dev zlib1g-dev) and patchelf, and
the packages of build/requirements.txt.  `nox -s binary` installs what is Python's, builds, and tests what was built.
"""

import argparse
import os
import platform
import shutil
import subprocess
import sys
import time
from importlib.metadata import distributions
from pathlib import Path

import archive
import nuitka_options
import sbom
import system_floor
from notices import CannotShipError, write_notices
from single_file import make_single_file
from targets import ROOT, read_version, release_name, this_target

PACKAGE = ROOT / "src" / "kilometers"
BESIDE_PROGRAM = ("LICENSE", "README.md")
MAX_PACKED_BYTES = 16_000_000


def compile_folder(work: Path) -> Path:
    """Run Nuitka and return the folder that it made; its report is `work/report.xml`.  Raises SystemExit."""
    shutil.rmtree(work, ignore_errors=True)
    work.mkdir(parents=True)
    installed = {distribution.metadata["Name"].lower().replace("-", "_") for distribution in distributions()}
    flags = nuitka_options.nuitka_options(sys.platform, version=read_version(), installed=installed)
    command = nuitka_options.nuitka_command(PACKAGE, work, work / "report.xml", flags)
    # The same hash seed and time in every build, so that two builds are the same.
    environment = {**os.environ, "PYTHONHASHSEED": "0", "SOURCE_DATE_EPOCH": str(archive.source_date())}
    if subprocess.run(command, env=environment, check=False).returncode:
        raise SystemExit("Nuitka could not build km; what it said is above.")
    return work / "kilometers.dist"


def strip(folder: Path) -> None:
    """Take symbols and debug information out of every program and library."""
    files = [str(path) for path in sorted(folder.rglob("*")) if is_native_code(path)]
    if sys.platform == "linux":
        subprocess.run(["strip", "--strip-all", *files], check=True)
    elif sys.platform == "darwin":
        subprocess.run(["strip", "-x", *files], check=True)
        subprocess.run(["codesign", "--force", "--sign", "-", *files], check=True)


def is_native_code(path: Path) -> bool:
    """Whether *path* is a program or a library of Linux or macOS."""
    return path.is_file() and (path.name == "km" or path.suffix in {".so", ".dylib"} or ".so." in path.name)


def finish_folder(work: Path, folder: Path) -> None:
    """Make of Nuitka's folder what is released.  Raises SystemExit for what may not be."""
    strip(folder)
    for name in BESIDE_PROGRAM:
        shutil.copyfile(ROOT / name, folder / name)
    try:
        write_notices(work / "report.xml", folder)
    except CannotShipError as error:
        raise SystemExit(f"This build may not be passed on:\n{error}") from error


def size_of(folder: Path) -> int:
    """Return what the files in *folder* have in all, in bytes."""
    return sum(path.stat().st_size for path in folder.rglob("*") if path.is_file())


def finish_single_file(packed: Path, folder: Path, target: Path) -> Path:
    """Make the single file; Nuitka has made Windows' already.  Returns it."""
    if sys.platform == "win32":
        return Path(shutil.copyfile(folder.with_name("km.exe"), target.with_name(f"{target.name}.exe")))
    make_single_file(packed, size_of(folder), target)
    return target


def check_needs(paths: list[Path], *, is_release: bool) -> None:
    """Refuse what would not start where it has to: everywhere we promise, or only on systems as new as this one."""
    anything = dict.fromkeys(system_floor.FLOORS, "9999")
    floors = system_floor.FLOORS if is_release else anything
    problems = [problem for path in paths for problem in system_floor.violations(path, floors)]
    if problems:
        raise SystemExit("\n".join(["This build does not start on all that we promise:", *problems]))
    if any(system_floor.violations(path) for path in paths):
        system = " ".join(platform.libc_ver()) if sys.platform == "linux" else platform.platform()
        print(f"This build is for systems as new as this one ({system}). A release is built with --release.")


def say_sizes(folder: Path, packed: Path, single_file: Path) -> None:
    """Print what was built and how large it is.  Raises SystemExit for an archive above its limit."""
    print(f"{'folder':12} {size_of(folder) / 1e6:6.1f} MB  {folder}")
    print(f"{'packed':12} {packed.stat().st_size / 1e6:6.1f} MB  {packed} (at most {MAX_PACKED_BYTES / 1e6:.0f})")
    print(f"{'single file':12} {single_file.stat().st_size / 1e6:6.1f} MB  {single_file}", flush=True)
    if packed.stat().st_size > MAX_PACKED_BYTES:
        raise SystemExit(f"{packed.name} is larger than {MAX_PACKED_BYTES:,} bytes.")


def main() -> int:
    """Build everything for this machine."""
    parser = argparse.ArgumentParser(description="Build the native km for this machine.")
    parser.add_argument("--output", type=Path, default=ROOT / "dist", help="where to (default: dist)")
    parser.add_argument("--release", action="store_true", help="fail where it would not start on all that we promise")
    chosen = parser.parse_args()
    begun_s = time.monotonic()
    output, work = chosen.output.resolve(), chosen.output.resolve() / "nuitka"
    name = release_name(read_version(), this_target())

    folder = compile_folder(work)
    finish_folder(work, folder)
    packed = archive.pack(folder, output, name)
    single_file = finish_single_file(packed, folder, output / name)
    check_needs([folder, single_file], is_release=chosen.release)
    sbom.write_sbom(work / "report.xml", folder, output / f"{name}.cdx.json")
    say_sizes(folder, packed, single_file)
    print(f"built in {time.monotonic() - begun_s:.0f} s")
    return 0


if __name__ == "__main__":
    sys.exit(main())
