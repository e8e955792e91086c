"""Frames: from the bytes of a stream to JSON-RPC messages.

    bytes ──FrameSplitter──▶ frames (a line each, with its size) ──read_frame──▶ Message | Batch | Undecodable

A frame ends with LF.  Blank lines before a frame count to it.  A frame over MAX_FRAME_BYTES is not held: its bytes are
counted (`skipped`) and it is undecodable.  All that comes from the wire may be anything; nothing here raises.
Source: the MCP specification's stdio transport, JSON-RPC 2.0, and what real SDKs send.
"""

import hashlib
import json
import math
from typing import Literal

import msgspec

MAX_FRAME_BYTES = 16 << 20
# Up to here a payload is kept, and what msgspec refuses is read again by a parser that takes 20 times the frame's size.
MAX_PAYLOAD_BYTES = 1 << 20
MAX_BATCH_ITEMS = 1000
MAX_BLANK_BYTES = 64 << 10
MAX_LOG_BYTES = 64 << 10
MAX_KEY_BYTES = 256  # of an id as it is; longer ones are told apart by their digest
BOM = b"\xef\xbb\xbf"
BLANK = b" \t\r"
LF = 0x0A

ABSENT = msgspec.Raw()
MessageKind = Literal["request", "response", "error", "notification"]

OVERSIZED = "oversized"
BLANK_LINES = "blank"
TORN = "torn"


class Frame(msgspec.Struct, gc=False):
    """*data* without line end; *size_bytes* with line end and blank lines before; *problem* if it cannot be whole."""

    data: bytes
    size_bytes: int
    stream_offset: int
    problem: str = ""


class FrameSplitter:
    """Splits one stream.  State to keep: `consumed`, the offset of the first byte in no frame yet, and `skipped`."""

    def __init__(self, consumed: int = 0, skipped: int = 0, *, max_bytes: int = MAX_FRAME_BYTES) -> None:
        self.consumed = consumed
        self.skipped = skipped
        self.max_bytes = max_bytes
        self._parts = bytearray()
        self._held_bytes = 0
        self._blank_bytes = 0

    @property
    def read_through(self) -> int:
        """The stream offset of the next byte to feed."""
        return self.consumed + self._held_bytes + self._blank_bytes

    @property
    def held_bytes(self) -> int:
        """How much of a frame that has not ended is in memory."""
        return self._held_bytes

    def let_go(self) -> None:
        """Only count the frame that has not ended, as if it were too large: others need the memory."""
        if self._held_bytes:
            self._skip_held()

    def feed(self, data: bytes) -> list[Frame]:
        """Return the frames that end in *data*."""
        lines = data.split(b"\n")
        rest = lines.pop()
        frames: list[Frame] = []
        for line in lines:
            self._end_line(line, frames)
        if rest:
            self._hold(rest)
        return frames

    def flush(self, problem: str) -> list[Frame]:
        """Return what is held at the end of the stream or before a gap: at most one frame."""
        size_bytes = self._held_bytes + self._blank_bytes + self.skipped
        if not size_bytes:
            return []
        data = bytes(self._parts)
        if self.skipped:
            problem = OVERSIZED
        elif not data.strip(BLANK):
            problem = BLANK_LINES
        frame = Frame(data, size_bytes, self.consumed - self.skipped, problem)
        self._begin_after(self.read_through)
        return [frame]

    def jump(self, offset: int) -> None:
        """Go on at *offset*, behind a gap; nothing may be held."""
        self.consumed = offset

    def _end_line(self, line: bytes, frames: list[Frame]) -> None:
        if self._parts or self.skipped:
            self._hold(line)
            line = bytes(self._parts)
        else:
            self._held_bytes = len(line)
        is_oversized = self.skipped > 0 or self._held_bytes > self.max_bytes
        if not is_oversized and not line.strip(BLANK):
            self._blank_bytes += self._held_bytes + 1
            self._parts, self._held_bytes = bytearray(), 0
            if self._blank_bytes > MAX_BLANK_BYTES:
                frames += self.flush(BLANK_LINES)
            return
        size_bytes = self._blank_bytes + self._held_bytes + self.skipped + 1
        start = self.consumed - self.skipped
        frames.append(Frame(b"" if is_oversized else line, size_bytes, start, OVERSIZED if is_oversized else ""))
        self._begin_after(self.read_through + 1)

    def _hold(self, data: bytes) -> None:
        self._held_bytes += len(data)
        if self.skipped or self._held_bytes > self.max_bytes:
            self._skip_held()
        else:
            self._parts += data

    def _skip_held(self) -> None:
        self.skipped += self._held_bytes + self._blank_bytes
        self.consumed = self.read_through
        self._parts, self._held_bytes, self._blank_bytes = bytearray(), 0, 0

    def _begin_after(self, offset: int) -> None:
        self.consumed, self.skipped = offset, 0
        self._parts, self._held_bytes, self._blank_bytes = bytearray(), 0, 0


