r"""Journal segments: the raw capture of one session, as files `<session_id>.<number>`.

    segment := page · record*
    page    := 4096 bytes: magic "KMJ1" · format:u16 · session_id:16s · number:u32 · base offsets:3×u64 · crc32:u32,
               and at 2048 the slot: magic "KS" · reason:u8 · totals:3×u64 · monotonic_ns:u64 · wall_ns:u64 · crc32:u32
    record  := magic "\xabK" · version:u8 · kind:u8 · length:u32 · stream_offset:u64 · monotonic_ns:u64 · wall_ns:u64
               · gap_reason:u8 · 3 zero bytes · crc32:u32 · bytes[length]

Little-endian; the CRC covers the bytes, then the header before it.  Kinds 1–3 are the streams (client_to_server,
server_to_client, stderr); a stream record without bytes is that stream's end of file.  Kinds 16–18 are start, end and
end of segment; their bytes are fields (`name=value` NUL …).  Every segment begins with
`start`, so one that is left alone tells its session.

Invariants: stream_offset is the number of bytes of this stream that the relay read before these.  What is missing
between two records is a gap; it is computed, never written (gap_reason says why, where the relay knew).  A segment's
base offsets and the totals of `end`, `end of segment` and the slot say the same for what came before them, so even a
relay that is killed while its appends fail leaves an exact gap.  A torn last record is normal.

Written by segment_files.py, read by journal_reader.py.  A change of any of this is a new FORMAT.
"""

import struct
import zlib

FORMAT = 1
RECORD_VERSION = 1
PAGE_SIZE = 4096
SLOT_AT = 2048

CLIENT_TO_SERVER = 1
SERVER_TO_CLIENT = 2
STDERR = 3
STREAMS = (CLIENT_TO_SERVER, SERVER_TO_CLIENT, STDERR)
START = 16
END = 17
END_OF_SEGMENT = 18

# Why bytes are missing before a record.  Written as numbers, so only ever added to.
REASONS = ("damaged", "journal_full", "journal_error", "journal_slow", "journal_late", "lost_journal")
DAMAGED, JOURNAL_FULL, JOURNAL_ERROR, JOURNAL_SLOW, JOURNAL_LATE, LOST_JOURNAL = range(len(REASONS))

_HEADER = struct.Struct("<2sBBIQQQB3x")
_CRC = struct.Struct("<I")
_PAGE = struct.Struct("<4sH2x16sI3Q")
_SLOT = struct.Struct("<2sB5x3QQQ")
HEADER_SIZE = _HEADER.size + _CRC.size
RECORD_MAGIC = b"\xabK"
# Longer is no record of ours: what a relay reads at once is 256 KiB, and argv fits into 2 MB on every OS.
MAX_LENGTH = 4 * 1024 * 1024


class Record:
    """One valid record; *data* is a view into the segment's bytes, *position* where it starts in the segment."""

    __slots__ = ("data", "gap_reason", "kind", "monotonic_ns", "position", "size", "stream_offset", "wall_ns")

    def __init__(
        self,
        kind: int,
        stream_offset: int,
        monotonic_ns: int,
        wall_ns: int,
        gap_reason: int,
        data: memoryview,
        position: int,
    ) -> None:
        self.kind = kind
        self.stream_offset = stream_offset
        self.monotonic_ns = monotonic_ns
        self.wall_ns = wall_ns
        self.gap_reason = gap_reason
        self.data = data
        self.position = position
        self.size = HEADER_SIZE + len(data)


class Totals:
    """How many bytes of each stream the relay had read at one moment, and why the last of them are missing."""

    __slots__ = ("monotonic_ns", "offsets", "reason", "wall_ns")

    def __init__(self, offsets: tuple[int, int, int], monotonic_ns: int, wall_ns: int, reason: int) -> None:
        self.offsets = offsets
        self.monotonic_ns = monotonic_ns
        self.wall_ns = wall_ns
        self.reason = reason


class Page:
    """A segment's first page."""

    __slots__ = ("base", "format", "number", "session_id")

    def __init__(self, format: int, session_id: bytes, number: int, base: tuple[int, int, int]) -> None:
        self.format = format
        self.session_id = session_id
        self.number = number
        self.base = base


def payload_crc(data: memoryview) -> int:
    """Return the first half of a record's CRC; it needs no lock."""
    return zlib.crc32(data)


def pack_header_into(
    buffer: bytearray,
    kind: int,
    length: int,
    *,
    stream_offset: int,
    monotonic_ns: int,
    wall_ns: int,
    gap_reason: int,
    crc: int,
) -> None:
    """Write the header of a record whose *length* bytes, of payload CRC *crc*, follow it in *buffer*."""
    _HEADER.pack_into(
        buffer, 0, RECORD_MAGIC, RECORD_VERSION, kind, length, stream_offset, monotonic_ns, wall_ns, gap_reason
    )
    with memoryview(buffer) as view:
        _CRC.pack_into(buffer, _HEADER.size, zlib.crc32(view[: _HEADER.size], crc))


def pack_record(kind: int, data: bytes, *, stream_offset: int, monotonic_ns: int, wall_ns: int) -> bytearray:
    """Return a whole record."""
    buffer = bytearray(HEADER_SIZE) + data
    pack_header_into(
        buffer,
        kind,
        len(data),
        stream_offset=stream_offset,
        monotonic_ns=monotonic_ns,
        wall_ns=wall_ns,
        gap_reason=0,
        crc=zlib.crc32(data),
    )
    return buffer


def pack_page(session_id: bytes, number: int, base: tuple[int, int, int]) -> bytes:
    """Return a segment's first page, its slot empty."""
    page = _PAGE.pack(b"KMJ1", FORMAT, session_id, number, *base)
    return (page + _CRC.pack(zlib.crc32(page))).ljust(PAGE_SIZE, b"\0")


