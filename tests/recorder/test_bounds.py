"""What stays bounded, whatever the traffic: memory of relay and recorder, wake-ups, the journal."""

import time
from pathlib import Path

import pytest

from kilometers import locks
from kilometers.segment_files import SESSION_CAP_BYTES
from recorder.sessions import Client, Sessions, assert_equation, request, wait_until

RELAY_PRIVATE_KB = 8_192
RECORDER_PRIVATE_KB = 64_000


def private_kb(pid: int) -> int:
    """Return what a process has for itself: clean pages are of files, and private only while nobody else runs them."""
    lines = Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines()
    return sum(int(line.split()[1]) for line in lines if line.startswith("Private_Dirty"))


@pytest.mark.timeout(300)
def test_memory_stays_flat_over_200000_frames(sessions: Sessions) -> None:
    client = sessions.start(command=["cat"])
    send_frames(client, 0, 20_000)
    recorder = sessions.wait_for_recorder()
    wait_until_read(sessions, 40_000)
    relay_before, recorder_before = private_kb(client.relay.pid), private_kb(recorder)
    send_frames(client, 20_000, 80_000)
    wait_until_read(sessions, 200_000)

    relay_after, recorder_after = private_kb(client.relay.pid), private_kb(recorder)
    client.end()

    assert relay_after <= min(relay_before + 500, RELAY_PRIVATE_KB)
    assert recorder_after <= min(recorder_before * 1.25 + 2_000, RECORDER_PRIVATE_KB)
    assert_equation([client], sessions.wait_until_recorded())


def send_frames(client: Client, first: int, count: int) -> None:
    """Send frames whose answers (cat's echo) come back, not faster than they are recorded."""
    for start in range(first, first + count, 10_000):
        client.write(b"".join(request(number, 100) for number in range(start, start + 10_000)))
        wait_until(lambda: len(client.received) == client.written, 60)


def wait_until_read(sessions: Sessions, events: int) -> None:
    wait_until(lambda: int(sessions.count("SELECT count(*) FROM events")) >= events, 60)


@pytest.mark.timeout(300)
def test_without_a_recorder_the_journal_is_capped_and_the_rest_is_counted(sessions: Sessions) -> None:
    """The lock is held by the test, so no recorder can start until it is let go."""
    lock_fd = sessions.hold_recorder_lock()
    client = sessions.start(command=["cat"])
    client.call(1)
    client.wait_for_answers(1)
    relay_before = private_kb(client.relay.pid)
    for number in range(100):
        client.call(number + 2, size=1_000_000)
    wait_until(lambda: len(client.received) == client.written, 60)

    relay_after = private_kb(client.relay.pid)
    (folder,) = [Path(folder) for folder in sessions.home.ram_folders() if Path(folder).exists()]
    journal_bytes = sum(path.stat().st_size for path in folder.iterdir())
    client.end()
    locks.unlock(lock_fd)
    recorded = sessions.wait_until_recorded()

    assert relay_after <= relay_before + 500
    assert journal_bytes <= SESSION_CAP_BYTES + (1 << 20)
    assert_equation([client], recorded)
    (one,) = recorded.values()
    reasons = {event.gap.reason for event in one.events if event.gap}
    assert reasons == {"journal_full"}


def test_twenty_silent_sessions_wake_nobody(sessions: Sessions) -> None:
    clients = [sessions.start(command=["cat"]) for _ in range(20)]
    for client in clients:
        client.call(1)
        client.wait_for_answers(1)
    recorder = sessions.wait_for_recorder()
    pids = [recorder, *(client.relay.pid for client in clients)]
    wait_until_asleep(pids)
    before = wake_ups(pids)
    time.sleep(3)

    woken = wake_ups(pids) - before

    assert woken / 3 < 5


def wake_ups(pids: list[int]) -> int:
    total = 0
    for pid in pids:
        for status in Path(f"/proc/{pid}/task").glob("*/status"):
            found = next(line for line in status.read_text().splitlines() if line.startswith("voluntary_ctxt"))
            total += int(found.split()[1])
    return total


def wait_until_asleep(pids: list[int]) -> None:
    """Wait for a quarter of a second in which nobody wakes."""

    def is_asleep() -> bool:
        before = wake_ups(pids)
        time.sleep(0.25)
        return wake_ups(pids) == before

    wait_until(is_asleep, 20)