class LineSplitter(FrameSplitter):
    """Splits stderr: a line is a frame, blank or not, and a longer one is cut into pieces of MAX_LOG_BYTES."""

    def feed(self, data: bytes) -> list[Frame]:
        """Return the lines, and pieces of lines, that end in *data*."""
        frames: list[Frame] = []
        for line in _lines(data):
            at = 0
            while at < len(line):
                if self._held_bytes >= MAX_LOG_BYTES and line[at] != LF:
                    frames += self.flush("")
                piece = line[at : at + max(1, MAX_LOG_BYTES - self._held_bytes)]
                at += len(piece)
                self._parts += piece
                self._held_bytes += len(piece)
                if piece[-1] == LF:
                    frames += self.flush("")
        return frames

    def flush(self, problem: str) -> list[Frame]:
        """Return what is held: at most one frame."""
        if not self._held_bytes:
            return []
        frame = Frame(bytes(self._parts).rstrip(b"\r\n"), self._held_bytes, self.consumed, problem)
        self._begin_after(self.read_through)
        return [frame]


def _lines(data: bytes) -> list[bytes]:
    """Split after LF only; bytes.splitlines would split at a bare CR too."""
    lines = [line + b"\n" for line in data.split(b"\n")]
    lines[-1] = lines[-1][:-1]
    return lines


class Undecodable(msgspec.Struct, gc=False):
    """What is no message, and why."""

    reason: str


class Message(msgspec.Struct, gc=False):
    """One JSON-RPC message.  *key* identifies its id (see `id_key`); *payload* is the message as JSON in UTF-8."""

    kind: MessageKind
    payload: bytes
    is_exact: bool
    method: str = ""
    id_text: str = ""
    key: str = ""
    params: msgspec.Raw = ABSENT
    result: msgspec.Raw = ABSENT
    error: msgspec.Raw = ABSENT


class Batch(msgspec.Struct, gc=False):
    """A JSON array of messages, which only revision 2025-03-26 allows and every SDK drops."""

    items: list[bytes]


class _Envelope(msgspec.Struct, gc=False):
    id: msgspec.Raw = ABSENT
    method: msgspec.Raw = ABSENT
    params: msgspec.Raw = ABSENT
    result: msgspec.Raw = ABSENT
    error: msgspec.Raw = ABSENT


_envelopes = msgspec.json.Decoder(_Envelope)
_lists = msgspec.json.Decoder(list[msgspec.Raw])
_texts = msgspec.json.Decoder(str)


def read_frame(data: bytes) -> Message | Batch | Undecodable:
    """Read one frame, whatever it is."""
    data = data.removeprefix(BOM)
    try:
        if data.lstrip(BLANK).startswith(b"["):
            return _batch(_lists.decode(data) if len(data) <= MAX_PAYLOAD_BYTES else None)
        return _message(_envelopes.decode(data), data.strip(BLANK), is_exact=True)
    except msgspec.ValidationError:
        return Undecodable("not_jsonrpc")
    except (msgspec.DecodeError, UnicodeDecodeError):
        return _read_leniently(data) if len(data) <= MAX_PAYLOAD_BYTES else Undecodable("not_json")
    except RecursionError:
        return Undecodable("too_deep")


