"""The relay: two pumps (three with stderr) between the client and the server, one thread per direction.

A pump reads into one reusable buffer, has the journal append what it read, then writes memoryview slices of the same
buffer on: no bytes object is made per chunk, nothing is decoded, no newline is waited for.  What remains is the
kernel's: each `read` and `write` copies between the pipe and the buffer, and the append copies into the page cache.

The main thread alone waits, signals and reaps; the pumps tell it by one byte in a pipe that they have ended, signals
arrive in the same pipe.  It knows nothing of JSON, network or accounts.
"""

import io
import os
import select
import signal
import sys
import threading
import time

from kilometers import child
from kilometers.capture import Capture
from kilometers.core import journal as layout
from kilometers.core.monitor_options import MonitorOptions
from kilometers.doorbell import PUMP_ENDED, Doorbell
from kilometers.errors import EXIT_CANNOT_BEGIN
from kilometers.journal_writer import Journal

CHUNK_BYTES = child.PIPE_SIZE_BYTES
SIGNAL_DELAY_S = 0.05  # a Python SDK client signals the whole group: the server may have the signal already
KILL_DELAY_S = 1.8  # where the kernel cannot kill the server with us: just before the client's own 2 s
DRAIN_START_S = 0.1
DRAIN_IDLE_S = 0.25
DRAIN_MAX_S = 5.0
DRAIN_LOOK_S = 0.01  # how often a pump that is writing to a slow client is looked at


class Pump:
    """One direction, on one thread: *source_fd* → journal → *sink_fd*, until either ends."""

    def __init__(self, stream: int, source_fd: int, sink_fd: int, journal: Journal, doorbell: Doorbell) -> None:
        self.stream = stream
        self.source_fd = source_fd
        self.sink_fd = sink_fd
        self.journal = journal
        self.doorbell = doorbell
        self.last_active_s = 0.0
        self.is_writing = False
        self.has_ended = False
        self.buffer = bytearray(layout.HEADER_SIZE + CHUNK_BYTES)

    def start(self) -> None:
        """Run on a thread of its own."""
        threading.Thread(target=self._run, name=f"pump {self.stream}", daemon=True).start()

    def _run(self) -> None:
        try:
            self._pump()
        finally:
            try:
                close_stream(self.source_fd)
            finally:  # whatever became of the one, the other side must see the end
                close_stream(self.sink_fd)
                self.has_ended = True
                self.doorbell.ring(PUMP_ENDED)

    def _pump(self) -> None:
        room = memoryview(self.buffer)[layout.HEADER_SIZE :]
        source = io.FileIO(self.source_fd, closefd=False)
        while True:
            length = read_into(source, room)
            monotonic_ns, wall_ns = time.monotonic_ns(), time.time_ns()
            self.last_active_s = monotonic_ns / 1e9
            data = room[:length]
            self.journal.append(
                self.buffer,
                kind=self.stream,
                length=length,
                monotonic_ns=monotonic_ns,
                wall_ns=wall_ns,
                crc=layout.payload_crc(data),
            )
            if length == 0:
                return
            self.is_writing = True
            is_open = write_all(self.sink_fd, data)
            # Not only the read: a client that took its time here must not look like a pipe without a writer.
            self.last_active_s = time.monotonic()
            self.is_writing = False
            if not is_open:
                return


def read_into(source: io.FileIO, room: memoryview) -> int:
    """Read once; 0 at the end, which every error is too (a reset socket, a terminal that went away)."""
    while True:
        try:
            length = source.readinto(room)
        except OSError:
            return 0
        if length is not None:
            return length
        wait_until_ready(
            source.fileno(), is_for_reading=True
        )  # somebody made it non-blocking; the description is shared with the client


def write_all(fd: int, data: memoryview) -> bool:
    """Write everything; False once nobody reads any more."""
    while data:
        try:
            data = data[os.write(fd, data) :]
        except BlockingIOError:
            wait_until_ready(fd, is_for_reading=False)
        except OSError:
            return False
    return True


def wait_until_ready(fd: int, *, is_for_reading: bool) -> None:
    """Wait for a non-blocking descriptor; poll where there is one, since select takes only the first 1024."""
    if sys.platform == "win32":
        time.sleep(0.01)
        return
    poll = select.poll()
    poll.register(fd, select.POLLIN if is_for_reading else select.POLLOUT)
    poll.poll()


def close_stream(fd: int) -> None:
    """Close a descriptor of a stream; a standard one goes to /dev/null, so that nothing else can get its number."""
    if fd > 2:
        os.close(fd)
        return
    null = os.open(os.devnull, os.O_RDWR)
    os.dup2(null, fd)
    os.close(null)


