"""File locks that the OS drops when their holder dies, however it dies."""

import os
import sys

if sys.platform == "win32":
    import msvcrt

    def try_lock(fd: int) -> bool:
        """Take the lock if nobody holds it."""
        os.lseek(fd, LOCKED_BYTE, os.SEEK_SET)
        try:
            msvcrt.locking(fd, msvcrt.LK_NBLCK, 1)
        except OSError:
            return False
        return True

    def wait_for_lock(fd: int) -> None:
        """Take the lock, however long it is held: msvcrt gives up after 10 s, so again."""
        os.lseek(fd, LOCKED_BYTE, os.SEEK_SET)
        while True:
            try:
                msvcrt.locking(fd, msvcrt.LK_LOCK, 1)
            except OSError:
                continue
            return

    def unlock(fd: int) -> None:
        """Let the lock go."""
        os.lseek(fd, LOCKED_BYTE, os.SEEK_SET)
        msvcrt.locking(fd, msvcrt.LK_UNLCK, 1)

    # Windows locks are mandatory: the locked byte lies far behind what the file says.
    LOCKED_BYTE = 1 << 30

else:
    import fcntl

    def try_lock(fd: int) -> bool:
        """Take the lock if nobody holds it."""
        try:
            fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            return False
        return True

    def wait_for_lock(fd: int) -> None:
        """Take the lock, however long it is held; no wake-ups meanwhile."""
        fcntl.flock(fd, fcntl.LOCK_EX)

    def unlock(fd: int) -> None:
        """Let the lock go."""
        fcntl.flock(fd, fcntl.LOCK_UN)