def pack_slot(totals: Totals) -> bytes:
    """Return the slot that is written at SLOT_AT while appends fail."""
    slot = _SLOT.pack(b"KS", totals.reason, *totals.offsets, totals.monotonic_ns, totals.wall_ns)
    return slot + _CRC.pack(zlib.crc32(slot))


def read_page(data: bytes) -> Page | None:
    """Return the page, or None where it is damaged or not yet whole.  A newer format is returned as it is."""
    if len(data) < _PAGE.size + _CRC.size:
        return None
    magic, written_format, session_id, number, *base = _PAGE.unpack_from(data)
    if magic != b"KMJ1" or _CRC.unpack_from(data, _PAGE.size)[0] != zlib.crc32(data[: _PAGE.size]):
        return None
    return Page(written_format, session_id, number, (base[0], base[1], base[2]))


def read_slot(page: bytes) -> Totals | None:
    """Return the slot's totals, or None where it was never written or is damaged."""
    data = page[SLOT_AT : SLOT_AT + _SLOT.size + _CRC.size]
    if len(data) < _SLOT.size + _CRC.size:
        return None
    magic, reason, *offsets, monotonic_ns, wall_ns = _SLOT.unpack_from(data)
    if magic != b"KS" or _CRC.unpack_from(data, _SLOT.size)[0] != zlib.crc32(data[: _SLOT.size]):
        return None
    return Totals((offsets[0], offsets[1], offsets[2]), monotonic_ns, wall_ns, reason)


def read_record(view: memoryview, at: int, position: int) -> Record | None:
    """Return the record at *at* of *view* if it lies inside it and its CRC holds; *position* is kept in the record."""
    if len(view) - at < HEADER_SIZE:
        return None
    magic, version, kind, length, stream_offset, monotonic_ns, wall_ns, gap_reason = _HEADER.unpack_from(view, at)
    end = at + HEADER_SIZE + length
    if magic != RECORD_MAGIC or version != RECORD_VERSION or length > MAX_LENGTH or end > len(view):
        return None
    data = view[at + HEADER_SIZE : end]
    (crc,) = _CRC.unpack_from(view, at + _HEADER.size)
    if crc != zlib.crc32(view[at : at + _HEADER.size], zlib.crc32(data)):
        return None
    return Record(kind, stream_offset, monotonic_ns, wall_ns, gap_reason, data, position)


def read_claim(view: memoryview) -> tuple[int, int, int] | None:
    """Return (kind, end offset of the stream, wall_ns) that a torn or damaged record's header claims, if it is one."""
    if len(view) < HEADER_SIZE:
        return None
    magic, version, kind, length, stream_offset, _, wall_ns, _ = _HEADER.unpack_from(view, 0)
    if magic != RECORD_MAGIC or version != RECORD_VERSION or kind not in STREAMS or length > MAX_LENGTH:
        return None
    return kind, stream_offset + length, wall_ns


def is_unfinished(view: memoryview) -> bool:
    """Whether *view* begins with the header of a record that reaches beyond its end."""
    if len(view) < HEADER_SIZE:
        return True
    magic, version, _, length, *_ = _HEADER.unpack_from(view, 0)
    return bool(magic == RECORD_MAGIC and version == RECORD_VERSION and HEADER_SIZE + length > len(view))


def find_record(view: memoryview, at: int) -> int | None:
    """Return where the first valid record after *at* starts, or None: how reading goes on behind damage."""
    data = view.obj if isinstance(view.obj, bytes) and len(view.obj) == len(view) else bytes(view)
    while True:
        at = data.find(RECORD_MAGIC, at + 1)
        if at < 0:
            return None
        if read_record(view, at, 0) is not None:
            return at


def pack_fields(fields: list[tuple[str, str]]) -> bytes:
    """Return `name=value` NUL …; a name may come more than once.  Values are file-system text: any byte but NUL."""
    return b"".join(f"{name}={value}\0".encode("utf-8", "surrogateescape") for name, value in fields)


def read_fields(data: bytes) -> dict[str, list[str]]:
    """Return the values of each name, in order."""
    fields: dict[str, list[str]] = {}
    for entry in data.decode("utf-8", "surrogateescape").split("\0"):
        name, separator, value = entry.partition("=")
        if separator:
            fields.setdefault(name, []).append(value)
    return fields


def pack_totals(offsets: list[int], reasons: list[int] | None = None) -> list[tuple[str, str]]:
    """Return the streams' totals as fields of `end` and `end of segment`, and why the last bytes are missing if so."""
    totals = [(f"total.{stream}", str(offsets[stream])) for stream in STREAMS]
    return totals + [(f"reason.{stream}", str(reasons[stream])) for stream in STREAMS if reasons and reasons[stream]]


def read_totals(fields: dict[str, list[str]]) -> tuple[int, int, int] | None:
    """Return the totals that `pack_totals` wrote, or None where there are none."""
    first, second, third = (read_number(fields, f"total.{stream}") for stream in STREAMS)
    return None if first is None or second is None or third is None else (first, second, third)


def read_reasons(fields: dict[str, list[str]]) -> tuple[int, int, int]:
    """Return the reasons that `pack_totals` wrote: DAMAGED where the relay knew none."""
    first, second, third = (read_number(fields, f"reason.{stream}") or DAMAGED for stream in STREAMS)
    return first, second, third


def read_number(fields: dict[str, list[str]], name: str) -> int | None:
    """Return a field that is a whole number, or None."""
    text = fields.get(name, [""])[0]
    return int(text) if text.isascii() and text.isdigit() else None
