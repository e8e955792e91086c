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
from kilometers.doorbell import Doorbell
from kilometers.journal_writer import Journal
from kilometers.relay import Pump
from kilometers.segment_files import SegmentFiles

CHUNKS = 100_000
CHUNK = os.urandom(16_000)


class Pumped:
    """A pump between two pipes, on its own thread, journaling into memory."""

    def __init__(self, folder: Path) -> None:
        self.journal = Journal()
        self.files = SegmentFiles(str(folder), make_session_id(0, bytes(10)), b"", self.journal.offsets)
        self.journal.open(self.files, in_memory=True)
        self.oldest_segment = 0
        source_fd, self.write_fd = os.pipe()
        self.read_fd, sink_fd = os.pipe()
        self.doorbell = Doorbell()
        self.room = memoryview(bytearray(len(CHUNK)))
        Pump(SERVER_TO_CLIENT, source_fd, sink_fd, self.journal, self.doorbell).start()

    def pass_chunks(self, count: int) -> None:
        """Pass many through, one at a time, unlinking segments behind them as a recorder does."""
        for _ in range(count):
            os.write(self.write_fd, CHUNK)
            left = self.room
            while left:
                left = left[os.readv(self.read_fd, [left]) :]
            while self.oldest_segment < self.files.number:
                os.unlink(f"{self.files.folder}/{self.files.session_id}.{self.oldest_segment}")
                self.oldest_segment += 1

    def end(self) -> None:
        """Let the pump end."""
        os.close(self.write_fd)
        self.doorbell.wait(float("inf"))
        self.doorbell.close()


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
