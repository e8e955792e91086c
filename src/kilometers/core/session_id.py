"""Session ids: UUIDv7, made by the relay at the start of a session.

Source: RFC 9562 section 5.7.  The standard library's uuid module is not used: it takes 7 ms to import, and the relay
has to be ready before the client's first frame.
"""


def make_session_id(wall_ns: int, random_bytes: bytes) -> str:
    """Return the UUIDv7 for a time and 10 random bytes, as its 36 characters."""
    milliseconds = wall_ns // 1_000_000
    random = int.from_bytes(random_bytes[:10], "big")
    number = (milliseconds & (1 << 48) - 1) << 80 | random & (1 << 80) - 1
    number = number & ~(0xF << 76) | 7 << 76
    number = number & ~(0x3 << 62) | 2 << 62
    digits = f"{number:032x}"
    return f"{digits[:8]}-{digits[8:12]}-{digits[12:16]}-{digits[16:20]}-{digits[20:]}"


def session_bytes(session_id: str) -> bytes:
    """Return a session id's 16 bytes."""
    return bytes.fromhex(session_id.replace("-", ""))


def started_ms(session_id: str) -> int:
    """Return the time in a session id, in ms since the epoch."""
    return int.from_bytes(session_bytes(session_id)[:6], "big")


def short_id(session_id: str) -> str:
    """Return what lists show of an id: its last 8 digits, since the first are a time."""
    return session_id[-8:]


def is_session_id(text: str) -> bool:
    """Whether *text* has the shape of a session id."""
    digits = text.replace("-", "")
    return len(text) == 36 and len(digits) == 32 and all(digit in "0123456789abcdef" for digit in digits)
