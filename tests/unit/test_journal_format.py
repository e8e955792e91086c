import pytest
from hypothesis import given
from hypothesis import strategies as st

from kilometers.core import journal

KINDS = [*journal.STREAMS, journal.START, journal.END, journal.END_OF_SEGMENT]
OFFSETS = st.integers(0, 2**64 - 1)
SESSION = bytes(range(16))
Written = tuple[int, int, int, int, int, bytes]

records = st.tuples(
    st.sampled_from(KINDS),
    OFFSETS,
    OFFSETS,
    OFFSETS,
    st.integers(0, len(journal.REASONS) - 1),
    st.binary(max_size=60) | st.just(b"\xabK\x01\x01" * 20),
)
segments = st.lists(records, min_size=1, max_size=6)


def pack(record: Written) -> bytes:
    kind, stream_offset, monotonic_ns, wall_ns, gap_reason, data = record
    buffer = bytearray(journal.HEADER_SIZE) + data
    journal.pack_header_into(
        buffer,
        kind,
        len(data),
        stream_offset=stream_offset,
        monotonic_ns=monotonic_ns,
        wall_ns=wall_ns,
        gap_reason=gap_reason,
        crc=journal.payload_crc(memoryview(data)),
    )
    return bytes(buffer)


def unpacked(record: journal.Record) -> Written:
    return (
        record.kind,
        record.stream_offset,
        record.monotonic_ns,
        record.wall_ns,
        record.gap_reason,
        bytes(record.data),
    )


def read_all(segment: bytes) -> list[Written]:
    """Read as the recorder does: behind damage, on from the next valid record."""
    found: list[Written] = []
    view, at = memoryview(segment), 0
    while at < len(view):
        record = journal.read_record(view, at, at)
        if record is not None:
            found.append(unpacked(record))
            at += record.size
            continue
        next_at = journal.find_record(view, at)
        if next_at is None:
            break
        at = next_at
    return found


@given(segments)
def test_records_read_back_in_any_order(written: list[Written]) -> None:
    assert read_all(b"".join(map(pack, written))) == written


@given(segments, st.data())
def test_segment_cut_anywhere_yields_a_prefix(written: list[Written], data: st.DataObject) -> None:
    whole = b"".join(map(pack, written))
    length = data.draw(st.integers(0, len(whole)))
    ends = [len(b"".join(map(pack, written[:count]))) for count in range(len(written) + 1)]

    assert read_all(whole[:length]) == written[: sum(end <= length for end in ends) - 1]


def test_every_flipped_bit_loses_its_own_record_only() -> None:
    written: list[Written] = [
        (journal.START, 0, 1, 2, 0, b"name=value\0"),
        (journal.CLIENT_TO_SERVER, 5, 3, 4, 1, b"\xabK\x01\x01 question\n"),
        (journal.SERVER_TO_CLIENT, 6, 5, 6, 0, b""),
        (journal.END, 0, 7, 8, 0, b"exit_status=0\0"),
    ]
    packed = [pack(record) for record in written]
    segment = b"".join(packed)
    owners = [number for number, record in enumerate(packed) for _ in record]

    for at, owner in enumerate(owners):
        for bit in range(8):
            damaged = bytearray(segment)
            damaged[at] ^= 1 << bit

            assert read_all(bytes(damaged)) == written[:owner] + written[owner + 1 :]


@given(st.binary(max_size=400))
def test_noise_holds_no_record(noise: bytes) -> None:
    assert journal.find_record(memoryview(noise), -1) is None


@given(segments, st.integers(1, 50))
def test_record_is_found_in_a_part_of_a_segment(written: list[Written], front: int) -> None:
    segment = b"x" * front + pack(written[0])
    part = memoryview(segment)[front - 1 :]

    assert journal.find_record(part, 0) == 1


def test_record_longer_than_any_of_ours_is_invalid() -> None:
    data = bytes(journal.MAX_LENGTH + 1)
    record = journal.pack_record(journal.STDERR, data, stream_offset=0, monotonic_ns=0, wall_ns=0)

    assert journal.read_record(memoryview(record), 0, 0) is None


