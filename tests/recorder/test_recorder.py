"""The recorder at work: many sessions, bad journals, bad stores, bad frames."""

import os
import random
import shutil
import signal
import time
from pathlib import Path

import apsw

from kilometers import journal_reader
from kilometers.core import journal
from kilometers.core.event import CLIENT_TO_SERVER, SERVER_TO_CLIENT, decode
from kilometers.core.session import Session, new_state
from kilometers.core.session_id import make_session_id
from recorder.sessions import KM, Recorded, Sessions, assert_equation, events_by_kind, is_gone, wait_until

SESSION_ID = make_session_id(1_700_000_000_000_000_000, bytes(range(10)))


def test_twenty_sessions_share_one_recorder(sessions: Sessions) -> None:
    clients = [sessions.start() for _ in range(20)]
    for client in clients:
        client.call(1)
        client.wait_for_answers(1)

    assert len(recorders(sessions)) == 1

    for client in clients:
        client.end()
    assert_equation(clients, sessions.wait_until_recorded())


RECORDER = b"\0".join(os.fsencode(word) for word in [*KM[-1:], "recorder", ""])


def recorders(sessions: Sessions) -> list[int]:
    mark = f"KILOMETERS_HOME={sessions.folder}".encode()
    found = []
    for entry in Path("/proc").glob("[0-9]*"):
        try:
            if (entry / "cmdline").read_bytes().endswith(RECORDER) and mark in (entry / "environ").read_bytes().split(
                b"\0"
            ):
                found.append(int(entry.name))
        except OSError:
            continue
    return found


def test_recorder_outlives_the_relays_process_group(sessions: Sessions) -> None:
    """A Python SDK client starts the relay in a session of its own and kills that whole."""
    client = sessions.start(start_new_session=True)
    client.call(1)
    client.wait_for_answers(1)
    pid = sessions.wait_for_recorder()
    relays_session = os.getsid(client.relay.pid)

    assert os.getsid(pid) != relays_session
    assert parent(pid) != client.relay.pid
    assert {os.readlink(f"/proc/{pid}/fd/{fd}") for fd in (0, 1, 2)} == {"/dev/null"}
    os.killpg(relays_session, signal.SIGKILL)
    client.kill()
    assert len(sessions.wait_until_recorded()) == 1
    assert not is_gone(pid)


def parent(pid: int) -> int:
    return int(Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[1])


def test_server_that_kills_its_parent_on_a_call_has_that_call_recorded(sessions: Sessions) -> None:
    for number in range(10):
        client = sessions.start()
        client.write(b'{"jsonrpc":"2.0","id":%d,"method":"die"}\n' % number)
        assert client.relay.wait(10) == -signal.SIGKILL
        client.kill()

    recorded = sessions.wait_until_recorded()

    for one in recorded.values():
        assert events_by_kind(one) == {"request": 1}, (one.wires, one.summary)
    assert len(recorded) == 10
    assert not any(one.summary.get("is_clean") for one in recorded.values())


def test_killed_session_is_marked_unclean_and_ended(sessions: Sessions) -> None:
    client = sessions.start()
    client.call(1)
    client.wait_for_answers(1)
    client.kill()

    (one,) = sessions.wait_until_recorded().values()

    assert one.summary["is_clean"] is False
    assert "ended_at" in one.summary
    assert "exit_status" not in one.summary


def write_journal(folder: Path) -> tuple[bytes, int, int]:
    """Write a small finished session; return its segment's bytes and the bytes of both directions."""
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    segment = bytearray(journal.pack_page(bytes.fromhex(SESSION_ID.replace("-", "")), 0, (0, 0, 0)))
    start = journal.pack_fields([("session_id", SESSION_ID), ("name", "x"), ("capture", "full")])
    segment += journal.pack_record(journal.START, start, stream_offset=0, monotonic_ns=1, wall_ns=10**18)
    offsets = [0, 0, 0, 0]
    for number in range(3):
        for kind, frame in (
            (journal.CLIENT_TO_SERVER, b'{"jsonrpc":"2.0","id":%d,"method":"ping"}\n' % number),
            (journal.SERVER_TO_CLIENT, b'{"jsonrpc":"2.0","id":%d,"result":{}}\n' % number),
        ):
            segment += journal.pack_record(
                kind, frame, stream_offset=offsets[kind], monotonic_ns=number + 2, wall_ns=10**18
            )
            offsets[kind] += len(frame)
    end = journal.pack_fields([("exit_status", "0"), *journal.pack_totals(offsets)])
    segment += journal.pack_record(journal.END, end, stream_offset=0, monotonic_ns=9, wall_ns=10**18)
    return bytes(segment), offsets[1], offsets[2]


