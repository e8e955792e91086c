"""The writer against a real folder; disks that fail are in tests/relay."""

import os
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from kilometers import locks
from kilometers.core import journal
from kilometers.core.session_id import make_session_id
from kilometers.journal_writer import QUEUE_CAP_BYTES, Journal
from kilometers.segment_files import RETRY_NS, SEGMENT_AGE_NS, SEGMENT_BYTES, SESSION_CAP_BYTES, SegmentFiles
from relay.wrapped import Captured, wait_until

CHUNK_BYTES = 256 * 1024
IN, OUT = journal.CLIENT_TO_SERVER, journal.SERVER_TO_CLIENT


class Session:
    """A journal with a clock that the test moves."""

    def __init__(self, folder: Path, *, in_memory: bool = True) -> None:
        self.folder = folder
        self.now_ns = time.monotonic_ns()
        self.journal = Journal()
        self.session_id = make_session_id(0, bytes(10))
        self.in_memory = in_memory

    def open(self, files: type[SegmentFiles] = SegmentFiles, *, first_number: int = 0) -> SegmentFiles:
        start = journal.pack_fields([("session_id", self.session_id)])
        self.files = files(str(self.folder), self.session_id, start, self.journal.offsets, first_number=first_number)
        self.journal.open(self.files, in_memory=self.in_memory)
        self.now_ns = max(self.now_ns, time.monotonic_ns())
        return self.files

    def append(self, data: bytes, kind: int = IN) -> None:
        buffer = bytearray(journal.HEADER_SIZE) + data
        crc = journal.payload_crc(memoryview(data))
        now_ns = self.now_ns
        self.journal.append(buffer, kind=kind, length=len(data), monotonic_ns=now_ns, wall_ns=now_ns, crc=crc)

    def close(self, *fields: tuple[str, str]) -> None:
        self.journal.close([*fields], monotonic_ns=self.now_ns, wall_ns=self.now_ns)

    def path(self, number: int) -> Path:
        return self.folder / f"{self.session_id}.{number}"

    def read(self) -> Captured:
        return Captured(self.folder)


class StuckFiles(SegmentFiles):
    """Files on a disk that stands still until it is released."""

    released: threading.Event

    def store(self, *args: Any, **kwargs: Any) -> None:
        self.released.wait()
        super().store(*args, **kwargs)


@pytest.fixture
def session(tmp_path: Path) -> Iterator[Session]:
    session = Session(tmp_path)
    session.open()
    yield session
    if not session.journal.closed:
        session.close()


@pytest.fixture
def queued(tmp_path: Path) -> Iterator[Session]:
    session = Session(tmp_path, in_memory=False)
    session.open()
    yield session
    if not session.journal.closed:
        session.close()


def test_session_begins_with_start_and_ends_with_end(session: Session) -> None:
    session.append(b"question\n")
    session.append(b"answer\n", OUT)
    session.append(b"")
    session.close(("exit_status", "3"))
    kinds = [record.kind for record in session.read().all_records()]

    assert kinds == [journal.START, IN, OUT, IN, journal.END]
    assert session.read().fields(journal.START)["session_id"] == [session.session_id]
    assert session.read().fields(journal.END)["exit_status"] == ["3"]
    assert journal.read_totals(session.read().fields(journal.END)) == (9, 7, 0)


def test_session_without_a_byte_still_has_start_and_end(session: Session) -> None:
    session.close()

    assert [record.kind for record in session.read().all_records()] == [journal.START, journal.END]


def test_segments_are_private(session: Session) -> None:
    session.append(b"x")

    assert {os.stat(path).st_mode & 0o777 for path in session.folder.iterdir()} == {0o600}


def test_lock_is_held_until_the_session_ends(session: Session) -> None:
    with open(session.folder / f"{session.session_id}.lock", "rb") as lock:
        assert not locks.try_lock(lock.fileno())
        session.close()
        assert locks.try_lock(lock.fileno())


