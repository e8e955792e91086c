"""Captured = stored + reported gaps, exactly, whatever is killed when.  Rounds: KM_FAULT_ROUNDS over all cases."""

import os
import random

import pytest

from kilometers.core.event import CLIENT_TO_SERVER, SERVER_TO_CLIENT
from kilometers.faults import POINTS
from recorder.sessions import ONE_READ_BYTES, Client, Recorded, Sessions, assert_equation, find_recorded, wait_until

KILLS = ("recorder", "relay", "both")
# A recorder reaches the first two once in its life, and the others for every frame.
HIGHEST_COUNT = {"started": 1, "leaving": 1, "frame": 100, "noted": 100}
ROUNDS = int(os.environ.get("KM_FAULT_ROUNDS", "25"))
ROUNDS_EACH = -(-ROUNDS // (len(POINTS) + len(KILLS)))  # rounded up: no case without one


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
        ended_by_themselves = [client for client in sessions.clients if client.relay.returncode == 0]
        check_killed([client for client in sessions.clients if client.relay.returncode != 0], recorded)
        assert_equation(ended_by_themselves, {one.id: one for one in recorded.values() if one.summary["is_clean"]})


def check_killed(killed: list[Client], recorded: dict[str, Recorded]) -> None:
    """Of a killed relay at most one read per direction is recorded that did not cross."""
    for client in killed:
        one = find_recorded(client, recorded)
        if one is None:  # killed before it had a journal, so before anything crossed
            assert not client.received
            assert not client.read_by_server()
            continue
        one.check()
        assert one.summary["is_clean"] is False
        assert client.read_by_server() <= one.captured(CLIENT_TO_SERVER) <= client.written
        assert len(client.received) <= one.captured(SERVER_TO_CLIENT) <= len(client.received) + ONE_READ_BYTES
        assert sum(event.kind == "request" for event in one.events) >= client.received.count(b"\n")