def record_segment(folder: Path, segment: bytes) -> Recorded:
    """Record one dead segment in this process, as the recorder does, without a store."""
    path = folder / f"{SESSION_ID}.0"
    path.write_bytes(segment)
    reader = journal_reader.JournalReader(SESSION_ID)
    reader.refresh([str(path)])
    session = Session(new_state(SESSION_ID))
    for item in reader.read(is_dead=True):
        if isinstance(item, journal_reader.Lost):
            session.take_totals(item.offsets, (item.reason,) * 3, item.wall_ns)
        else:
            session.take(item)
    reader.close()
    session.finish(10**18)
    rows = session.take_rows()
    wires = [row.wire for row in rows]
    return Recorded({"session_id": SESSION_ID}, [decode(wire) for wire in wires], [row.hash for row in rows], wires)


def test_journal_cut_at_every_byte_gives_a_prefix(tmp_path: Path) -> None:
    segment, sent, received = write_journal(tmp_path)
    kinds = [(event.kind, event.request_id) for event in record_segment(tmp_path, segment).events]
    for length in range(len(segment)):
        one = record_segment(tmp_path, segment[:length])
        one.check()
        seen = [(event.kind, event.request_id) for event in one.events if event.kind in {"request", "response"}]
        assert seen == kinds[: len(seen)]
        assert one.captured(CLIENT_TO_SERVER) <= sent
        assert one.captured(SERVER_TO_CLIENT) <= received


def test_journal_flipped_at_every_byte_loses_count_of_nothing(tmp_path: Path) -> None:
    segment, sent, received = write_journal(tmp_path)
    for at in range(segment.rindex(journal.RECORD_MAGIC)):
        flipped = bytearray(segment)
        flipped[at] ^= 0x55
        one = record_segment(tmp_path, bytes(flipped))
        one.check()
        assert (one.captured(CLIENT_TO_SERVER), one.captured(SERVER_TO_CLIENT)) == (sent, received), at


def test_damaged_store_is_moved_aside_and_said(sessions: Sessions) -> None:
    client = sessions.start()
    client.call(1)
    client.wait_for_answers(1)
    client.end()
    sessions.wait_until_recorded()
    sessions.kill_recorder()
    store = Path(sessions.home.store_file)
    for path in store.parent.glob("store.db*"):
        path.write_bytes(b"this is no database" * 500)

    again = sessions.start()
    again.call(1)
    again.wait_for_answers(1)
    again.end()
    recorded = sessions.wait_until_recorded()

    assert len(recorded) == 1
    assert list(store.parent.glob("store.db.damaged-*"))
    assert b"was moved to" in sessions.km("status").stdout


def test_live_session_goes_on_as_a_new_stream_when_the_store_is_lost(sessions: Sessions) -> None:
    client = sessions.start()
    for number in range(40):
        client.call(number, size=60_000)
    client.wait_for_answers(40)
    wait_until(sessions.recorded, 10)
    original = next(iter(sessions.recorded()))
    wait_until(lambda: len(sessions.recorded()[original].events) == 80, 10)
    sessions.kill_recorder()
    for path in Path(sessions.home.store_file).parent.glob("store.db*"):
        path.unlink()
    wait_until(lambda: sessions.recorder_pid() is not None, 10)
    wait_until(sessions.recorded, 10)

    client.call(100)
    client.wait_for_answers(41)
    client.end()
    (one,) = sessions.wait_until_recorded().values()

    assert one.id != original
    assert one.summary["continues"] == original
    assert one.summary["name"] == client.name
    one.check()
    assert one.events[-2].request_id == one.events[-1].request_id == "100"


