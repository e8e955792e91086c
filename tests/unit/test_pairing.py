from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from kilometers.core.event import CLIENT_TO_SERVER, SERVER_TO_CLIENT
from kilometers.core.pairing import (
    LISTEN,
    MAX_CANCELLED_NS,
    MAX_LISTENS,
    MAX_OPEN,
    MAX_OPEN_NS,
    SWEEP_EVERY_NS,
    Call,
    Pairing,
)

HOUR_NS = 3600 * 1_000_000_000
BOOTED_NS = 7 * HOUR_NS + 12_345


def call(seq: int, key: str = "n:1", direction: str = CLIENT_TO_SERVER, after_ns: int = 0, **members: Any) -> Call:
    method = members.pop("method", "tools/call")
    return Call(seq, direction, key, method, BOOTED_NS + after_ns, key[2:], seq, **members)


def opened(*calls: Call) -> Pairing:
    pairing = Pairing()
    for each in calls:
        pairing.open(each)
    return pairing


def seq_of(found: Call | None) -> int | None:
    return None if found is None else found.seq


def answers(pairing: Pairing, *keys: str) -> list[int | None]:
    return [seq_of(pairing.answer(SERVER_TO_CLIENT, key)) for key in keys]


def test_each_direction_has_its_own_ids() -> None:
    pairing = opened(call(0), call(1, direction=SERVER_TO_CLIENT))

    assert seq_of(pairing.answer(CLIENT_TO_SERVER, "n:1")) == 1
    assert seq_of(pairing.answer(SERVER_TO_CLIENT, "n:1")) == 0


def test_answer_of_the_own_side_is_an_orphan() -> None:
    assert opened(call(0)).answer(CLIENT_TO_SERVER, "n:1") is None


def test_answers_come_in_any_order() -> None:
    pairing = opened(call(0, "n:1"), call(1, "n:2"), call(2, "n:3"))

    assert answers(pairing, "n:3", "n:1", "n:2", "n:3") == [2, 0, 1, None]


def test_id_is_free_again_once_answered() -> None:
    pairing = opened(call(0))
    first = answers(pairing, "n:1")
    pairing.open(call(5))

    assert first + answers(pairing, "n:1", "n:1") == [0, 5, None]


def test_duplicate_ids_in_flight_are_answered_first_in_first_out() -> None:
    assert answers(opened(call(0), call(1), call(2)), "n:1", "n:1", "n:1", "n:1") == [0, 1, 2, None]


def test_ids_of_another_type_differ_where_both_are_open() -> None:
    assert answers(opened(call(0, "n:1"), call(1, "s:1")), "s:1", "n:1") == [1, 0]


def test_ids_of_another_type_are_the_same_where_one_is_open() -> None:
    assert answers(opened(call(0, "n:1"), call(1, "s:2")), "s:1", "n:2") == [0, 1]


@pytest.mark.parametrize("key", ["n:0", "s:", "n:-5", "n:9007199254740993"])
def test_ids_that_look_false_or_odd_are_ids(key: str) -> None:
    assert answers(opened(call(0, key)), key) == [0]


def test_answer_without_an_id_is_an_orphan() -> None:
    assert answers(opened(call(0, "s:")), "") == [None]


def test_cancelled_call_waits_for_a_late_answer() -> None:
    pairing = opened(call(0))

    cancelled = pairing.cancel(CLIENT_TO_SERVER, "n:1", BOOTED_NS)

    assert cancelled is not None
    assert cancelled.is_cancelled
    assert answers(pairing, "n:1", "n:1") == [0, None]


def test_cancellation_names_a_request_of_its_own_sender() -> None:
    pairing = opened(call(0))

    assert pairing.cancel(SERVER_TO_CLIENT, "n:1", BOOTED_NS) is None
    assert pairing.cancel(CLIENT_TO_SERVER, "n:2", BOOTED_NS) is None
    assert pairing.cancel(CLIENT_TO_SERVER, "", BOOTED_NS) is None


def test_second_cancellation_names_nothing() -> None:
    pairing = opened(call(0))
    pairing.cancel(CLIENT_TO_SERVER, "n:1", BOOTED_NS)

    assert pairing.cancel(CLIENT_TO_SERVER, "n:1", BOOTED_NS) is None


def test_answer_is_for_the_duplicate_that_was_not_cancelled() -> None:
    pairing = opened(call(0), call(1))
    pairing.cancel(CLIENT_TO_SERVER, "n:1", BOOTED_NS)

    assert answers(pairing, "n:1", "n:1") == [1, 0]


