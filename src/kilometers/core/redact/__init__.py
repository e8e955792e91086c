"""The seam where what is kept is redacted: every payload, excerpt and log line, and the server's command line.

Nothing is detected yet: what comes in goes out.  Facts (methods, targets, ids, names of clients and servers) are read
from the message and kept as they are.
"""


def redact(payload: bytes) -> tuple[bytes, str]:
    """Return the payload (JSON) as it may be kept, and its payload_state."""
    return payload, "full"


def redact_command(command: list[str]) -> list[str]:
    """Return the server's command line as it may be kept."""
    return command
