"""km's own log: structlog, JSON lines in log/km.log, rotated at 1 MB; never stdout."""

import os
from typing import cast

import structlog

MAX_BYTES = 1 << 20


def open_log(path: str) -> structlog.typing.FilteringBoundLogger:
    """Return the log; the file before it, if that has grown, becomes `km.log.1`.  Raises OSError."""
    os.makedirs(os.path.dirname(path), mode=0o700, exist_ok=True)
    if os.path.exists(path) and os.path.getsize(path) > MAX_BYTES:
        os.replace(path, f"{path}.1")
    file = open(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600), "a", encoding="utf-8", errors="replace")  # noqa: SIM115  # open for the process's life
    structlog.configure(
        processors=[
            structlog.processors.add_log_level,
            structlog.processors.TimeStamper(fmt="iso", utc=True),
            structlog.processors.format_exc_info,
            structlog.processors.JSONRenderer(),
        ],
        logger_factory=structlog.WriteLoggerFactory(file=file),
        cache_logger_on_first_use=True,
    )
    return cast("structlog.typing.FilteringBoundLogger", structlog.get_logger())
