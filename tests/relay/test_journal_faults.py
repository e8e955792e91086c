"""A journal's disk that is full, broken or stuck: the session does not notice, and what is missing is known exactly."""

import os
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from faults.disk_faults import DiskFaults, Mode
from kilometers.core import journal
from kilometers.core.journal import CLIENT_TO_SERVER, SERVER_TO_CLIENT
from relay.wrapped import Captured, Client, environment_of, wait_until

BEFORE, DURING, AFTER = (
    [b"%s %d\n" % (phase, number) for number in range(20)] for phase in (b"before", b"during", b"after")
)
EVERYTHING = b"".join(BEFORE + DURING + AFTER)
QUICK_S = 0.5
REASONS: dict[Mode, int] = {
    "enospc": journal.JOURNAL_FULL,
    "short": journal.JOURNAL_FULL,
    "eio": journal.JOURNAL_ERROR,
    "erofs": journal.JOURNAL_ERROR,
}


class Session:
    """A session whose journal is in *folder*, below which faults can be switched on."""

    def __init__(self, home: Path, folder: Path, library: Path) -> None:
        self.folder = folder
        self.faults = DiskFaults(folder, library=library)
        env = {**environment_of(home), "KILOMETERS_JOURNAL_DIR": str(folder), **self.faults.env()}
        self.client = Client(["cat"], home, env=env)
        self.slowest_s = 0.0

    def exchange(self, lines: list[bytes]) -> None:
        for line in lines:
            started_s = time.monotonic()
            assert self.client.echo(line) == line
            self.slowest_s = max(self.slowest_s, time.monotonic() - started_s)

    def wait_until_captured(self, count: int) -> None:
        wait_until(lambda: len(self.read().stream(SERVER_TO_CLIENT)) >= count, "the journal")

    def end(self) -> None:
        started_s = time.monotonic()
        self.client.end_input()
        assert self.client.rest() == b""
        assert self.client.status() == 0
        assert time.monotonic() - started_s < QUICK_S

    def read(self) -> Captured:
        return Captured(self.folder)


def opened(home: Path, folder: Path, library: Path) -> Iterator[Session]:
    session = Session(home, folder, library)
    with session.faults, session.client:
        yield session


@pytest.fixture
def in_memory(home: Path, memory_folder: Path, fault_library: Path) -> Iterator[Session]:
    yield from opened(home, memory_folder / "journal", fault_library)


@pytest.fixture
def on_disk(home: Path, disk_folder: Path, fault_library: Path) -> Iterator[Session]:
    yield from opened(home, disk_folder, fault_library)


def is_what_crossed(read: Captured, kind: int, crossed: bytes) -> bool:
    """Whether every record holds its place of what crossed, and records and gaps are all of it."""
    are_right = all(
        bytes(record.data) == crossed[record.stream_offset : record.stream_offset + len(record.data)]
        for record in read.of(kind)
    )
    return are_right and len(read.stream(kind)) + sum(gap[1] for gap in read.gaps(kind)) == len(crossed)


@pytest.mark.parametrize("mode", REASONS)
def test_fault_in_memory_is_an_exact_gap(in_memory: Session, mode: Mode) -> None:
    in_memory.exchange(BEFORE)
    in_memory.faults.set(mode)
    in_memory.exchange(DURING)
    in_memory.faults.clear()
    in_memory.exchange(AFTER)
    in_memory.end()
    gap = (len(b"".join(BEFORE)), len(b"".join(DURING)), REASONS[mode])

    for kind in (CLIENT_TO_SERVER, SERVER_TO_CLIENT):
        assert in_memory.read().gaps(kind) == [gap]
        assert in_memory.read().stream(kind) == b"".join(BEFORE + AFTER)
    assert in_memory.slowest_s < QUICK_S


@pytest.mark.parametrize("mode", [*REASONS, "hang"])
def test_fault_on_disk_loses_no_count(on_disk: Session, mode: Mode) -> None:
    on_disk.exchange(BEFORE)
    on_disk.wait_until_captured(len(b"".join(BEFORE)))
    on_disk.faults.set(mode)
    on_disk.exchange(DURING)
    on_disk.faults.clear()
    on_disk.exchange(AFTER)
    on_disk.end()

    for kind in (CLIENT_TO_SERVER, SERVER_TO_CLIENT):
        assert is_what_crossed(on_disk.read(), kind, EVERYTHING)
        assert {gap[2] for gap in on_disk.read().gaps(kind)} <= {REASONS.get(mode, 0)}
    assert on_disk.slowest_s < QUICK_S