def test_cancelled_duplicates_are_answered_first_in_first_out() -> None:
    pairing = opened(call(0), call(1))
    pairing.cancel(CLIENT_TO_SERVER, "n:1", BOOTED_NS)
    pairing.cancel(CLIENT_TO_SERVER, "n:1", BOOTED_NS)

    assert answers(pairing, "n:1", "n:1") == [0, 1]


@pytest.mark.parametrize("direction", [CLIENT_TO_SERVER, SERVER_TO_CLIENT])
def test_listen_is_ended_by_either_side(direction: str) -> None:
    pairing = opened(call(0, "s:l", method=LISTEN))

    assert seq_of(pairing.cancel(direction, "s:l", BOOTED_NS)) == 0


def test_listen_is_found_by_its_id_and_nothing_else_is() -> None:
    pairing = opened(call(0, "n:1", method=LISTEN), call(1, "n:2"))

    assert [seq_of(pairing.listen(key)) for key in ("n:1", "n:2", "n:3", "")] == [0, None, None, None]


def test_progress_travels_against_its_request() -> None:
    pairing = opened(call(0, token="n:7"), call(1, direction=SERVER_TO_CLIENT, token="n:7"))

    assert seq_of(pairing.progress(SERVER_TO_CLIENT, "n:7")) == 0
    assert seq_of(pairing.progress(CLIENT_TO_SERVER, "n:7")) == 1


def test_progress_tokens_keep_their_type() -> None:
    pairing = opened(call(0, token="n:7"))

    assert pairing.progress(SERVER_TO_CLIENT, "s:7") is None


def test_progress_ends_with_its_call_and_not_with_the_cancellation() -> None:
    pairing = opened(call(0, token="n:7"))
    pairing.cancel(CLIENT_TO_SERVER, "n:1", BOOTED_NS)

    found = pairing.progress(SERVER_TO_CLIENT, "n:7")
    pairing.answer(SERVER_TO_CLIENT, "n:1")

    assert seq_of(found) == 0
    assert pairing.progress(SERVER_TO_CLIENT, "n:7") is None


def test_token_used_twice_is_the_newest_open_call() -> None:
    pairing = opened(call(0, "n:1", token="s:t"), call(1, "n:2", token="s:t"))

    newest = seq_of(pairing.progress(SERVER_TO_CLIENT, "s:t"))
    pairing.answer(SERVER_TO_CLIENT, "n:2")

    assert (newest, seq_of(pairing.progress(SERVER_TO_CLIENT, "s:t"))) == (1, 0)


def test_unanswered_call_expires_after_a_day() -> None:
    pairing = opened(call(0), call(1, "n:2", after_ns=MAX_OPEN_NS - HOUR_NS))

    pairing.open(call(2, "n:3", after_ns=MAX_OPEN_NS + 2 * SWEEP_EVERY_NS))

    assert answers(pairing, "n:1", "n:2", "n:3") == [None, 1, 2]
    assert pairing.unanswered == 1


def test_cancelled_call_expires_ten_minutes_after_its_cancellation() -> None:
    cancelled_ns = 3 * HOUR_NS
    pairing = opened(call(0))
    pairing.cancel(CLIENT_TO_SERVER, "n:1", BOOTED_NS + cancelled_ns)

    pairing.open(call(1, "n:2", after_ns=cancelled_ns + MAX_CANCELLED_NS - SWEEP_EVERY_NS))
    kept = len(pairing)
    pairing.open(call(2, "n:3", after_ns=cancelled_ns + MAX_CANCELLED_NS + 2 * SWEEP_EVERY_NS))

    assert (kept, answers(pairing, "n:1", "n:2")) == (2, [None, 1])
    assert pairing.unanswered == 0


def test_recorder_that_takes_over_between_two_sweeps_forgets_nothing_more() -> None:
    pairing = opened(call(0))
    pairing.cancel(CLIENT_TO_SERVER, "n:1", BOOTED_NS)
    pairing.open(call(1, "n:2", after_ns=MAX_CANCELLED_NS))
    taken_over = Pairing([each for each in pairing.take_changes().values() if each is not None])

    for one in (pairing, taken_over):
        one.open(call(2, "n:3", after_ns=MAX_CANCELLED_NS + 1_000_000_000))

    assert len(pairing) == len(taken_over) == 3


def test_listen_never_expires_while_it_is_open() -> None:
    pairing = opened(call(0, "n:0", method=LISTEN))

    for seq in range(1, MAX_OPEN + 10):
        pairing.open(call(seq, f"n:{seq}", after_ns=seq * HOUR_NS))

    assert seq_of(pairing.listen("n:0")) == 0


