"""The relay's pieces over real pipes; whole sessions are in tests/relay."""

import io
import os
import signal
import socket
import threading
import time
from collections.abc import Iterator

import pytest

from kilometers import child
from kilometers.core import journal
from kilometers.doorbell import PUMP_ENDED, Doorbell
from kilometers.journal_writer import Journal
from kilometers.relay import (
    DRAIN_IDLE_S,
    DRAIN_MAX_S,
    DRAIN_START_S,
    SIGNAL_DELAY_S,
    Pump,
    Relay,
    as_signed,
    read_into,
    write_all,
)
from relay.wrapped import wait_until

SAME_THREAD_S = 0.05


class Pumped:
    """A pump between two pipes, whose ends the test holds."""

    def __init__(self) -> None:
        source_fd, self.write_fd = os.pipe()
        self.read_fd, sink_fd = os.pipe()
        self.doorbell = Doorbell()
        self.journal = Journal()
        self.pump = Pump(journal.SERVER_TO_CLIENT, source_fd, sink_fd, self.journal, self.doorbell)
        self.pump.start()

    def end(self) -> None:
        for fd in (self.write_fd, self.read_fd):
            try:
                os.close(fd)
            except OSError:
                pass
        self.doorbell.wait(float("inf"))
        self.doorbell.close()


@pytest.fixture
def pumped() -> Iterator[Pumped]:
    pumped = Pumped()
    yield pumped
    pumped.end()


def test_pump_passes_on_what_arrives_and_counts_it(pumped: Pumped) -> None:
    os.write(pumped.write_fd, b"no newline")

    assert os.read(pumped.read_fd, 100) == b"no newline"
    assert pumped.journal.offsets == [0, 0, 10, 0]


def test_pump_closes_its_sink_at_the_end_of_its_source(pumped: Pumped) -> None:
    os.close(pumped.write_fd)

    assert os.read(pumped.read_fd, 100) == b""
    wait_until(lambda: pumped.pump.has_ended, "the pump's end")


def test_pump_closes_its_source_once_nobody_reads(pumped: Pumped) -> None:
    os.close(pumped.read_fd)
    os.write(pumped.write_fd, b"x")
    wait_until(lambda: pumped.pump.has_ended, "the pump's end")

    with pytest.raises(BrokenPipeError):
        os.write(pumped.write_fd, b"x")


def test_pump_rings_once_it_has_ended(pumped: Pumped) -> None:
    os.close(pumped.write_fd)
    rung = pumped.doorbell.wait(10.0)
    pumped.doorbell.ring(PUMP_ENDED)

    assert rung == bytes([PUMP_ENDED])


def test_long_write_counts_as_activity_when_it_ends(pumped: Pumped) -> None:
    full = write_until_full(pumped.pump.sink_fd)
    os.write(pumped.write_fd, b"x")
    wait_until(lambda: pumped.pump.is_writing, "the pump's write")
    began_reading_s = time.monotonic()
    received = 0
    while received < full + 1:
        received += len(os.read(pumped.read_fd, 65536))
    wait_until(lambda: not pumped.pump.is_writing, "the end of the write")

    assert pumped.pump.last_active_s > began_reading_s


def write_until_full(fd: int) -> int:
    os.set_blocking(fd, False)
    written = 0
    try:
        while True:
            written += os.write(fd, bytes(4096))
    except BlockingIOError:
        os.set_blocking(fd, True)
        return written


def test_reset_source_is_its_end() -> None:
    near, far = socket.socketpair()
    near.send(b"unread")
    far.send(b"unread")
    far.close()
    near.recv(100)
    with near:
        assert read_into(io.FileIO(near.fileno(), closefd=False), memoryview(bytearray(10))) == 0


def test_reading_waits_for_a_non_blocking_source() -> None:
    read_fd, write_fd = os.pipe()
    os.set_blocking(read_fd, False)
    room = bytearray(10)
    threading.Timer(SAME_THREAD_S, os.write, (write_fd, b"late")).start()
    with io.FileIO(read_fd) as source:
        assert read_into(source, memoryview(room)) == 4
    os.close(write_fd)


