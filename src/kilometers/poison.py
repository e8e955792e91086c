"""The note that keeps one frame from stopping the recording: which frame the recorder is at.

A file beside recorder.lock, there while a recorder works: one that is found at start means that the last one did not
leave by itself.  Before a frame over 64 KB, and after such a start before every frame until everything waiting has been
read, the note names (session, stream, offset); a frame that is named at start crashed the recorder, and is not read
again.
"""

import os
import struct

from kilometers.positioned import read_at, write_at

LARGE_FRAME_BYTES = 64 << 10
_NOTE = struct.Struct("<36sBQ")
_NOTHING = bytes(_NOTE.size)


class PoisonNote:
    """The note of one recorder."""

    def __init__(self, path: str) -> None:
        """Read what the last recorder left, then take the note over.  Raises OSError."""
        self.path = path
        self.is_unclean = os.path.exists(path)
        """The last recorder did not leave by itself; until `relax`, every frame is noted."""
        self._fd = os.open(path, os.O_RDWR | os.O_CREAT | getattr(os, "O_BINARY", 0), 0o600)
        left = read_at(self._fd, _NOTE.size, 0)
        self.condemned = _NOTE.unpack(left) if len(left) == _NOTE.size and left != _NOTHING else None
        self._is_set = False

    def is_poison(self, session_id: str, stream: int, offset: int, size_bytes: int) -> bool:
        """Whether this frame crashed the last recorder; notes it first where that is worth it."""
        if self.is_unclean or size_bytes > LARGE_FRAME_BYTES:
            note = (session_id.encode(), stream, offset)
            if note == self.condemned:
                return True
            write_at(self._fd, _NOTE.pack(*note), 0)
            self._is_set = True
        return False

    def clear(self) -> None:
        """Say that the recorder is at no frame."""
        if self._is_set:
            write_at(self._fd, _NOTHING, 0)
            self._is_set = False

    def relax(self) -> None:
        """Everything that was waiting at the start has been recorded."""
        if self.is_unclean:
            self.is_unclean = False
            write_at(self._fd, _NOTHING, 0)
            self.condemned = None

    def remove(self) -> None:
        """Leave by ourselves."""
        os.close(self._fd)
        os.unlink(self.path)
