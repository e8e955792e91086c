"""The recorder's side of the journal: find sessions, read their records in order, unlink what is recorded.

Counterpart: segment_files.py.  A segment that is still written may end in half a record: that is read again later.
In a segment that is not written any more, or that goes on behind it, what has no valid CRC is damage and is stepped
over; the stream offsets of what comes next say how many bytes are missing.
"""

import errno
import os
import stat
from collections.abc import Generator, Iterator

from kilometers import locks
from kilometers.core import journal
from kilometers.core.session_id import is_session_id
from kilometers.paths import Home, is_private_folder
from kilometers.positioned import read_at
from kilometers.shared_open import open_shared

READ_BYTES = 1 << 20
Offsets = tuple[int, int, int]


class JournalTooNew(Exception):
    """A newer km wrote this journal: this one must leave it alone."""


class Lost:
    """How far the relay had read where no record says so, and why the bytes before are missing."""

    __slots__ = ("offsets", "reason", "wall_ns")

    def __init__(self, offsets: tuple[int, int, int], reason: int, wall_ns: int) -> None:
        self.offsets = offsets
        self.reason = reason
        self.wall_ns = wall_ns


def find_sessions(folders: list[str]) -> dict[str, list[str]]:
    """Return the paths of each session's journal files: segments and lock, in every folder."""
    found: dict[str, list[str]] = {}
    for folder in dict.fromkeys(folders):  # a marker often names a folder that is known anyway
        if not is_private_folder(folder):
            continue  # not there, or somebody else's: what is in it is not ours
        try:
            names = os.listdir(folder)
        except OSError:
            continue
        for name in names:
            session_id, dot, ending = name.partition(".")
            if is_session_id(session_id) and dot and (ending.isdigit() or ending == "lock"):
                found.setdefault(session_id, []).append(os.path.join(folder, name))
    return found


def find_home_sessions(home: Home) -> dict[str, list[str]]:
    """Return the journal files of a home by session: in its own folders, and where its markers say."""
    markers = find_markers(home.journal_folder)
    return find_sessions([*home.journal_folders(), *filter(None, markers.values())])


def open_to_read(path: str) -> int:
    """Open a journal file, no link and no pipe.  Raises OSError.

    Not for writing: closing it would wake our own watcher.
    """
    fd = open_shared(path, os.O_RDONLY | getattr(os, "O_NOFOLLOW", 0) | getattr(os, "O_NONBLOCK", 0))
    if not stat.S_ISREG(os.fstat(fd).st_mode):
        os.close(fd)
        raise OSError(errno.EINVAL, "no regular file", path)
    return fd


def find_markers(folder: str) -> dict[str, str]:
    """Return the sessions that have a marker, with the journal's folder that it names ("" = not said)."""
    markers: dict[str, str] = {}
    try:
        names = [name for name in os.listdir(folder) if is_session_id(name)]
    except OSError:
        return {}
    for name in names:
        try:
            fd = open_to_read(os.path.join(folder, name))
        except OSError:
            continue
        try:
            markers[name] = os.read(fd, 4096).decode("utf-8", "surrogateescape")
        except OSError:
            continue
        finally:
            os.close(fd)
    return markers


def is_living(paths: list[str]) -> bool:
    """Whether a session's relay lives: it holds an OS lock on its lock file."""
    for path in paths:
        if not path.endswith(".lock"):
            continue
        try:
            fd = open_to_read(path)
        except OSError:
            continue
        is_locked = locks.is_locked(fd)
        os.close(fd)
        if is_locked:
            return True
    return False