@given(st.binary(min_size=16, max_size=16), st.integers(0, 2**32 - 1), st.tuples(OFFSETS, OFFSETS, OFFSETS))
def test_page_reads_back(session_id: bytes, number: int, base: tuple[int, int, int]) -> None:
    data = journal.pack_page(session_id, number, base)
    page = journal.read_page(data)

    assert page is not None
    assert len(data) == journal.PAGE_SIZE
    assert (page.format, page.session_id, page.number, page.base) == (journal.FORMAT, session_id, number, base)


def test_torn_page_is_none_until_it_is_whole() -> None:
    data = journal.pack_page(SESSION, 1, (2, 3, 4))
    lengths = [length for length in range(journal.PAGE_SIZE) if journal.read_page(data[:length]) is not None]

    assert lengths == list(range(lengths[0], journal.PAGE_SIZE))
    assert lengths[0] < journal.SLOT_AT


def test_damaged_page_is_none() -> None:
    data = journal.pack_page(SESSION, 1, (2, 3, 4))
    whole = next(length for length in range(journal.PAGE_SIZE) if journal.read_page(data[:length]) is not None)

    for at in range(whole):
        damaged = bytearray(data)
        damaged[at] ^= 0x10
        page = journal.read_page(bytes(damaged))

        assert page is None


@given(st.tuples(OFFSETS, OFFSETS, OFFSETS), OFFSETS, OFFSETS, st.integers(0, 255))
def test_slot_reads_back(offsets: tuple[int, int, int], monotonic_ns: int, wall_ns: int, reason: int) -> None:
    page = bytearray(journal.pack_page(SESSION, 0, (0, 0, 0)))
    slot = journal.pack_slot(journal.Totals(offsets, monotonic_ns, wall_ns, reason))
    page[journal.SLOT_AT : journal.SLOT_AT + len(slot)] = slot
    totals = journal.read_slot(bytes(page))

    assert len(page) == journal.PAGE_SIZE
    assert totals is not None
    assert (totals.offsets, totals.monotonic_ns, totals.wall_ns, totals.reason) == (
        offsets,
        monotonic_ns,
        wall_ns,
        reason,
    )


def test_unwritten_and_damaged_slots_are_none() -> None:
    page = journal.pack_page(SESSION, 0, (0, 0, 0))
    slot = journal.pack_slot(journal.Totals((1, 2, 3), 4, 5, 1))

    assert journal.read_slot(page) is None
    for at in range(len(slot)):
        damaged = bytearray(page)
        damaged[journal.SLOT_AT : journal.SLOT_AT + len(slot)] = slot
        damaged[journal.SLOT_AT + at] ^= 1
        assert journal.read_slot(bytes(damaged)) is None


# What os.fsdecode makes of any bytes but NUL.
file_system_text = st.binary(max_size=20).map(lambda data: data.replace(b"\0", b"").decode("utf-8", "surrogateescape"))


@given(st.lists(st.tuples(st.sampled_from(["argv", "cwd", "name"]), file_system_text), max_size=8))
def test_fields_read_back_in_order(fields: list[tuple[str, str]]) -> None:
    expected: dict[str, list[str]] = {}
    for name, value in fields:
        expected.setdefault(name, []).append(value)

    assert journal.read_fields(journal.pack_fields(fields)) == expected


@given(st.tuples(OFFSETS, OFFSETS, OFFSETS))
def test_totals_read_back(totals: tuple[int, int, int]) -> None:
    fields = journal.pack_fields(journal.pack_totals([0, *totals]))

    assert journal.read_totals(journal.read_fields(fields)) == totals


@pytest.mark.parametrize(
    "fields", [b"", b"exit_status=0\0", b"total.1=1\0total.2=2\0", b"total.1=x\0total.2=2\0total.3=3\0"]
)
def test_missing_or_damaged_totals_are_none(fields: bytes) -> None:
    assert journal.read_totals(journal.read_fields(fields)) is None


def test_reasons_keep_their_numbers() -> None:
    assert journal.REASONS == (
        "damaged",
        "journal_full",
        "journal_error",
        "journal_slow",
        "journal_late",
        "lost_journal",
    )
