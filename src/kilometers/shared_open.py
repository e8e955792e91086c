"""Opening a file that may be renamed and removed while it is open, as every file may but on Windows.

The recorder removes segments that somebody may be reading, and a lock file gets its name once it is locked.
"""

import os
import sys

if sys.platform == "win32":
    import _winapi
    import msvcrt

    GENERIC_READ, GENERIC_WRITE = 0x80000000, 0x40000000
    SHARE_ALL = 0x1 | 0x2 | 0x4  # reading, writing, and what the C run-time's open leaves out: deleting
    CREATE_NEW, CREATE_ALWAYS, OPEN_EXISTING, OPEN_ALWAYS = 1, 2, 3, 4
    ATTRIBUTE_NORMAL = 0x80

    def open_shared(path: str, flags: int) -> int:
        """Open like os.open, in binary; a file that is made is its folder's users' alone.  Raises OSError."""
        access = GENERIC_READ | (GENERIC_WRITE if flags & (os.O_RDWR | os.O_WRONLY) else 0)
        handle = _winapi.CreateFile(path, access, SHARE_ALL, 0, _disposition(flags), ATTRIBUTE_NORMAL, 0)
        return msvcrt.open_osfhandle(handle, flags | os.O_BINARY | os.O_NOINHERIT)

    def _disposition(flags: int) -> int:
        if not flags & os.O_CREAT:
            return OPEN_EXISTING
        if flags & os.O_EXCL:
            return CREATE_NEW
        return CREATE_ALWAYS if flags & os.O_TRUNC else OPEN_ALWAYS

else:

    def open_shared(path: str, flags: int) -> int:
        """Open like os.open; a file that is made is its user's alone.  Raises OSError."""
        return os.open(path, flags, 0o600)
