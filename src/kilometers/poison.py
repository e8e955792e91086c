"""The note that keeps one frame from stopping the recording: which frame the recorder is at.

    note := entry (where the recorder is) · entry* (frames that crashed one)
    entry := session_id:36s · stream:u8 · stream_offset:u64, all zero = nothing

A file beside recorder.lock, there while a recorder works: one that is found at start means that the last one did not
leave by itself.  Before a frame over 64 KB, and after such a start before every frame until everything waiting has been
read, the first entry names the frame; a frame that is named at start crashed the recorder, joins the list, and is not
read again.
"""

import os
import struct

from kilometers.positioned import read_at, write_at

LARGE_FRAME_BYTES = 64 << 10
MAX_CONDEMNED = 10_000
_ENTRY = struct.Struct("<36sBQ")
_NOTHING = bytes(_ENTRY.size)


class PoisonNote:
    """The note of one recorder."""

    def __init__(self, path: str) -> None:
        """Read what the last recorder left, then take the note over.  Raises OSError."""
        self.path = path
        self.is_unclean = os.path.exists(path)
        """The last recorder did not leave by itself; until `relax`, every frame is noted."""
        self._fd = os.open(path, os.O_RDWR | os.O_CREAT | getattr(os, "O_BINARY", 0), 0o600)
        left = read_at(self._fd, _ENTRY.size * MAX_CONDEMNED, 0)
        whole = len(left) - len(left) % _ENTRY.size
        self._condemned = {entry for entry in _ENTRY.iter_unpack(left[:whole]) if _ENTRY.pack(*entry) != _NOTHING}
        self._is_set = False
        write_at(self._fd, b"".join([_NOTHING, *(_ENTRY.pack(*entry) for entry in self._condemned)]), 0)

    def is_poison(self, session_id: str, stream: int, offset: int, size_bytes: int) -> bool:
        """Whether this frame crashed a recorder; notes it first where that is worth it."""
        if self.is_unclean or size_bytes > LARGE_FRAME_BYTES:
            entry = (session_id.encode(), stream, offset)
            if entry in self._condemned:
                return True
            self._write(_ENTRY.pack(*entry))
            self._is_set = True
        return False

    def clear(self) -> None:
        """Say that the recorder is at no frame."""
        if self._is_set:
            self._write(_NOTHING)
            self._is_set = False

    def relax(self) -> None:
        """Everything that was waiting at the start has been recorded."""
        self.is_unclean = False
        if self._condemned:
            self._condemned.clear()
            os.ftruncate(self._fd, _ENTRY.size)

    def remove(self) -> None:
        """Leave by ourselves.  Nothing is written from now on: the descriptor's number may be another file's."""
        os.close(self._fd)  # first: Windows removes no file that is open
        self._fd = -1
        try:
            os.unlink(self.path)
        except OSError:
            pass  # already gone; or it stays, and the next recorder is careful

    def _write(self, entry: bytes) -> None:
        if self._fd >= 0:
            write_at(self._fd, entry, 0)
