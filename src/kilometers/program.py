"""The program that this km is: a Python package, the native folder, or the single file that unpacked that folder.

Whoever starts km again (the election, a client's configuration, a command line to type) asks here.
"""

import os
import re
import shutil
import sys
import time
from enum import Enum


class Build(Enum):
    """What km can be installed as."""

    PACKAGE = "Python package"
    FOLDER = "native folder"
    SINGLE_FILE = "single file"


_NATIVE = globals().get("__compiled__")  # Nuitka puts it into every module that it compiles
# The launcher (build/launcher.c) names the folder after its archive's SHA-256; nobody else makes such names.
_UNPACKED = re.compile(r"[0-9a-f]{64}\Z")
UNUSED_S = 30 * 86_400


def program_file() -> str | None:
    """Return the native program that runs, as an absolute path without links; None in a Python package."""
    return str(_NATIVE.process_exe) if _NATIVE else None


def find_build() -> Build:
    """Return what this km was installed as."""
    if _NATIVE is None:
        return Build.PACKAGE
    is_unpacked = _UNPACKED.match(os.path.basename(os.path.dirname(_NATIVE.process_exe)))
    return Build.SINGLE_FILE if is_unpacked or _NATIVE.onefile else Build.FOLDER


def typed_program() -> str:
    """Return argv[0] as the user's shell gave it; of the single file, its path."""
    return str(_NATIVE.original_argv0) if _NATIVE is not None and not _NATIVE.onefile else sys.argv[0]


def own_command() -> list[str]:
    """Return how to run this km: without PYTHON* variables and without the current folder on the import path.

    The single file runs as what the user has, not as the folder in the cache, which may go.
    """
    if _NATIVE is None:
        return [sys.executable, "-E", "-P", "-m", "kilometers"]
    if find_build() is Build.SINGLE_FILE:
        file = sys.argv[0] if _NATIVE.onefile else _NATIVE.original_argv0
        if os.path.isabs(file) and os.path.isfile(file):
            return [file]
    return [_NATIVE.process_exe]


def remove_unused_folders() -> None:
    """Remove what other versions of the single file unpacked beside this one and nobody has started for 30 days."""
    if _NATIVE is not None and find_build() is Build.SINGLE_FILE and not _NATIVE.onefile:
        remove_folders_beside(os.path.dirname(_NATIVE.process_exe), unused_s=UNUSED_S)


def remove_folders_beside(used: str, *, unused_s: float) -> None:
    """Remove the unpacked folders beside *used* whose last start, which is their mtime, is *unused_s* ago."""
    cache = os.path.dirname(used)
    for name in os.listdir(cache):
        path = os.path.join(cache, name)
        if _UNPACKED.match(name) and path != used and time.time() - os.lstat(path).st_mtime > unused_s:
            shutil.rmtree(path, ignore_errors=True)
