"""One session's segments in one folder: append a record, go on in a new segment, stay within the share.

The format is core/journal.py's; journal_writer.py decides which thread appends.  Whatever fails leaves the journal as
it was before the record, and says in the slot how much has been read.
"""

import errno
import os
import sys

from kilometers import locks
from kilometers.core import journal as layout
from kilometers.core.session_id import session_bytes
from kilometers.positioned import write_at
from kilometers.shared_open import open_shared

SEGMENT_BYTES = 1 << 20
SEGMENT_AGE_NS = 2_000_000_000
LINK_CHECK_NS = 1_000_000_000
RETRY_NS = 100_000_000  # how often a journal that is full, or a segment that cannot be made, is looked at again
SESSION_CAP_BYTES = 64 << 20


class JournalFull(Exception):
    """The share of this session or of all sessions in the journal's place is used up."""


class JournalGone(Exception):
    """The folder was removed under us (logout), or our lock in it: we would be taken for dead."""


class SegmentFiles:
    """One session's segments in one folder, and the lock that says that its relay lives."""

    def __init__(
        self, folder: str, session_id: str, start: bytes, captured: list[int], *, first_number: int = 0
    ) -> None:
        """*start* are the fields of the session, *captured* the live totals of every stream.  Raises OSError."""
        self.folder = folder
        self.session_id = session_id
        self.start = start
        self.captured = captured
        self.stored_through = list(captured)
        self.number = first_number - 1
        self.fd = -1
        self.size = 0
        self.begun_size = 0
        self.older: dict[int, int] = {}
        self.older_bytes = 0
        self.first_append_ns = 0
        self.checked_ns = 0
        self.retry_ns = 0
        """Not before then another try: to make a segment, or to find space."""
        self.is_full = False
        self.gap_reasons = [0, 0, 0, 0]
        self.lock_fd = self._make_lock()

    def begin(self, monotonic_ns: int, wall_ns: int) -> None:
        """Make the first segment, so that the session is known before its first byte."""
        try:
            self._open_segment(monotonic_ns, wall_ns)
        except OSError:
            pass  # the first append tries again

    def store(
        self, buffer: bytearray, *, kind: int, length: int, offset: int, monotonic_ns: int, wall_ns: int, crc: int
    ) -> None:
        """Append one record, whose bytes stand in *buffer* behind room for its header.

        Raises OSError, JournalFull or JournalGone; the journal is then as before, and the loss is in the slot.
        """
        try:
            self._make_room(layout.HEADER_SIZE + length if kind in layout.STREAMS else 0, monotonic_ns, wall_ns)
            layout.pack_header_into(
                buffer,
                kind,
                length,
                stream_offset=offset,
                monotonic_ns=monotonic_ns,
                wall_ns=wall_ns,
                gap_reason=self.gap_reasons[kind] if kind in layout.STREAMS else 0,
                crc=crc,
            )
            with memoryview(buffer) as view:
                self._append(view[: layout.HEADER_SIZE + length])
        except (OSError, JournalFull) as error:
            self._note_loss(kind, error, monotonic_ns, wall_ns)
            raise
        finally:
            if kind in layout.STREAMS:
                self.stored_through[kind] = offset + length
        if kind in layout.STREAMS:
            self.gap_reasons[kind] = 0

    def close(self) -> None:
        """Let the session's lock go: from now on it has ended."""
        locks.unlock(self.lock_fd)
        os.close(self.lock_fd)

    def _make_lock(self) -> int:
        path = os.path.join(self.folder, f"{self.session_id}.lock")
        # Locked before it has its name: a recorder that finds it unlocked takes the session for dead.
        fd = open_shared(f"{path}.new", os.O_RDWR | os.O_CREAT | os.O_TRUNC)
        try:
            locks.try_lock(fd)
            os.rename(f"{path}.new", path)
        except OSError:
            os.close(fd)
            raise
        return fd

    def _append(self, record: memoryview) -> None:
        try:
            write_whole(self.fd, record, self.size)
        except OSError:
            self._truncate()
            raise
        self.size += len(record)

    def _truncate(self) -> None:
        try:
            os.ftruncate(self.fd, self.size)
        except OSError:
            pass  # what stands behind `size` has no valid CRC, and the next append goes over it

    def _note_loss(self, kind: int, error: OSError | JournalFull, monotonic_ns: int, wall_ns: int) -> None:
        reason = (
            layout.JOURNAL_FULL
            if isinstance(error, JournalFull) or error.errno == errno.ENOSPC
            else layout.JOURNAL_ERROR
        )
        if kind in layout.STREAMS:
            self.gap_reasons[kind] = reason
        self.write_slot(reason, monotonic_ns, wall_ns)

    def write_slot(self, reason: int, monotonic_ns: int, wall_ns: int) -> None:
        """Say in the segment's first page how much had been read, so that even a kill leaves an exact gap."""
        if self.fd < 0:
            return
        totals = layout.Totals((self.captured[1], self.captured[2], self.captured[3]), monotonic_ns, wall_ns, reason)
        try:
            write_at(self.fd, layout.pack_slot(totals), layout.SLOT_AT)
        except OSError:
            pass  # the next record's offset says the same, unless we are killed before it

    def _make_room(self, size: int, monotonic_ns: int, wall_ns: int) -> None:
        """See to it that there is a segment, and a share of the journal's place for *size* more bytes.

        Of size 0 is what must not be missing: how the session ended.
        """
        if self.fd < 0:
            self._open_segment(monotonic_ns, wall_ns)
        if monotonic_ns - self.checked_ns > LINK_CHECK_NS:
            self.checked_ns = monotonic_ns
            if os.fstat(self.fd).st_nlink == 0 or os.fstat(self.lock_fd).st_nlink == 0:
                raise JournalGone
        if self.size > SEGMENT_BYTES or monotonic_ns - self.first_append_ns > SEGMENT_AGE_NS:
            self._rotate(monotonic_ns, wall_ns)
        if size and (self.is_full or self.older_bytes + self.size + size > SESSION_CAP_BYTES):
            self._look_for_space(size, monotonic_ns)

    def _rotate(self, monotonic_ns: int, wall_ns: int) -> None:
        """Go on in a new segment; while none can be made, in the old one."""
        if self.size <= self.begun_size:
            self.first_append_ns = monotonic_ns
        if self.size <= self.begun_size or monotonic_ns < self.retry_ns:
            return
        old_fd, old_size = self.fd, self.size
        try:
            self._open_segment(monotonic_ns, wall_ns)
        except OSError:
            self.retry_ns = monotonic_ns + RETRY_NS
            return
        fields = layout.pack_fields(layout.pack_totals(self.stored_through, self.gap_reasons))
        record = layout.pack_record(
            layout.END_OF_SEGMENT, fields, stream_offset=0, monotonic_ns=monotonic_ns, wall_ns=wall_ns
        )
        try:
            write_at(old_fd, record, old_size)
        except OSError:
            pass  # the reader goes on to the next segment as soon as that holds a record
        os.close(old_fd)
        self.older[self.number - 1] = old_size + len(record)
        self.older_bytes = sum(self.older.values())
        self.is_full = not self._has_share()

    def _open_segment(self, monotonic_ns: int, wall_ns: int) -> None:
        """Make the next segment, beginning with `start`.  Raises OSError."""
        if self.fd < 0 and monotonic_ns < self.retry_ns:
            raise OSError(errno.ENOSPC, "no segment could be made")
        self.retry_ns = monotonic_ns + RETRY_NS
        path = os.path.join(self.folder, f"{self.session_id}.{self.number + 1}")
        fd = open_shared(path, os.O_RDWR | os.O_CREAT | os.O_EXCL)
        session = session_bytes(self.session_id)
        through = self.stored_through
        content = bytearray(layout.pack_page(session, self.number + 1, (through[1], through[2], through[3])))
        content += layout.pack_record(
            layout.START, self.start, stream_offset=0, monotonic_ns=monotonic_ns, wall_ns=wall_ns
        )
        try:
            write_whole(fd, content, 0)
        except OSError:
            os.close(fd)
            os.unlink(path)
            raise
        self.fd, self.size, self.number = fd, len(content), self.number + 1
        self.begun_size = self.size
        self.first_append_ns = self.checked_ns = monotonic_ns
        self.retry_ns = 0

    def _look_for_space(self, size: int, monotonic_ns: int) -> None:
        if monotonic_ns < self.retry_ns:
            raise JournalFull
        self.retry_ns = monotonic_ns + RETRY_NS
        for number in list(self.older):
            if not os.path.exists(os.path.join(self.folder, f"{self.session_id}.{number}")):
                del self.older[number]
        self.older_bytes = sum(self.older.values())
        self.is_full = not self._has_share()
        if self.is_full or self.older_bytes + self.size + size > SESSION_CAP_BYTES:
            raise JournalFull
        self.retry_ns = 0

    def _has_share(self) -> bool:
        """Whether all sessions together use less than a quarter of what was free without them."""
        if sys.platform == "win32":  # no memory folders there, and the cap of each session holds
            return True
        used = 0
        with os.scandir(self.folder) as entries:
            for entry in entries:
                try:
                    used += entry.stat().st_size
                except OSError:
                    continue  # recorded and unlinked meanwhile
        found = os.statvfs(self.folder)
        return used < (used + found.f_bavail * found.f_frsize) / 4


def write_whole(fd: int, data: bytearray | memoryview, position: int) -> None:
    """Write with one call.  Raises OSError, also where only a part could be written."""
    if write_at(fd, data, position) < len(data):
        raise OSError(errno.ENOSPC, "short write to the journal")
