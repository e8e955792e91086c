"""Make one folder's disk misbehave for the processes that a test starts.

    library = build(tmp_path)
    with DiskFaults(journal_folder, library=library) as faults:
        process = subprocess.Popen(command, env={**os.environ, **faults.env()})
        faults.set("enospc")
        ...
        faults.clear()

The mode may change at any time and holds at once for every process that was started with env(), and for
their children.  What each mode does, and which calls are not seen, stands at the head of disk_faults.c.
Linux only.
"""

import os
import subprocess
import tempfile
from pathlib import Path
from typing import Literal, Self

Mode = Literal["none", "hang", "hang_read", "enospc", "eio", "erofs", "short"]

MODE_BYTES: dict[Mode, bytes] = {
    "none": b"n",
    "hang": b"h",
    "hang_read": b"H",
    "enospc": b"e",
    "eio": b"i",
    "erofs": b"r",
    "short": b"s",
}

SOURCE = Path(__file__).with_name("disk_faults.c")


class DiskFaultsBuildError(Exception):
    """The library does not compile here; the message holds what the compiler said."""


def build(folder: Path) -> Path:
    """Compile the library into *folder* and return its path."""
    library = folder.resolve() / "disk_faults.so"
    command = ["cc", "-shared", "-fPIC", "-O2", "-Wall", "-Wextra", "-o", str(library), str(SOURCE)]
    try:
        compiler = subprocess.run(command, capture_output=True, text=True, check=False)
    except FileNotFoundError as error:
        message = f"no C compiler: {error}"
        raise DiskFaultsBuildError(message) from error
    if compiler.returncode != 0:
        raise DiskFaultsBuildError(compiler.stdout + compiler.stderr)
    return library


class DiskFaults:
    """Faults for everything in and below *prefix*, which need not exist yet (its parent must).

    The control file lies beside the library.  Leaving the context releases every hanging process and removes it.
    """

    def __init__(self, prefix: Path, *, library: Path) -> None:
        self.prefix = prefix.resolve()
        self.library = library
        # Never truncated: a process that has it mapped would die of SIGBUS.
        self.control_fd, control_path = tempfile.mkstemp(prefix="control-", dir=library.parent)
        self.control_path = Path(control_path)
        self.clear()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.clear()
        os.close(self.control_fd)
        self.control_path.unlink()

    def env(self) -> dict[str, str]:
        """Return the variables to add to the environment of a process that shall see the faults."""
        return {
            "LD_PRELOAD": str(self.library),
            "KM_FAULT_PREFIX": str(self.prefix),
            "KM_FAULT_CONTROL": str(self.control_path),
        }

    def set(self, mode: Mode) -> None:
        """Switch to *mode*; calls that hang go on under it."""
        os.pwrite(self.control_fd, MODE_BYTES[mode], 0)

    def clear(self) -> None:
        """Let the disk work again."""
        self.set("none")