class Relay:
    """One session, from the server's start to its exit status."""

    def __init__(self, server: child.Server, journal: Journal) -> None:
        self.server = server
        self.journal = journal
        self.doorbell = Doorbell()
        self.client_to_server = Pump(layout.CLIENT_TO_SERVER, 0, server.stdin_fd, journal, self.doorbell)
        self.from_server = [Pump(layout.SERVER_TO_CLIENT, server.stdout_fd, 1, journal, self.doorbell)]
        if server.stderr_fd is not None:
            self.from_server.append(Pump(layout.STDERR, server.stderr_fd, 2, journal, self.doorbell))
        self.signal_to_pass: int | None = None
        self.pass_at_s = float("inf")
        self.kill_at_s = float("inf")
        self.ended_at_s = float("inf")
        self.is_told_to_leave = False

    def start(self) -> None:
        """Let the bytes flow."""
        for pump in (self.client_to_server, *self.from_server):
            pump.start()
        if sys.platform == "win32":
            threading.Thread(target=self._ring_at_its_end, name="server", daemon=True).start()

    if sys.platform == "win32":

        def _ring_at_its_end(self) -> None:
            """Stand in for SIGCHLD."""
            self.server.wait()
            self.doorbell.ring(PUMP_ENDED)

    def wait(self) -> int:
        """Return the server's exit status, once it has ended and what it wrote has been passed on."""
        while True:
            now_s = time.monotonic()
            if self.server.poll() is not None:
                self.ended_at_s = min(self.ended_at_s, now_s)
                if self.is_drained(now_s):
                    assert self.server.exit_status is not None
                    return self.server.exit_status
            self.pass_signals_on(now_s)
            for number in self.doorbell.wait(self.next_deadline_s() - now_s):
                self.take_signal(number)

    def take_signal(self, number: int) -> None:
        """TERM and HUP are passed on once; INT is left to the terminal's process group, which has the server in it."""
        if number in {signal.SIGTERM, getattr(signal, "SIGHUP", -1)} and self.signal_to_pass is None:
            now_s = time.monotonic()
            self.signal_to_pass = number
            self.is_told_to_leave = True
            self.pass_at_s = now_s + SIGNAL_DELAY_S
            if sys.platform != "linux":  # there the client's SIGKILL on us is the server's at the same instant
                self.kill_at_s = now_s + KILL_DELAY_S

    def pass_signals_on(self, now_s: float) -> None:
        """Send what is due to a server that still lives."""
        if self.signal_to_pass is not None and now_s >= self.pass_at_s:
            self.pass_at_s = float("inf")
            self.server.send_signal(self.signal_to_pass)
        if now_s >= self.kill_at_s:
            self.kill_at_s = float("inf")
            self.server.send_signal(getattr(signal, "SIGKILL", signal.SIGTERM))

    def is_drained(self, now_s: float) -> bool:
        """Whether everything the dead server wrote has been passed on, or what still holds its pipes is not it."""
        open_pumps = [pump for pump in self.from_server if not pump.has_ended]
        if not open_pumps:
            return True
        if any(pump.is_writing for pump in open_pumps):
            # A slow client loses nothing: it would find the rest in the server's own pipe too.  One that has told us to
            # leave may never read again.
            return self.is_told_to_leave and now_s >= self.ended_at_s + DRAIN_IDLE_S
        return now_s >= self.drained_at_s(open_pumps)

    def drained_at_s(self, open_pumps: list[Pump]) -> float:
        """Return when a silent pipe that is still open counts as drained."""
        idle_since_s = max(pump.last_active_s for pump in open_pumps)
        return min(max(self.ended_at_s + DRAIN_START_S, idle_since_s + DRAIN_IDLE_S), self.ended_at_s + DRAIN_MAX_S)

    def next_deadline_s(self) -> float:
        """Return when something is due that no byte in the pipe will tell."""
        deadline_s = float("inf")
        if self.server.exit_status is None:
            deadline_s = min(self.pass_at_s, self.kill_at_s)
        else:
            open_pumps = [pump for pump in self.from_server if not pump.has_ended]
            if open_pumps:
                # A pump that is still writing has no deadline; look again, since it does not tell when it is done.
                deadline_s = max(self.drained_at_s(open_pumps), time.monotonic() + DRAIN_LOOK_S)
        return deadline_s


def install_handlers(doorbell: Doorbell) -> None:
    """Functions, not SIG_IGN, which would survive an exec; what has to be done is the doorbell's."""

    def take(number: int, _frame: object) -> None:
        if sys.platform == "win32":
            doorbell.ring(number)

    if sys.platform != "win32":
        doorbell.hear_signals()
    names = ("SIGTERM", "SIGHUP", "SIGINT", "SIGCHLD", "SIGBREAK")
    for number in (getattr(signal, name) for name in names if hasattr(signal, name)):
        signal.signal(number, take)


def use_binary_mode() -> None:
    """Keep Windows' C run-time from translating line ends; who embeds Python need not have told it so."""
    if sys.platform == "win32":
        import msvcrt

        for fd in range(3):
            msvcrt.setmode(fd, os.O_BINARY)


def run(options: MonitorOptions, server: child.Server) -> int:
    """Relay and record until the server ends, and leave the process with its exit status."""
    try:
        use_binary_mode()
        journal = Journal()
        relay = Relay(server, journal)
        capture = Capture(options, server, journal)
        capture.begin()
        relay.start()
    except (OSError, RuntimeError) as error:  # no pipe or no thread is to be had: nothing has been forwarded yet
        server.send_signal(getattr(signal, "SIGKILL", signal.SIGTERM))
        os.write(2, f"km: cannot begin: {error}.\n".encode())
        os._exit(EXIT_CANNOT_BEGIN)
    install_handlers(relay.doorbell)
    if sys.platform != "win32":
        child.unblock_signals()
    status = relay.wait()
    capture.end()
    os._exit(as_signed(status))


def as_signed(status: int) -> int:
    """Return an exit status as C's int: Windows' go up to 0xFFFFFFFF (0xC000013A: ended by ^C)."""
    return status - (1 << 32) if status >= 1 << 31 else status
