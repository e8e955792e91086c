"""Reading km's own log: what the recorder said last.  Counterpart: log.py, which writes it."""

import os
from collections.abc import Iterator
from datetime import datetime

import msgspec

from kilometers.election import LockFile
from kilometers.paths import Home

TAIL_BYTES = 64 << 10


class LogLine(msgspec.Struct):
    """What is read of a line of log/km.log."""

    event: str
    level: str
    timestamp: datetime
    exception: str = ""
    version: str = ""
    pid: int = 0


def recorder_version(home: Home, content: LockFile) -> str:
    """Return the version that records, as the log says; the lock file names the newest one that was seen."""
    started = (line for line in read_log(home) if line.event == "recorder started" and line.pid == content.pid)
    return next((line.version for line in started), content.version)


def read_log(home: Home) -> Iterator[LogLine]:
    """Yield the last lines of the log, newest first, but for those that are cut off or not ours."""
    for line in reversed(read_tail(home.log_file)):
        try:
            found = msgspec.json.decode(line, type=LogLine)
        except msgspec.MsgspecError:
            continue
        if found.timestamp.tzinfo is not None:
            yield found


def read_tail(path: str) -> list[bytes]:
    """Return the last lines of a file; none where it cannot be read."""
    try:
        with open(path, "rb") as file:
            file.seek(max(0, os.fstat(file.fileno()).st_size - TAIL_BYTES))
            return file.read(TAIL_BYTES).splitlines()
    except OSError:
        return []