class JournalReader:
    """Reads one session's segments, oldest first."""

    def __init__(self, session_id: str) -> None:
        self.session_id = session_id
        self.paths: list[str] = []
        self.number = -1
        self.first_base: Offsets | None = None
        """Base offsets of the first segment that was found: what went before it is not in this journal."""
        self._segments: dict[int, str] = {}
        self._fd = -1
        self._position = 0
        self._base: Offsets | None = None
        self._left_behind: dict[int, tuple[Offsets | None, Offsets | None]] = {}
        """Segments that have been read: their base, and the next one's; None where its page was damaged."""

    def close(self) -> None:
        """Let go of the segment that is being read."""
        if self._fd >= 0:
            os.close(self._fd)
            self._fd = -1

    def refresh(self, paths: list[str]) -> None:
        """Take note of which files there are now."""
        self.paths = paths
        self._segments = {}
        for path in paths:
            ending = path.rpartition(".")[2]
            if ending.isdigit():
                self._segments[int(ending)] = path

    def read(self, *, is_dead: bool) -> Iterator[journal.Record | Lost]:
        """Yield what has come in since the last time.  Raises JournalTooNew; OSError for a folder that went away.

        With *is_dead* nothing will be written any more: what is unreadable now is damage.
        """
        while True:
            if self._fd < 0 and not (yield from self._open_next(is_dead=is_dead)):
                return
            newer = [number for number in self._segments if number > self.number]
            may_end = is_dead or self._has_record(newer)
            if (yield from self._read_segment(is_final=may_end)) or may_end:
                if may_end and not newer:
                    return
                self.close()
                continue
            return

    def last_words(self) -> Iterator[Lost]:
        """Yield what the slots of a dead session's segments say of bytes that are in no record."""
        for number in sorted(self._segments):
            try:
                fd = open_to_read(self._segments[number])
            except OSError:
                continue
            try:
                totals = journal.read_slot(read_at(fd, journal.PAGE_SIZE, 0))
            finally:
                os.close(fd)
            if totals is not None:
                yield Lost(totals.offsets, totals.reason, totals.wall_ns)

    def rewind(self, record: journal.Record) -> None:
        """Yield this record again next time: only a part of it was taken."""
        self._position = record.position

    def unlink_recorded(self, consumed: Offsets) -> None:
        """Unlink the segments that were left behind and hold no byte that is in no event yet.

        A stream that stands still, in the middle of a line, holds back only the segments that have its bytes.
        """
        for number, (base, end) in list(self._left_behind.items()):
            if base is None or end is None:
                is_recorded = end is not None and all(have >= need for have, need in zip(consumed, end, strict=True))
            else:
                is_recorded = all(
                    have >= need or need == begin for have, begin, need in zip(consumed, base, end, strict=True)
                )
            if is_recorded:
                del self._left_behind[number]
                _unlink(self._segments.pop(number, ""))

    def unlink_all(self) -> None:
        """Unlink everything of a session that has ended and is recorded; the lock last."""
        self.close()
        for path in sorted(self.paths, key=lambda path: path.endswith(".lock")):
            _unlink(path)

    def _open_next(self, *, is_dead: bool) -> Generator[journal.Record | Lost, None, bool]:
        """Open the next segment and yield its base; returns (as generator) whether there is one."""
        numbers = sorted(number for number in self._segments if number > self.number)
        if not numbers:
            return False
        number = numbers[0]
        try:
            fd = open_to_read(self._segments[number])
        except OSError:
            del self._segments[number]
            return False
        page = journal.read_page(read_at(fd, journal.PAGE_SIZE, 0))
        if page is not None and page.format > journal.FORMAT:
            os.close(fd)
            raise JournalTooNew(self._segments[number])
        if page is None and not is_dead and len(numbers) == 1:
            os.close(fd)  # its relay is still writing the first page
            return False
        if self.number >= 0:
            self._left_behind[self.number] = (self._base, page.base if page else None)
        self._fd, self.number, self._position = fd, number, journal.PAGE_SIZE
        self._base = page.base if page else None
        if page is not None:
            if self.first_base is None:
                self.first_base = page.base
            yield Lost(page.base, journal.LOST_JOURNAL, 0)
        return True

    def _has_record(self, numbers: list[int]) -> bool:
        """Whether the relay has gone on to a newer segment: it appends to no older one then."""
        for number in numbers:
            try:
                if os.stat(self._segments[number]).st_size > journal.PAGE_SIZE:
                    return True
            except OSError:
                continue
        return False

    def _read_segment(self, *, is_final: bool) -> Generator[journal.Record | Lost, None, bool]:
        """Yield the records from the current position; returns (as generator) whether the segment has ended."""
        while True:
            size = os.fstat(self._fd).st_size - self._position
            view = memoryview(read_at(self._fd, min(max(size, 0), READ_BYTES + journal.MAX_LENGTH), self._position))
            at = 0
            while (record := journal.read_record(view, at, self._position)) is not None:
                at += record.size
                self._position += record.size
                yield record
                if record.kind == journal.END_OF_SEGMENT:
                    return True
                if at > READ_BYTES:
                    break
            if at > READ_BYTES:
                continue
            rest = view[at:]
            if not len(rest):
                return False
            if not is_final and journal.is_unfinished(rest):
                return False  # still being written: what looks like a record in it is somebody's payload
            behind = journal.find_record(memoryview(bytes(rest)), 0)
            if behind is not None:
                self._position += behind
                continue
            if is_final:
                yield from self._torn_tail(rest)
                self._position += len(rest)
            return False

    def _torn_tail(self, rest: memoryview) -> Iterator[Lost]:
        """Yield what the header of an unreadable last record claims, if it is a header."""
        claim = journal.read_claim(rest)
        if claim is not None:
            kind, through, wall_ns = claim
            first, second, third = (through if stream == kind else 0 for stream in journal.STREAMS)
            yield Lost((first, second, third), journal.DAMAGED, wall_ns)


def _unlink(path: str) -> None:
    try:
        os.unlink(path)
    except OSError:
        pass  # already gone, with its folder
