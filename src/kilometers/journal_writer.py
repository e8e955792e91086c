"""The relay's side of the journal: append what was read, before it is forwarded, and never hurt the relay.

Counterpart: journal_reader.py; the format is core/journal.py's.  In memory (tmpfs) an append is one `pwrite` on the
pump's own thread.  On any other file system, where a write can wait for a disk or hang for ever, one writer thread
appends copies from a queue bounded at 4 MB; what does not fit is dropped and counted.

Invariant: `offsets` advances by every byte that was read, whether or not it could be stored; so what is missing shows.
"""

import errno
import os
import sys
import threading
import time
from collections import deque
from collections.abc import Callable

from kilometers import locks
from kilometers.core import journal as layout
from kilometers.core.session_id import session_bytes
from kilometers.positioned import write_at

SEGMENT_BYTES = 1 << 20
SEGMENT_AGE_NS = 2_000_000_000
LINK_CHECK_NS = 1_000_000_000
RETRY_NS = 100_000_000  # how often a journal that is full, or a segment that cannot be made, is looked at again
SESSION_CAP_BYTES = 64 << 20
QUEUE_CAP_BYTES = 4 << 20
CLOSE_TIMEOUT_S = 0.1


class JournalFull(Exception):
    """The share of this session or of all sessions in the journal's place is used up."""


class JournalGone(Exception):
    """The folder was removed under us (logout)."""


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
        self, kind: int, buffer: bytearray, length: int, *, offset: int, monotonic_ns: int, wall_ns: int, crc: int
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
        os.close(self.lock_fd)

    def _make_lock(self) -> int:
        path = os.path.join(self.folder, f"{self.session_id}.lock")
        # Locked before it has its name: a recorder that finds it unlocked takes the session for dead.
        fd = os.open(f"{path}.new", os.O_RDWR | os.O_CREAT | os.O_TRUNC, 0o600)
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
            if os.fstat(self.fd).st_nlink == 0:
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
        fields = layout.pack_fields(layout.pack_totals(self.stored_through))
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
        fd = os.open(path, os.O_RDWR | os.O_CREAT | os.O_EXCL | getattr(os, "O_BINARY", 0), 0o600)
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


class Journal:
    """What the pumps append to.  Until `open` it only counts."""

    def __init__(self) -> None:
        self.lock = threading.Lock()
        self.offsets = [0, 0, 0, 0]
        self.files: SegmentFiles | None = None
        self.failures = 0
        self.closed = False
        self.when_gone: Callable[[], None] = lambda: None
        self._queue: deque[tuple[bytearray, int, int, int, int, int, int]] | None = None
        self._drop_reasons = [0, 0, 0, 0]
        self._queued_bytes = 0
        self._has_dropped = False
        self._queue_changed = threading.Condition(threading.Lock())

    def open(self, files: SegmentFiles, *, in_memory: bool) -> None:
        """Store from now on; what was read before is a gap."""
        if not in_memory:  # its disk may hang, so no pump may wait for the lock meanwhile
            files.begin(time.monotonic_ns(), time.time_ns())
        with self.lock:
            if any(self.offsets):
                files.gap_reasons = [layout.JOURNAL_LATE] * 4
                files.stored_through = list(self.offsets)
            if in_memory:
                files.begin(time.monotonic_ns(), time.time_ns())
            if not in_memory and self._queue is None:
                self._queue = deque()
                threading.Thread(target=self._write_queue, name="journal writer", daemon=True).start()
            self.files = files

    def append(self, kind: int, buffer: bytearray, length: int, *, monotonic_ns: int, wall_ns: int, crc: int) -> None:
        """Store *length* bytes that stand in *buffer* behind HEADER_SIZE bytes of room.  Never raises, never waits.

        After `close` it never returns: nothing may be forwarded that is not recorded, and the process is leaving.
        """
        self.lock.acquire()
        if self.closed:
            self.lock.release()
            threading.Event().wait()
        try:
            offset = self.offsets[kind]
            self.offsets[kind] = offset + length
            if self.files is None:
                return
            if self._queue is None:
                self._store(buffer, kind, length, offset, monotonic_ns, wall_ns, crc)
            else:
                self._enqueue(buffer[: layout.HEADER_SIZE + length], kind, offset, monotonic_ns, wall_ns, crc)
        except Exception:  # noqa: BLE001  # the one place: relaying never fails because recording did
            self.failures += 1
        finally:
            self.lock.release()

    def close(self, fields: list[tuple[str, str]], *, monotonic_ns: int, wall_ns: int) -> None:
        """Append `end` and refuse everything after it; waits at most 100 ms for the writer thread."""
        self.lock.acquire()
        self.closed = True
        try:
            if self.files is None:
                return
            data = layout.pack_fields([*fields, *layout.pack_totals(self.offsets)])
            buffer = bytearray(layout.HEADER_SIZE) + data
            crc = layout.payload_crc(memoryview(data))
            if self._queue is None:
                self._store(buffer, layout.END, len(data), 0, monotonic_ns, wall_ns, crc)
            else:
                self._enqueue(buffer, layout.END, 0, monotonic_ns, wall_ns, crc)
                self._wait_for_writer()
            self.files.close()
        except Exception:  # noqa: BLE001  # as in append
            self.failures += 1
        finally:
            self.lock.release()

    def _store(
        self, buffer: bytearray, kind: int, length: int, offset: int, monotonic_ns: int, wall_ns: int, crc: int
    ) -> None:
        assert self.files is not None
        try:
            self.files.store(kind, buffer, length, offset=offset, monotonic_ns=monotonic_ns, wall_ns=wall_ns, crc=crc)
        except JournalGone:
            self.files = None
            self.when_gone()
        except (OSError, JournalFull):
            self.failures += 1

    def _enqueue(self, record: bytearray, kind: int, offset: int, monotonic_ns: int, wall_ns: int, crc: int) -> None:
        assert self._queue is not None
        with self._queue_changed:
            if self._queued_bytes + len(record) > QUEUE_CAP_BYTES and kind in layout.STREAMS:
                self._drop_reasons[kind] = layout.JOURNAL_SLOW
                self._has_dropped = True
                self.failures += 1
                return
            gap_reason = 0
            if kind in layout.STREAMS:
                gap_reason, self._drop_reasons[kind] = self._drop_reasons[kind], 0
            self._queue.append((record, kind, offset, monotonic_ns, wall_ns, crc, gap_reason))
            self._queued_bytes += len(record)
            self._queue_changed.notify_all()

    def _write_queue(self) -> None:
        queue = self._queue
        while queue is not None:
            with self._queue_changed:
                while not queue:
                    self._queue_changed.wait()
                record, kind, offset, monotonic_ns, wall_ns, crc, gap_reason = queue[0]
            if self.files is not None:
                try:
                    if gap_reason:
                        self.files.gap_reasons[kind] = gap_reason
                    self._store(record, kind, len(record) - layout.HEADER_SIZE, offset, monotonic_ns, wall_ns, crc)
                    if self._has_dropped:
                        self._has_dropped = False
                        self.files.write_slot(layout.JOURNAL_SLOW, monotonic_ns, wall_ns)
                except Exception:  # noqa: BLE001  # as in append, on the writer's thread
                    self.failures += 1
            with self._queue_changed:
                queue.popleft()
                self._queued_bytes -= len(record)
                self._queue_changed.notify_all()

    def _wait_for_writer(self) -> None:
        with self._queue_changed:
            self._queue_changed.wait_for(lambda: not self._queue, CLOSE_TIMEOUT_S)
