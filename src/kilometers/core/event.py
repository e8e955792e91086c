"""Events: what is kept of a frame, as it stands in the store, in a batch, and in what `km events --json` prints.

`(session_id, seq)` identifies an event; `seq` is gapless from 0.  Its encoded JSON is made once (`encode`) and never
again; the chain hash of an event is SHA-256(hash of seq − 1 ‖ wire), starting from the 16 bytes of session_id.

Per direction, bytes captured = Σ size_bytes + Σ gap.bytes.  The server's stderr (`log` events and gaps without a
direction) counts apart.  Absent fields do not apply.
"""

import hashlib
import json
from datetime import UTC, datetime, timedelta
from typing import Literal, get_args

import msgspec

from kilometers.core.frames import load_json

MAX_WIRE_BYTES = 1 << 20
MAX_TEXT = 1024  # of a method, target or id: longer ones come from no SDK, and lists stay readable
EXCERPT_CHARACTERS = 200
SHORTEST_CUT = 16
EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
MICROSECOND = timedelta(microseconds=1)

Direction = Literal["client_to_server", "server_to_client"]
Kind = Literal["request", "response", "error", "notification", "batch", "undecodable", "log", "gap"]
Status = Literal["ok", "error", "tool_error", "cancelled", "input_required"]
CLIENT_TO_SERVER: Direction = "client_to_server"
SERVER_TO_CLIENT: Direction = "server_to_client"
# How a person sees the direction; None: the server's stderr.
ARROWS: dict[Direction | None, str] = {CLIENT_TO_SERVER: "→", SERVER_TO_CLIENT: "←", None: ""}
STATUSES: tuple[Status, ...] = get_args(Status)


class Gap(msgspec.Struct, omit_defaults=True, frozen=True):
    """Bytes that could not be recorded; *bytes* is None where nobody knows how many."""

    reason: str
    bytes: int | None = None
    until: datetime | None = None


class Implementation(msgspec.Struct, omit_defaults=True, frozen=True):
    """A client or server as it names itself; unverified."""

    name: str = ""
    version: str = ""


class Event(msgspec.Struct, omit_defaults=True, gc=False):
    """One event.  *call_seq* is the seq of the request that this event answers, continues, cancels or reports on."""

    session_id: str
    seq: int
    at: datetime
    kind: Kind
    direction: Direction | None = None
    method: str | None = None
    target: str | None = None
    request_id: str | None = None
    call_seq: int | None = None
    duration_us: int | None = None
    status: Status | None = None
    error_code: int | None = None
    size_bytes: int | None = None
    reason: str | None = None
    protocol_version: str | None = None
    client: Implementation | None = None
    server: Implementation | None = None
    trace_id: str | None = None
    gap: Gap | None = None
    sha256: str | None = None
    payload_state: str | None = None
    payload: msgspec.Raw | None = None


_encoder = msgspec.json.Encoder()
_decoder = msgspec.json.Decoder(Event)
_PAYLOAD = b',"payload":'  # in no string: the quotes inside strings have a backslash before them


def encode(event: Event) -> bytes:
    """Return the event's wire form, at most 1 MiB: where it would be longer, the payload's longest strings are cut."""
    wire = _encoder.encode(event)
    if len(wire) <= MAX_WIRE_BYTES:
        return wire
    whole = bytes(event.payload or b"")
    event.payload_state = "truncated"
    event.payload = msgspec.Raw(b"0")
    payload = shrink(whole, MAX_WIRE_BYTES - len(_encoder.encode(event)) + 1)
    if payload:
        event.payload = msgspec.Raw(payload)
    else:
        event.payload, event.payload_state = None, "omitted"
        event.sha256 = hashlib.sha256(whole).hexdigest()
    return _encoder.encode(event)


def decode(wire: bytes) -> Event:
    """Return the event of a wire form that `encode` made: the payload comes last, and no parser has to like it.

    (Payloads may hold lone surrogates, or be nested as deeply as msgspec reads them.)
    """
    at = wire.find(_PAYLOAD)
    if at < 0:
        return _decoder.decode(wire)
    event = _decoder.decode(wire[:at] + b"}")
    event.payload = msgspec.Raw(wire[at + len(_PAYLOAD) : -1])
    return event


def chain_hash(previous: bytes, wire: bytes) -> bytes:
    """Return the chain hash of an event: SHA-256(hash of seq − 1 ‖ wire)."""
    return hashlib.sha256(previous + wire).digest()


def at_time(wall_ns: int) -> datetime:
    """Return a wall clock reading as an aware datetime, to the microsecond."""
    return EPOCH + timedelta(microseconds=wall_ns // 1000)


def microseconds(moment: datetime) -> int:
    """Return an aware datetime as microseconds since the epoch, exactly."""
    return (moment - EPOCH) // MICROSECOND


def cut_text(text: str) -> str:
    """Return *text*, at most MAX_TEXT characters of it."""
    return text if len(text) <= MAX_TEXT else text[: MAX_TEXT - 1] + "…"


def excerpt(data: bytes) -> str:
    """Return the beginning of bytes that are no message, safe to print: no control characters, valid text."""
    text = data[: EXCERPT_CHARACTERS * 4].decode("utf-8", "replace").strip()
    safe = "".join(character if character.isprintable() else f"\\x{ord(character):02x}" for character in text)
    return safe if len(safe) <= EXCERPT_CHARACTERS else safe[: EXCERPT_CHARACTERS - 1] + "…"


def shrink(payload: bytes, limit: int) -> bytes:
    """Return JSON of the same shape, its longest strings cut, in at most *limit* bytes; b"" where that cannot be."""
    try:
        value = load_json(payload.decode("utf-8", "replace"))
        if len(_dump(_cut_strings(value, SHORTEST_CUT))) > limit:
            return b""
        longest = len(payload) // 2
        while len(smaller := _dump(_cut_strings(value, longest))) > limit:
            longest = max(SHORTEST_CUT, longest // 2)
    except (ValueError, RecursionError):
        return b""
    return smaller


def _dump(value: object) -> bytes:
    return json.dumps(value, ensure_ascii=False, separators=(",", ":")).encode("utf-8", "replace")


def _cut_strings(value: object, longest: int) -> object:
    if isinstance(value, str):
        return value if len(value) <= longest else f"{value[:longest]}… [{len(value) - longest} characters cut]"
    if isinstance(value, list):
        return [_cut_strings(item, longest) for item in value]
    if isinstance(value, dict):
        return {key: _cut_strings(item, longest) for key, item in value.items()}
    return value