def test_full_segment_is_followed_by_the_next(session: Session) -> None:
    for _ in range(10):
        session.append(bytes(CHUNK_BYTES))
    read = session.read()

    assert read.numbers == [0, 1, 2]
    assert {len(segment) // CHUNK_BYTES for segment in read.segments[:2]} == {SEGMENT_BYTES // CHUNK_BYTES}
    assert [records[-1].kind for records in read.records] == [journal.END_OF_SEGMENT, journal.END_OF_SEGMENT, IN]
    assert read.stream(IN) == bytes(CHUNK_BYTES * 10)


def test_old_segment_is_followed_by_the_next(session: Session) -> None:
    session.append(b"before")
    session.now_ns += SEGMENT_AGE_NS + 1
    session.append(b"after", OUT)
    read = session.read()

    assert [[record.kind for record in records] for records in read.records] == [
        [journal.START, IN, journal.END_OF_SEGMENT],
        [journal.START, OUT],
    ]


def test_totals_and_base_say_the_same_of_what_came_before(session: Session) -> None:
    session.append(b"question")
    session.append(b"answer", OUT)
    session.append(b"log", journal.STDERR)
    session.now_ns += SEGMENT_AGE_NS + 1
    session.append(b"more")
    read = session.read()
    totals = journal.read_totals(read.fields(journal.END_OF_SEGMENT))

    assert totals == read.pages[1].base == (8, 6, 3)
    assert read.pages[0].base == (0, 0, 0)
    assert [page.number for page in read.pages] == [0, 1]
    assert {page.session_id.hex() for page in read.pages} == {session.session_id.replace("-", "")}


def test_bytes_from_before_the_journal_are_a_gap(tmp_path: Path) -> None:
    session = Session(tmp_path)
    session.append(b"too early")
    session.open()
    session.append(b"in time")
    session.close()

    assert session.read().gaps(IN) == [(0, 9, journal.JOURNAL_LATE)]
    assert session.read().stream(IN) == b"in time"
    assert session.read().pages[0].base == (9, 0, 0)


def test_session_that_fills_its_share_goes_on_uncaptured_and_counts(session: Session) -> None:
    chunks = SESSION_CAP_BYTES // CHUNK_BYTES + 8
    for _ in range(chunks):
        session.append(bytes(CHUNK_BYTES))
    session.close(("exit_status", "0"))
    read = session.read()
    stored = len(read.stream(IN))

    assert sum(map(len, read.segments)) <= SESSION_CAP_BYTES + 4096
    assert stored > SESSION_CAP_BYTES - 3 * CHUNK_BYTES
    assert read.gaps(IN) == [(stored, chunks * CHUNK_BYTES - stored, journal.JOURNAL_FULL)]
    assert read.fields(journal.END)["exit_status"] == ["0"]


def test_end_is_told_although_not_a_byte_of_the_share_is_left(session: Session) -> None:
    for size in (CHUNK_BYTES, 4096, 256, 8):
        failures = session.journal.failures
        while session.journal.failures == failures:
            session.append(bytes(size))
        session.now_ns += RETRY_NS + 1
    session.close(("exit_status", "3"))

    assert session.read().fields(journal.END)["exit_status"] == ["3"]


def test_session_goes_on_captured_once_its_segments_are_recorded(session: Session) -> None:
    for _ in range(SESSION_CAP_BYTES // CHUNK_BYTES + 8):
        session.append(bytes(CHUNK_BYTES))
    before = session.read()
    for number in before.numbers[:-1]:
        session.path(number).unlink()
    session.now_ns += RETRY_NS + 1
    session.append(b"again")
    session.close()
    record = session.read().of(IN)[-1]

    assert bytes(record.data) == b"again"
    assert record.gap_reason == journal.JOURNAL_FULL
    assert record.stream_offset == (SESSION_CAP_BYTES // CHUNK_BYTES + 8) * CHUNK_BYTES


def test_slot_tells_a_killed_relays_gap(session: Session) -> None:
    for _ in range(SESSION_CAP_BYTES // CHUNK_BYTES + 8):
        session.append(bytes(CHUNK_BYTES))
    read = session.read()

    assert read.of(journal.END) == []
    assert sum(gap[1] for gap in read.gaps(IN)) + len(read.stream(IN)) == session.journal.offsets[IN]


def test_folder_that_is_removed_is_noticed_within_a_second(session: Session) -> None:
    gone = threading.Event()
    session.journal.when_gone = gone.set
    session.append(b"before")
    for path in session.folder.iterdir():
        path.unlink()
    session.append(b"unnoticed")
    assert not gone.is_set()
    session.now_ns += 1_000_000_001
    session.append(b"noticed")

    assert gone.is_set()
    session.open(first_number=1)
    session.append(b"again")
    assert session.read().gaps(IN) == [(0, 22, journal.JOURNAL_LATE)]
    assert session.read().stream(IN) == b"again"


def test_writer_thread_stores_what_was_queued(queued: Session) -> None:
    queued.append(b"question")
    queued.append(b"answer", OUT)
    queued.close(("exit_status", "0"))
    kinds = [record.kind for record in queued.read().all_records()]

    assert kinds == [journal.START, IN, OUT, journal.END]


def test_full_queue_drops_the_copy_and_tells_which(tmp_path: Path) -> None:
    queued = Session(tmp_path, in_memory=False)
    stuck = queued.open(StuckFiles)
    stuck.released = threading.Event()
    chunks = QUEUE_CAP_BYTES // CHUNK_BYTES + 8
    for _ in range(chunks):
        queued.append(bytes(CHUNK_BYTES))
    stuck.released.set()
    wait_until(lambda: not queued.journal._queue, "the writer")
    queued.append(b"again")
    queued.close()
    read = queued.read()
    (gap,) = read.gaps(IN)

    assert gap[0] + gap[1] == chunks * CHUNK_BYTES
    assert gap[2] == journal.JOURNAL_SLOW
    assert QUEUE_CAP_BYTES - CHUNK_BYTES <= gap[0] <= QUEUE_CAP_BYTES
    assert {record.gap_reason for record in read.of(IN)[:-1]} == {0}


def test_end_of_a_slow_disk_journal_counts_what_had_to_be_dropped(tmp_path: Path) -> None:
    queued = Session(tmp_path, in_memory=False)
    stuck = queued.open(StuckFiles)
    stuck.released = threading.Event()
    for _ in range(20):
        queued.append(b"0123456789")

    def release_once_dropped() -> None:
        while queued.journal.failures == 0:
            time.sleep(0.001)
        stuck.released.set()

    release = threading.Thread(target=release_once_dropped)
    release.start()
    queued.close(("exit_status", "0"))
    release.join()
    read = queued.read()
    fields = read.fields(journal.END)

    assert fields["total.1"] == ["200"]
    assert fields["reason.1"] == [str(journal.JOURNAL_SLOW)]
    assert len(read.of(IN)) < 20


def test_append_after_the_end_never_returns(session: Session) -> None:
    session.close()
    appending = threading.Thread(target=session.append, args=(b"late",), daemon=True)
    appending.start()
    appending.join(0.05)

    assert appending.is_alive()
    assert session.read().of(IN) == []


def test_concurrent_streams_keep_their_order(session: Session) -> None:
    def pump(kind: int) -> None:
        for number in range(300):
            session.append(b"%06d" % number, kind)

    threads = [threading.Thread(target=pump, args=(kind,)) for kind in journal.STREAMS]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()

    for kind in journal.STREAMS:
        assert session.read().stream(kind) == b"".join(b"%06d" % number for number in range(300))
        assert session.read().gaps(kind) == []
