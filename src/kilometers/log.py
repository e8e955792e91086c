"""km's own log: structlog, JSON lines in log/km.log, rotated at 1 MB; never stdout."""

import os
from typing import TextIO, cast

import structlog

MAX_BYTES = 1 << 20


class PatientFile:
    """A log file that takes what it can: a full disk must stop neither the recorder nor a command."""

    def __init__(self, fd: int) -> None:
        self.fd = fd

    def write(self, text: str) -> None:
        """Append, or drop what cannot be appended."""
        try:
            os.write(self.fd, text.encode("utf-8", "replace"))
        except OSError:
            pass

    def flush(self) -> None:
        """Nothing is held."""


def open_log(path: str) -> structlog.typing.FilteringBoundLogger:
    """Return the log; the file before it, if that has grown, becomes `km.log.1`.  Raises OSError."""
    os.makedirs(os.path.dirname(path), mode=0o700, exist_ok=True)
    if os.path.exists(path) and os.path.getsize(path) > MAX_BYTES:
        os.replace(path, f"{path}.1")
    file = PatientFile(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600))
    structlog.configure(
        processors=[
            structlog.processors.add_log_level,
            structlog.processors.TimeStamper(fmt="iso", utc=True),
            structlog.processors.format_exc_info,
            structlog.processors.JSONRenderer(),
        ],
        logger_factory=structlog.WriteLoggerFactory(file=cast("TextIO", file)),
        cache_logger_on_first_use=True,
    )
    return cast("structlog.typing.FilteringBoundLogger", structlog.get_logger())