def test_newer_store_is_left_alone(sessions: Sessions) -> None:
    client = sessions.start()
    client.call(1)
    client.end()
    sessions.wait_until_recorded()
    sessions.kill_recorder()
    connection = apsw.Connection(sessions.home.store_file)
    connection.pragma("user_version", 99)
    connection.close()
    before = Path(sessions.home.store_file).read_bytes()

    again = sessions.start()
    again.call(1)
    again.wait_for_answers(1)

    assert again.end() == 0
    shown = sessions.km("sessions")
    assert shown.returncode == 1
    assert b"newer km" in shown.stderr
    assert Path(sessions.home.store_file).read_bytes() == before
    assert [path.suffix for folder in sessions.home.ram_folders() for path in sorted(Path(folder).glob("*"))] == [
        ".0",
        ".lock",
    ]


def test_frame_that_crashes_the_recorder_is_recorded_as_such(sessions: Sessions) -> None:
    """A frame over 64 KB is noted before it is read; the recorder dies there, and the next one passes it over."""
    client = sessions.start()
    sessions.wait_for_recorder()
    sessions.arm("noted")
    client.call(1, size=100_000)
    client.wait_for_answers(1)
    client.end()

    (one,) = sessions.wait_until_recorded().values()

    (poison,) = [event for event in one.events if event.kind == "undecodable"]
    assert (poison.reason, poison.size_bytes, poison.payload) == ("crashed_recorder", client.written, None)
    assert one.captured(SERVER_TO_CLIENT) == len(client.received)


def test_folder_that_is_removed_under_a_living_relay_costs_an_exact_gap(sessions: Sessions) -> None:
    client = sessions.start()
    client.call(1)
    client.wait_for_answers(1)
    sessions.wait_for_recorder()
    wait_until(sessions.recorded, 10)
    for folder in sessions.home.ram_folders():
        shutil.rmtree(folder, ignore_errors=True)
    for number in range(2, 150):
        client.call(number)
        client.wait_for_answers(number)
        if number % 50 == 0:
            wait_until_a_second_has_passed()
    client.end()

    recorded = sessions.wait_until_recorded()

    sent = sum(one.captured(CLIENT_TO_SERVER) for one in recorded.values())
    received = sum(one.captured(SERVER_TO_CLIENT) for one in recorded.values())
    assert (sent, received) == (client.written, len(client.received))


def wait_until_a_second_has_passed() -> None:

    until_s = time.monotonic() + 1.1
    wait_until(lambda: time.monotonic() > until_s, 5)


def test_marker_without_a_journal_is_a_lost_journal(sessions: Sessions) -> None:
    os.makedirs(sessions.home.journal_folder, exist_ok=True)
    Path(sessions.home.journal_folder, SESSION_ID).touch()

    (one,) = sessions.wait_until_recorded().values()

    assert [event.kind for event in one.events] == ["gap"]
    assert one.events[0].gap is not None
    assert one.events[0].gap.reason == "lost_journal"


def test_recorder_keeps_its_memory_within_bounds(sessions: Sessions) -> None:
    client = sessions.start(command=["cat"])
    chance = random.Random(1)
    noise = bytes(chance.randrange(32, 127) for _ in range(100_000)).replace(b"\n", b" ")
    for _ in range(300):
        client.write(noise)
    client.write(b"\n")
    for number in range(20_000):
        client.call(number, size=200)
    wait_until(lambda: len(client.received) == client.written, 60)
    pid = sessions.wait_for_recorder()

    peak_kb = int(
        next(line for line in Path(f"/proc/{pid}/status").read_text().splitlines() if "VmHWM" in line).split()[1]
    )
    client.end()
    assert_equation([client], sessions.wait_until_recorded())
    # Of a frame of 30 MB, whose facts are not read any more, nothing is held beyond 16 MB.
    assert peak_kb < 100_000
