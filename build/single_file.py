"""The single file for Linux and macOS: build/launcher.c, compiled around the released archive of the folder."""

import hashlib
import os
import subprocess
import sys
from pathlib import Path

LAUNCHER = Path(__file__).with_name("launcher.c")
# zlib: within the file on Linux, where no system promises it; macOS has it, and has no static one.
ZLIB = ["-lz"] if sys.platform == "darwin" else ["-Wl,-Bstatic", "-lz", "-Wl,-Bdynamic"]
FLAGS = ["-std=c11", "-O2", "-Wall", "-Wextra", "-Werror", "-fstack-protector-strong"]
HARDENED = [] if sys.platform == "darwin" else ["-Wl,-z,relro,-z,now", "-Wl,--build-id=none", "-s"]


def make_single_file(archive: Path, folder_bytes: int, target: Path) -> None:
    """Compile *target*, which carries *archive*; *folder_bytes* is what its files have in all.

    Raises SystemExit with what the compiler said.
    """
    facts = {
        "ARCHIVE": f'"{archive.resolve()}"',
        "ARCHIVE_HASH": f'"{hashlib.sha256(archive.read_bytes()).hexdigest()}"',
        "FOLDER_BYTES": f"{folder_bytes}LL",
    }
    compiler = os.environ.get("CC", "cc")
    defined = [f"-D{name}={value}" for name, value in facts.items()]
    command = [compiler, *FLAGS, *defined, str(LAUNCHER), "-o", str(target), *ZLIB, *HARDENED]
    compiled = subprocess.run(command, capture_output=True, text=True, check=False)
    if compiled.returncode != 0:
        raise SystemExit(f"{compiler} could not compile build/launcher.c:\n{compiled.stderr}")
