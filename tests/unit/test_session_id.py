import uuid

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kilometers.core.session_id import is_session_id, make_session_id

WALL_NS = st.integers(0, 2**48 * 1_000_000 - 1)
RANDOM = st.binary(min_size=10, max_size=10)


@given(WALL_NS, RANDOM)
def test_session_id_is_a_uuid_version_7(wall_ns: int, random: bytes) -> None:
    text = make_session_id(wall_ns, random)
    parsed = uuid.UUID(text)

    assert str(parsed) == text
    assert parsed.version == 7
    assert parsed.variant == uuid.RFC_4122
    assert is_session_id(text)


def test_session_id_is_the_standards_own_example() -> None:
    # RFC 9562, appendix A.6
    random = bytes.fromhex("0cc3") + bytes.fromhex("18c4dc0c0c07398f")

    assert make_session_id(0x017F22E279B0 * 1_000_000, random) == "017f22e2-79b0-7cc3-98c4-dc0c0c07398f"


@given(WALL_NS, WALL_NS, RANDOM, RANDOM)
def test_session_ids_sort_by_millisecond(one_ns: int, other_ns: int, one: bytes, other: bytes) -> None:
    ids = make_session_id(one_ns, one), make_session_id(other_ns, other)

    if one_ns // 1_000_000 < other_ns // 1_000_000:
        assert ids[0] < ids[1]


@given(RANDOM, RANDOM)
def test_session_ids_of_one_millisecond_differ_by_their_random_bits(one: bytes, other: bytes) -> None:
    kept = [(int.from_bytes(random) & ~(0xF << 76) & ~(0x3 << 62)) for random in (one, other)]

    assert (make_session_id(0, one) == make_session_id(0, other)) == (kept[0] == kept[1])


@pytest.mark.parametrize(
    "text",
    ["", "017f22e2", "017f22e279b07cc398c4dc0c0c07398f", "017F22E2-79B0-7CC3-98C4-DC0C0C07398F", "g" * 36, "-" * 36],
)
def test_other_text_is_no_session_id(text: str) -> None:
    assert not is_session_id(text)
