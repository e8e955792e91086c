"""The relay's side of the journal: append what was read, before it is forwarded, and never hurt the relay.

Counterpart: journal_reader.py; the format is core/journal.py's.  In memory (tmpfs) an append is one `pwrite` on the
pump's own thread.  On any other file system, where a write can wait for a disk or hang for ever, one writer thread
appends copies from a queue bounded at 4 MB; what does not fit is dropped and counted.

Invariant: `offsets` advances by every byte that was read, whether or not it could be stored; so what is missing shows.
"""

import threading
import time
from collections import deque
from collections.abc import Callable

from kilometers.core import journal as layout
from kilometers.segment_files import JournalFull, JournalGone, SegmentFiles

QUEUE_CAP_BYTES = 4 << 20
CLOSE_TIMEOUT_S = 0.1


class QueuedRecord:
    """A copy that waits for the writer thread: *buffer* has room for the header before its bytes."""

    __slots__ = ("buffer", "crc", "gap_reason", "kind", "monotonic_ns", "offset", "wall_ns")

    def __init__(
        self, buffer: bytearray, *, kind: int, offset: int, monotonic_ns: int, wall_ns: int, crc: int, gap_reason: int
    ) -> None:
        self.buffer = buffer
        self.kind = kind
        self.offset = offset
        self.monotonic_ns = monotonic_ns
        self.wall_ns = wall_ns
        self.crc = crc
        self.gap_reason = gap_reason


class Journal:
    """What the pumps append to.  Until `open` it only counts."""

    def __init__(self) -> None:
        self.lock = threading.Lock()
        self.offsets = [0, 0, 0, 0]
        """Bytes read of each stream, by its number; there is no stream 0."""
        self.files: SegmentFiles | None = None
        self.failures = 0
        self.closed = False
        self.when_gone: Callable[[], None] = lambda: None
        self._queue: deque[QueuedRecord] | None = None
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

    def append(self, buffer: bytearray, *, kind: int, length: int, monotonic_ns: int, wall_ns: int, crc: int) -> None:
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
            if self._queue is not None:
                copy = buffer[: layout.HEADER_SIZE + length]
                self._enqueue(copy, kind=kind, offset=offset, monotonic_ns=monotonic_ns, wall_ns=wall_ns, crc=crc)
            elif self.files is not None:
                self._store(
                    buffer, kind=kind, length=length, offset=offset, monotonic_ns=monotonic_ns, wall_ns=wall_ns, crc=crc
                )
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
            # A tail that is missing without another reason is what a slow disk left in the queue.
            otherwise = 0 if self._queue is None else layout.JOURNAL_SLOW
            reasons = [known or otherwise for known in self.files.gap_reasons]
            data = layout.pack_fields([*fields, *layout.pack_totals(self.offsets, reasons)])
            end = bytearray(layout.HEADER_SIZE) + data
            crc = layout.payload_crc(memoryview(data))
            if self._queue is None:
                self._store(
                    end,
                    kind=layout.END,
                    length=len(data),
                    offset=0,
                    monotonic_ns=monotonic_ns,
                    wall_ns=wall_ns,
                    crc=crc,
                )
            else:
                self._enqueue(end, kind=layout.END, offset=0, monotonic_ns=monotonic_ns, wall_ns=wall_ns, crc=crc)
                self._wait_for_writer()
            self.files.close()
        except Exception:  # noqa: BLE001  # as in append
            self.failures += 1
        finally:
            self.lock.release()

    def _store(
        self, buffer: bytearray, *, kind: int, length: int, offset: int, monotonic_ns: int, wall_ns: int, crc: int
    ) -> None:
        if self.files is None:
            return
        try:
            self.files.store(
                buffer, kind=kind, length=length, offset=offset, monotonic_ns=monotonic_ns, wall_ns=wall_ns, crc=crc
            )
        except JournalGone:
            self.files = None
            self.when_gone()
        except (OSError, JournalFull):
            self.failures += 1

    def _enqueue(self, buffer: bytearray, *, kind: int, offset: int, monotonic_ns: int, wall_ns: int, crc: int) -> None:
        assert self._queue is not None
        with self._queue_changed:
            is_data = kind in layout.STREAMS
            if is_data and self._queued_bytes + len(buffer) > QUEUE_CAP_BYTES:
                self._drop_reasons[kind] = layout.JOURNAL_SLOW
                self._has_dropped = True
                self.failures += 1
                return
            record = QueuedRecord(
                buffer,
                kind=kind,
                offset=offset,
                monotonic_ns=monotonic_ns,
                wall_ns=wall_ns,
                crc=crc,
                gap_reason=self._drop_reasons[kind] if is_data else 0,
            )
            if is_data:
                self._drop_reasons[kind] = 0
            self._queue.append(record)
            self._queued_bytes += len(buffer)
            self._queue_changed.notify_all()

    def _write_queue(self) -> None:
        queue = self._queue
        while queue is not None:
            with self._queue_changed:
                while not queue:
                    self._queue_changed.wait()
                record = queue[0]
            try:
                self._write_queued(record)
            except Exception:  # noqa: BLE001  # as in append, on the writer's thread
                self.failures += 1
            with self._queue_changed:
                queue.popleft()
                self._queued_bytes -= len(record.buffer)
                self._queue_changed.notify_all()

    def _write_queued(self, record: QueuedRecord) -> None:
        if self.files is not None and record.gap_reason:
            self.files.gap_reasons[record.kind] = record.gap_reason
        self._store(
            record.buffer,
            kind=record.kind,
            length=len(record.buffer) - layout.HEADER_SIZE,
            offset=record.offset,
            monotonic_ns=record.monotonic_ns,
            wall_ns=record.wall_ns,
            crc=record.crc,
        )
        if self.files is not None and self._has_dropped:
            self._has_dropped = False
            self.files.write_slot(layout.JOURNAL_SLOW, record.monotonic_ns, record.wall_ns)

    def _wait_for_writer(self) -> None:
        """Give the writer half of the time; then drop what still waits before `end`, whose totals count it."""
        with self._queue_changed:
            if self._queue_changed.wait_for(lambda: not self._queue, CLOSE_TIMEOUT_S / 2):
                return
            assert self._queue is not None
            being_written, end = self._queue[0], self._queue[-1]
            self.failures += max(0, len(self._queue) - 2)
            self._queue.clear()
            self._queue.extend([being_written] if being_written is end else [being_written, end])
            self._queue_changed.wait_for(lambda: not self._queue, CLOSE_TIMEOUT_S / 2)