def test_cancelled_listen_expires() -> None:
    pairing = opened(call(0, "n:0", method=LISTEN))
    pairing.cancel(CLIENT_TO_SERVER, "n:0", BOOTED_NS)

    pairing.open(call(1, after_ns=HOUR_NS))

    assert pairing.listen("n:0") is None


def test_calls_that_nobody_answers_stay_at_the_cap() -> None:
    pairing = Pairing()

    for seq in range(200_000):
        pairing.open(call(seq, f"n:{seq}", token=f"n:{seq}"))
        pairing.take_changes()

    assert len(pairing) == len(pairing._by_key) == len(pairing._by_token) == MAX_OPEN
    assert pairing.unanswered == 200_000 - MAX_OPEN
    assert answers(pairing, "n:0", "n:199999") == [None, 199_999]


def test_listens_that_nobody_ends_stay_at_their_cap() -> None:
    pairing = Pairing()

    for seq in range(3 * MAX_LISTENS):
        pairing.open(call(seq, f"n:{seq}", method=LISTEN))

    assert len(pairing) == MAX_LISTENS
    assert seq_of(pairing.listen(f"n:{3 * MAX_LISTENS - 1}")) == 3 * MAX_LISTENS - 1


def test_end_of_the_session_leaves_calls_unanswered() -> None:
    pairing = opened(call(0, "n:0"), call(1, "n:1"), call(2, "n:2", method=LISTEN), call(3, "n:3"))
    pairing.cancel(CLIENT_TO_SERVER, "n:1", BOOTED_NS)
    pairing.answer(SERVER_TO_CLIENT, "n:0")

    pairing.finish()

    assert (len(pairing), pairing.unanswered) == (0, 1)


def test_changes_say_what_is_new_and_what_is_gone() -> None:
    pairing = opened(call(0, "n:0"), call(1, "n:1"), call(2, "n:2"))
    first = pairing.take_changes()
    pairing.answer(SERVER_TO_CLIENT, "n:0")
    pairing.cancel(CLIENT_TO_SERVER, "n:1", BOOTED_NS)

    second = pairing.take_changes()

    assert list(first) == [0, 1, 2]
    assert second[0] is None
    assert second[1] is not None
    assert second[1].is_cancelled
    assert list(second) == [0, 1]
    assert pairing.take_changes() == {}


KEYS = st.sampled_from(["n:1", "s:1", "n:2"])
DIRECTIONS = st.sampled_from([CLIENT_TO_SERVER, SERVER_TO_CLIENT])
PASSES = st.sampled_from([0, 1, SWEEP_EVERY_NS - 1, SWEEP_EVERY_NS, 5 * SWEEP_EVERY_NS, HOUR_NS, 12 * HOUR_NS])
moves = st.lists(
    st.tuples(
        st.sampled_from(["open", "open", "listen", "answer", "cancel", "progress"]),
        DIRECTIONS,
        KEYS,
        PASSES,
        st.booleans(),
    ),
    max_size=40,
)


def kept(calls: dict[int, bytes]) -> Pairing:
    return Pairing([msgspec.msgpack.decode(calls[seq], type=Call) for seq in sorted(calls)])


def follow(written: list[Any], *, restarts: bool) -> tuple[list[int | None], int]:
    """Return what each move found and how many stayed unanswered, through a new Pairing wherever a move says so."""
    pairing, found, after_ns, unanswered = Pairing(), [], 0, 0
    calls: dict[int, bytes] = {}
    for seq, (move, direction, key, passed_ns, is_last) in enumerate(written):
        after_ns += passed_ns
        if move in {"open", "listen"}:
            method = LISTEN if move == "listen" else "tools/call"
            pairing.open(call(seq, key, direction, after_ns, token="s:t", method=method))
        elif move == "answer":
            found.append(seq_of(pairing.answer(direction, key)))
        elif move == "cancel":
            found.append(seq_of(pairing.cancel(direction, key, BOOTED_NS + after_ns)))
        else:
            found.append(seq_of(pairing.progress(direction, "s:t")))
        for changed, value in pairing.take_changes().items():
            calls.pop(changed, None)
            if value is not None:
                calls[changed] = msgspec.msgpack.encode(value)
        if restarts and is_last:
            unanswered += pairing.unanswered
            pairing = kept(calls)
    return found, unanswered + pairing.unanswered


@given(moves)
def test_pairing_that_takes_over_finds_the_same(written: list[Any]) -> None:
    assert follow(written, restarts=True) == follow(written, restarts=False)


@given(moves)
def test_nothing_is_answered_twice(written: list[Any]) -> None:
    only_answers = [move for move in written if move[0] not in {"cancel", "progress"}]
    found = [seq for seq in follow(only_answers, restarts=False)[0] if seq is not None]

    assert len(found) == len(set(found))
