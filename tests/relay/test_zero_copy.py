"""The pumps make no bytes object per chunk, and what they make they give back."""

import gc
import os
import sys
import tracemalloc
from collections.abc import Iterator
from pathlib import Path

import pytest

from kilometers.core.journal import SERVER_TO_CLIENT
from kilometers.core.session_id import make_session_id
from kilometers.journal_writer import Journal, SegmentFiles
from kilometers.relay import Pump

CHUNKS = 100_000
CHUNK = os.urandom(16_000)


class Pumped:
    """A pump between two pipes, on its own thread, journaling into memory."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.journal = Journal()
        self.session_id = make_session_id(0, bytes(10))
        self.journal.open(SegmentFiles(str(folder), self.session_id, b"", self.journal.offsets), in_memory=True)
        source_fd, self.write_fd = os.pipe()
        self.read_fd, sink_fd = os.pipe()
        self.doorbell_fd, ring_fd = os.pipe()
        self.room = memoryview(bytearray(len(CHUNK)))
        Pump(SERVER_TO_CLIENT, source_fd, sink_fd, self.journal, ring_fd).start()

    def pass_chunks(self, count: int) -> None:
        """Pass many through, one at a time; what a recorder does to recorded segments is done now and then."""
        for number in range(count):
            os.write(self.write_fd, CHUNK)
            left = self.room
            while left:
                left = left[os.readv(self.read_fd, [left]) :]
            if number % 1000 == 0:
                for path in sorted(self.folder.glob(f"{self.session_id}.[0-9]*"), key=os.path.getmtime)[:-1]:
                    path.unlink()

    def end(self) -> None:
        """Let the pump end."""
        os.close(self.write_fd)
        os.read(self.doorbell_fd, 1)


@pytest.fixture
def pumped(memory_folder: Path) -> Iterator[Pumped]:
    pumped = Pumped(memory_folder)
    yield pumped
    pumped.end()


def test_memory_stays_flat_and_no_chunk_becomes_an_object(pumped: Pumped) -> None:
    tracemalloc.start()
    try:
        pumped.pass_chunks(2000)
        gc.collect()
        blocks_before = sys.getallocatedblocks()
        bytes_before, _ = tracemalloc.get_traced_memory()
        tracemalloc.reset_peak()
        pumped.pass_chunks(CHUNKS)
        bytes_after, peak = tracemalloc.get_traced_memory()
        blocks_after = sys.getallocatedblocks()
    finally:
        tracemalloc.stop()

    assert peak - bytes_before < len(CHUNK)
    assert bytes_after - bytes_before < len(CHUNK) // 2
    assert blocks_after - blocks_before < 500
    assert pumped.journal.offsets[SERVER_TO_CLIENT] == (CHUNKS + 2000) * len(CHUNK)
    assert pumped.journal.failures == 0
