"""File locks that the OS drops when their holder dies, however it dies."""

import sys

if sys.platform == "win32":
    import ctypes
    import msvcrt
    import struct

    # Windows locks are mandatory: the locked byte lies far behind what the file says.
    LOCKED_BYTE = 1 << 30
    FAIL_IMMEDIATELY, EXCLUSIVE = 0x1, 0x2

    # Not msvcrt.locking: that waits by trying once a second, and moves the file's position.
    kernel32 = ctypes.WinDLL("kernel32", use_last_error=True)

    def try_lock(fd: int) -> bool:
        """Take the lock if nobody holds it."""
        return _lock(fd, EXCLUSIVE | FAIL_IMMEDIATELY)

    def wait_for_lock(fd: int) -> None:
        """Take the lock, however long it is held; no wake-ups meanwhile."""
        if not _lock(fd, EXCLUSIVE):
            raise ctypes.WinError(ctypes.get_last_error())

    def unlock(fd: int) -> None:
        """Let the lock go: at once, which closing the file does not promise there."""
        kernel32.UnlockFileEx(_handle(fd), 0, 1, 0, _overlapped())

    def _lock(fd: int, flags: int) -> bool:
        return bool(kernel32.LockFileEx(_handle(fd), flags, 0, 1, 0, _overlapped()))

    def _handle(fd: int) -> ctypes.c_void_p:
        return ctypes.c_void_p(msvcrt.get_osfhandle(fd))

    def _overlapped() -> bytes:
        """Return an OVERLAPPED (64-bit), of which only the file's offset matters: at 16 of 32 bytes."""
        return struct.pack("<16xQ8x", LOCKED_BYTE)

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


def is_locked(fd: int) -> bool:
    """Whether somebody holds the lock; whoever waits for it has to wait for this look, too."""
    if not try_lock(fd):
        return True
    unlock(fd)
    return False
