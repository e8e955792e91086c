"""A home for a moment: what is recorded in it, and who records it, is gone afterwards.

For `km demo` and the test recording of `km doctor`, which must not touch the user's own home.
"""

import os
import shutil
import signal
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager

from kilometers import election, locks, paths
from kilometers.errors import KilometersError
from kilometers.signals import undisturbed

VARIABLES = "KILOMETERS_"
END_TIMEOUT_S = 10.0  # a recorder that is just starting, at nice 19 on a busy machine
LOOK_EVERY_S = 0.01


@contextmanager
def temporary_home() -> Iterator[paths.Home]:
    """Let this process, and what it starts, use a fresh home without settings; then end its recorder and remove it.

    Whoever starts relays in it waits for them first: a relay that lives would start the next recorder.
    Raises KilometersError where no temporary folder can be made.
    """
    folder = _make_folder()
    before = {name: value for name, value in os.environ.items() if name.startswith(VARIABLES)}
    for name in before:
        del os.environ[name]
    os.environ["KILOMETERS_HOME"] = folder
    home = paths.find_home()
    # Named after the home's inode: found only while it is there, and what is there already is an earlier folder's.
    memory = home.ram_folders()
    _remove([*filter(paths.is_private_folder, memory)])
    try:
        yield home
    finally:
        with undisturbed():
            end_recorder(home)
            for name in [name for name in os.environ if name.startswith(VARIABLES)]:
                del os.environ[name]
            os.environ.update(before)
            # The memory first: once the home's inode is free, another home may get its name.
            _remove([*filter(paths.is_private_folder, memory), home.store_folder, folder])


def _make_folder() -> str:
    try:
        return os.path.realpath(tempfile.mkdtemp(prefix="km-"))
    except OSError as error:
        raise KilometersError(
            f"no temporary folder can be made: {error.strerror}.", "Set TMPDIR to a folder that you can write to."
        ) from error


def end_recorder(home: paths.Home) -> None:
    """End the recorder of *home*, if there is one, and wait for that; it keeps nothing that is not in its files."""
    try:
        fd = os.open(home.recorder_lock, os.O_RDWR | getattr(os, "O_BINARY", 0))
    except OSError:
        return  # nobody has recorded here
    try:
        deadline_s = time.monotonic() + END_TIMEOUT_S
        while not locks.try_lock(fd) and time.monotonic() < deadline_s:
            # Again until it is gone: one that has just been started has yet to say its pid.
            _end(election.read_lock(fd).pid)
            time.sleep(LOOK_EVERY_S)
    finally:
        os.close(fd)


def _end(pid: int) -> None:
    if pid <= 0:
        return
    try:
        os.kill(pid, signal.SIGTERM)
    except OSError:
        pass  # it has left meanwhile


def _remove(folders: list[str]) -> None:
    for folder in dict.fromkeys(folders):
        shutil.rmtree(folder, ignore_errors=True)
    if sys.platform != "win32":
        return
    # A file that is open cannot be removed there: a process that has just been ended may hold it for a moment more.
    deadline_s = time.monotonic() + END_TIMEOUT_S
    while any(map(os.path.exists, folders)) and time.monotonic() < deadline_s:
        time.sleep(LOOK_EVERY_S)
        for folder in folders:
            shutil.rmtree(folder, ignore_errors=True)
