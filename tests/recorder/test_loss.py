"""Captured = stored + reported gaps, exactly, whatever is killed when.  Rounds: KM_FAULT_ROUNDS over all cases."""

import os
import random

import pytest

from kilometers.core.event import CLIENT_TO_SERVER, SERVER_TO_CLIENT
from kilometers.faults import POINTS
from recorder.sessions import ONE_READ_BYTES, Client, Recorded, Sessions, assert_equation, wait_until

KILLS = ("recorder", "relay", "both")
# A recorder reaches these once in its life, and this one for every frame.
HIGHEST_COUNT = {"started": 1, "leaving": 1, "frame": 100}
ROUNDS = int(os.environ.get("KM_FAULT_ROUNDS", "25"))
ROUNDS_EACH = max(1, round(ROUNDS / (len(POINTS) + len(KILLS))))


def traffic(client: Client, chance: random.Random, *, first: int, count: int) -> None:
    for number in range(first, first + count):
        client.call(number, size=chance.choice((50, 200, 2_000, 70_000)))


@pytest.mark.fault
@pytest.mark.timeout(1800)
@pytest.mark.parametrize("point", POINTS)
def test_recorder_that_dies_at_a_fault_point_loses_nothing(sessions: Sessions, point: str) -> None:
    for seed in range(ROUNDS_EACH):
        chance = random.Random(f"{point} {seed}")
        clients = [sessions.start() for _ in range(2)]
        traffic(clients[0], chance, first=0, count=20)
        sessions.arm(point, chance.randint(1, HIGHEST_COUNT.get(point, 2)))
        for client in clients:
            traffic(client, chance, first=1000, count=60)
        for client in clients:
            client.wait_for_answers(60)
            traffic(client, chance, first=2000, count=60)
            assert client.end() == 0
        wait_until_fired(sessions)
        assert_equation(sessions.clients, sessions.wait_until_recorded())


def wait_until_fired(sessions: Sessions) -> None:
    """A fault point that was not reached proves nothing: give it sessions until it is."""
    fault = sessions.folder / "fault"
    for _ in range(20):
        try:
            wait_until(lambda: not fault.exists(), 1.5)
        except AssertionError:
            client = sessions.start()
            client.call(1)
            client.wait_for_answers(1)
            client.end()
        else:
            return
    raise AssertionError("the fault point was never reached")


@pytest.mark.fault
@pytest.mark.timeout(1800)
@pytest.mark.parametrize("victim", KILLS)
def test_kill_9_at_a_random_moment_loses_nothing(sessions: Sessions, victim: str) -> None:
    for seed in range(ROUNDS_EACH):
        chance = random.Random(f"{victim} {seed}")
        survivor, victim_client = sessions.start(), sessions.start()
        traffic(survivor, chance, first=0, count=chance.randint(0, 60))
        traffic(victim_client, chance, first=0, count=chance.randint(0, 60))
        if victim in {"relay", "both"}:
            victim_client.kill()
        if victim in {"recorder", "both"}:
            sessions.kill_recorder()
        traffic(survivor, chance, first=1000, count=30)
        assert survivor.end() == 0
        if victim == "recorder":
            assert victim_client.end() == 0
        recorded = sessions.wait_until_recorded()
        if victim == "recorder":
            assert_equation(sessions.clients, recorded)
        else:
            check_killed(sessions, recorded, victim_client)


def check_killed(sessions: Sessions, recorded: dict[str, Recorded], victim: Client) -> None:
    """Of a killed relay at most one read per direction is recorded that did not cross."""
    for one in recorded.values():
        one.check()
    unclean = [one for one in recorded.values() if not one.summary.get("is_clean")]
    killed = [client for client in sessions.clients if client.relay.returncode != 0]
    assert len(unclean) == len(killed)
    newest = max(unclean, key=lambda one: one.id)
    sent, received = newest.captured(CLIENT_TO_SERVER), newest.captured(SERVER_TO_CLIENT)
    assert sent <= victim.written
    assert len(victim.received) <= received <= len(victim.received) + ONE_READ_BYTES
    answered = victim.received.count(b"\n")
    assert sum(event.kind == "request" for event in newest.events) >= answered
