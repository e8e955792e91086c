"""km's own log: structlog, JSON lines in log/km.log, rotated at 1 MB; never stdout."""

import os
from typing import TextIO, cast

import structlog

MAX_BYTES = 1 << 20


class PatientFile:
    """A log file that takes what it can: a full disk must stop neither the recorder nor a command."""

    def __init__(self, path: str) -> None:
        """Open or make the file.  Raises OSError."""
        self.path = path
        self.fd = self._open()

    def write(self, text: str) -> None:
        """Append, or drop what cannot be appended; a file that has grown becomes `km.log.1` first."""
        try:
            if self.fd >= 0 and os.fstat(self.fd).st_size > MAX_BYTES:
                self._rotate()
            if self.fd < 0:
                self.fd = self._open()
            os.write(self.fd, text.encode("utf-8", "replace"))
        except OSError:
            pass

    def _rotate(self) -> None:
        os.close(self.fd)  # first: Windows renames no file that is open
        self.fd = -1
        os.replace(self.path, f"{self.path}.1")

    def flush(self) -> None:
        """Nothing is held."""

    def _open(self) -> int:
        return os.open(self.path, os.O_WRONLY | os.O_CREAT | os.O_APPEND | getattr(os, "O_BINARY", 0), 0o600)


def open_log(path: str) -> structlog.typing.FilteringBoundLogger:
    """Return the log.  Raises OSError."""
    folder = os.path.dirname(path)
    for private in (os.path.dirname(folder), folder):  # the mode holds for the last folder that is made
        os.makedirs(private, mode=0o700, exist_ok=True)
    structlog.configure(
        processors=[
            structlog.processors.add_log_level,
            structlog.processors.TimeStamper(fmt="iso", utc=True),
            structlog.processors.format_exc_info,
            structlog.processors.JSONRenderer(),
        ],
        logger_factory=structlog.WriteLoggerFactory(file=cast("TextIO", PatientFile(path))),
        cache_logger_on_first_use=True,
    )
    return cast("structlog.typing.FilteringBoundLogger", structlog.get_logger())