def test_short_hang_of_a_disk_loses_nothing(on_disk: Session) -> None:
    on_disk.exchange(BEFORE)
    on_disk.faults.set("hang")
    on_disk.exchange(DURING)
    on_disk.faults.clear()
    on_disk.exchange(AFTER)
    on_disk.end()

    assert on_disk.read().gaps(CLIENT_TO_SERVER) == []
    assert on_disk.read().stream(SERVER_TO_CLIENT) == EVERYTHING


def test_long_hang_of_a_disk_drops_copies_and_tells_why(on_disk: Session) -> None:
    lines = [os.urandom(50_000).replace(b"\n", b" ") + b"\n" for _ in range(120)]
    on_disk.exchange(BEFORE)
    on_disk.wait_until_captured(len(b"".join(BEFORE)))
    on_disk.faults.set("hang")
    on_disk.exchange(lines)
    on_disk.faults.clear()
    wait_until(lambda: len(on_disk.read().stream(SERVER_TO_CLIENT)) > 1_000_000, "the writer")
    on_disk.exchange(AFTER)
    on_disk.end()

    for kind in (CLIENT_TO_SERVER, SERVER_TO_CLIENT):
        assert is_what_crossed(on_disk.read(), kind, b"".join([*BEFORE, *lines, *AFTER]))
        assert {gap[2] for gap in on_disk.read().gaps(kind)} == {journal.JOURNAL_SLOW}
    assert on_disk.slowest_s < QUICK_S


@pytest.mark.parametrize("mode", [*REASONS, "hang"])
def test_fault_that_stays_holds_up_neither_bytes_nor_exit(on_disk: Session, mode: Mode) -> None:
    on_disk.exchange(BEFORE)
    on_disk.wait_until_captured(len(b"".join(BEFORE)))
    on_disk.faults.set(mode)
    on_disk.exchange(DURING)
    on_disk.end()

    assert on_disk.slowest_s < QUICK_S
    assert on_disk.read().stream(CLIENT_TO_SERVER) == b"".join(BEFORE)


@pytest.mark.parametrize("mode", REASONS)
def test_fault_that_stays_in_memory_holds_up_neither_bytes_nor_exit(in_memory: Session, mode: Mode) -> None:
    in_memory.exchange(BEFORE)
    in_memory.faults.set(mode)
    in_memory.exchange(DURING)
    in_memory.end()

    assert in_memory.slowest_s < QUICK_S
    assert in_memory.read().stream(CLIENT_TO_SERVER) == b"".join(BEFORE)


@pytest.mark.parametrize("mode", ["enospc", "short"])
def test_relay_killed_while_its_disk_is_full_leaves_an_exact_gap(in_memory: Session, mode: Mode) -> None:
    in_memory.exchange(BEFORE)
    in_memory.faults.set(mode)
    in_memory.exchange(DURING)
    in_memory.client.km.kill()
    in_memory.client.status()
    gap = (len(b"".join(BEFORE)), len(b"".join(DURING)), journal.JOURNAL_FULL)

    if mode == "enospc":  # a slot that is torn by a short write says nothing
        assert in_memory.read().gaps(CLIENT_TO_SERVER) == [gap]
        assert in_memory.read().gaps(SERVER_TO_CLIENT) == [gap]
    assert in_memory.read().stream(SERVER_TO_CLIENT) == b"".join(BEFORE)


@pytest.mark.parametrize("mode", [*REASONS, "hang"])
def test_journal_that_cannot_begin_holds_up_nothing(
    home: Path, disk_folder: Path, fault_library: Path, mode: Mode
) -> None:
    disk_folder.mkdir(mode=0o700)
    with DiskFaults(disk_folder, library=fault_library) as faults:
        faults.set(mode)
        env = {**environment_of(home), "KILOMETERS_JOURNAL_DIR": str(disk_folder), **faults.env()}
        with Client(["cat"], home, env=env) as client:
            assert [client.ask(line) for line in BEFORE] == BEFORE
            client.end_input()
            assert client.status(QUICK_S) == 0