def _read_leniently(data: bytes) -> Message | Batch | Undecodable:
    """Read what msgspec refuses and SDKs accept: lone surrogates, NaN, invalid UTF-8."""
    try:
        value = load_json(data.decode("utf-8", "replace"))
        if isinstance(value, list):
            return _batch([msgspec.Raw(json.dumps(item).encode()) for item in value])
        # The facts are read from a copy without lone surrogates; the payload keeps them as escapes.
        facts = json.dumps(value, ensure_ascii=False).encode("utf-8", "replace")
        return _message(_envelopes.decode(facts), json.dumps(value).encode(), is_exact=False)
    except msgspec.ValidationError:
        return Undecodable("not_jsonrpc")
    except RecursionError:
        return Undecodable("too_deep")
    except ValueError:
        return Undecodable("not_json")


def load_json(text: str) -> object:
    """Return the value of JSON as Python's parser reads it, so that `json.dumps` of it is JSON again.

    NaN, Infinity and numbers that a float cannot hold become strings.  Raises ValueError and RecursionError.
    """
    return json.loads(text, parse_constant=str, parse_float=_finite)


def _finite(text: str) -> float | str:
    number = float(text)
    return number if math.isfinite(number) else text


def _batch(items: list[msgspec.Raw] | None) -> Batch | Undecodable:
    if items is None or len(items) > MAX_BATCH_ITEMS:
        return Undecodable("batch_too_large")
    return Batch([bytes(item) for item in items])


def _message(envelope: _Envelope, payload: bytes, *, is_exact: bool) -> Message | Undecodable:
    if is_exact and len(payload) <= MAX_PAYLOAD_BYTES and not payload.isascii():
        payload.decode()  # raises UnicodeDecodeError, which leads to _read_leniently
    has_id = envelope.id is not ABSENT
    key = id_key(bytes(envelope.id)) if has_id else ""
    if envelope.method is not ABSENT:
        method = text_of(envelope.method)
        if method is None or (has_id and not key):
            return Undecodable("invalid_request")
        kind: MessageKind = "request" if has_id else "notification"
        return Message(kind, payload, is_exact, method, text_of_id(envelope.id), key, params=envelope.params)
    # Libraries of JSON-RPC 1.0 send both members, one of them null.
    if envelope.error is not ABSENT and (envelope.result is ABSENT or bytes(envelope.error) != b"null"):
        return Message("error", payload, is_exact, "", text_of_id(envelope.id), key, error=envelope.error)
    if envelope.result is not ABSENT and key:
        return Message("response", payload, is_exact, "", text_of_id(envelope.id), key, result=envelope.result)
    return Undecodable("not_jsonrpc")


def id_key(raw: bytes) -> str:
    """Return what identifies an id: its type and value, so `1` and `"1"` differ and `1` and `1.0` do not; "" if none.

    An id is a string or an integer; null, booleans, 1.5 and containers are no ids.
    """
    if len(raw) > MAX_KEY_BYTES:
        return "" if raw[:1] in {b"[", b"{"} else "h:" + hashlib.sha256(raw).hexdigest()
    if raw.startswith(b'"'):
        text = text_of(msgspec.Raw(raw))
        return "" if text is None else "s:" + text
    try:
        return f"n:{int(raw)}"
    except ValueError:
        pass
    try:
        number = float(raw)
        return f"n:{int(number)}" if number.is_integer() else ""
    except (ValueError, OverflowError):
        return ""


def other_key(key: str) -> str:
    """Return the key of the id that SDKs take for the same: "1" for 1 and the other way round."""
    return ("n:" if key.startswith("s:") else "s:") + key[2:]


def text_of_id(raw: msgspec.Raw) -> str:
    """Return an id as JSON text; "" where there is none."""
    return bytes(raw).decode("utf-8", "replace") if raw is not ABSENT else ""


def text_of(raw: msgspec.Raw) -> str | None:
    """Return a JSON string's value, or None for anything else."""
    if raw is ABSENT:
        return None
    try:
        return _texts.decode(raw)
    except (msgspec.MsgspecError, UnicodeDecodeError):
        return None