def test_writing_waits_for_a_non_blocking_sink() -> None:
    read_fd, write_fd = os.pipe()
    os.set_blocking(write_fd, False)
    data = os.urandom(300_000)
    results = []
    writer = threading.Thread(target=lambda: results.append(write_all(write_fd, memoryview(data))))
    writer.start()
    with open(read_fd, "rb") as reader:
        received = reader.read(len(data))
    writer.join()
    os.close(write_fd)

    assert received == data
    assert results == [True]


def test_writing_to_nobody_is_no_error() -> None:
    read_fd, write_fd = os.pipe()
    os.close(read_fd)

    assert not write_all(write_fd, memoryview(b"x"))
    os.close(write_fd)


@pytest.fixture
def relay() -> Iterator[Relay]:
    """A relay whose server has ended; its pumps do not run, the clock is the test's."""
    pipes = [os.pipe() for _ in range(3)]
    server = child.Server(-1, pipes[0][1], pipes[1][0], pipes[2][0])
    server.exit_status = 0
    relay = Relay(server, Journal())
    relay.ended_at_s = 100.0
    yield relay
    relay.doorbell.close()
    for fd in (fd for pipe in pipes for fd in pipe):
        os.close(fd)


def set_from_server(relay: Relay, **values: object) -> None:
    for pump in relay.from_server:
        for name, value in values.items():
            setattr(pump, name, value)


def test_relay_is_drained_once_all_pumps_from_the_server_have_ended(relay: Relay) -> None:
    relay.from_server[0].has_ended = True
    assert not relay.is_drained(100.0)
    relay.from_server[1].has_ended = True
    assert relay.is_drained(100.0)


@pytest.mark.parametrize(
    ("last_active_s", "drained_at_s"),
    [
        (0.0, 100 + DRAIN_START_S),
        (100.0, 100 + DRAIN_IDLE_S),
        (103.0, 103 + DRAIN_IDLE_S),
        (104.9, 100 + DRAIN_MAX_S),
    ],
)
def test_silent_open_pipe_is_given_up_after_its_grace(relay: Relay, last_active_s: float, drained_at_s: float) -> None:
    set_from_server(relay, last_active_s=last_active_s)

    assert not relay.is_drained(drained_at_s - 0.001)
    assert relay.is_drained(drained_at_s)


def test_slow_client_is_waited_for_however_long(relay: Relay) -> None:
    set_from_server(relay, is_writing=True)

    assert not relay.is_drained(100 + 10 * DRAIN_MAX_S)


def test_slow_client_that_said_leave_is_not_waited_for_long(relay: Relay) -> None:
    set_from_server(relay, is_writing=True)
    relay.take_signal(signal.SIGTERM)

    assert not relay.is_drained(100.0)
    assert relay.is_drained(100.0 + DRAIN_IDLE_S)


def test_client_that_said_leave_still_gets_what_is_in_the_pipe(relay: Relay) -> None:
    set_from_server(relay, last_active_s=100.0)
    relay.take_signal(signal.SIGTERM)

    assert not relay.is_drained(100.0)


def test_signal_is_due_after_its_delay_and_once(relay: Relay) -> None:
    before_s = time.monotonic()
    relay.take_signal(signal.SIGTERM)
    due_s = relay.pass_at_s
    relay.take_signal(signal.SIGTERM)
    relay.pass_signals_on(due_s)

    assert due_s >= before_s + SIGNAL_DELAY_S
    assert relay.pass_at_s == float("inf")


@pytest.mark.parametrize("name", ["SIGINT", "SIGCHLD"])
def test_other_signals_are_not_passed_on(relay: Relay, name: str) -> None:
    relay.take_signal(getattr(signal, name))

    assert relay.signal_to_pass is None


@pytest.mark.parametrize(
    ("status", "passed"), [(0, 0), (255, 255), (0x7FFFFFFF, 0x7FFFFFFF), (0x80000000, -(1 << 31)), (0xFFFFFFFF, -1)]
)
def test_exit_status_of_32_bits_is_passed_as_a_signed_number(status: int, passed: int) -> None:
    assert as_signed(status) == passed


def test_doorbell_tells_who_rang_and_when_nobody_did() -> None:
    doorbell = Doorbell()
    for number in (PUMP_ENDED, signal.SIGTERM, signal.SIGCHLD):
        doorbell.ring(number)

    assert doorbell.wait(float("inf")) == bytes([PUMP_ENDED, signal.SIGTERM, signal.SIGCHLD])
    assert doorbell.wait(-1.0) == b""
    doorbell.close()
