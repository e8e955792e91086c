"""Reading and writing at a place in a file, which Windows can only do by moving there first."""

import os
import sys

if sys.platform == "win32":

    def read_at(fd: int, size: int, position: int) -> bytes:
        """Return up to *size* bytes from *position* on."""
        os.lseek(fd, position, os.SEEK_SET)
        return os.read(fd, size)

    def write_at(fd: int, data: bytes | bytearray | memoryview, position: int) -> int:
        """Write at *position*; return how many bytes were written."""
        os.lseek(fd, position, os.SEEK_SET)
        return os.write(fd, data)

else:
    read_at = os.pread
    write_at = os.pwrite
