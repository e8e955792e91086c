"""Real sessions with traffic, and what the store has of them: what the loss tests share."""

import contextlib
import json
import os
import signal
import subprocess
import sys
import threading
import time
from collections import defaultdict
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import apsw

import km_under_test
from kilometers import election, journal_reader, locks, paths
from kilometers.core.event import CLIENT_TO_SERVER, SERVER_TO_CLIENT, Event, chain_hash, decode
from kilometers.core.pairing import OPPOSITE
from kilometers.store import SEQ_BITS
from relay.wrapped import environment_of

SERVER = [sys.executable, "-S", "-E", str(Path(__file__).parent / "answering_server.py")]
KM = km_under_test.COMMAND
ONE_READ_BYTES = 256 * 1024


class Client:
    """One wrapped server with a client: counts every byte that it wrote and that it read back."""

    def __init__(
        self,
        home: Path,
        name: str,
        *,
        environment: dict[str, str] | None = None,
        command: list[str] | None = None,
        start_new_session: bool = False,
        km: Sequence[str] = KM,
    ) -> None:
        self.name = name
        self.read_file = home.parent / f"{name}.read"
        self.written = 0
        self.received = bytearray()
        self.relay = subprocess.Popen(
            [*km, "monitor", "--name", name, "--", *(command or [*SERVER, str(self.read_file)])],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            start_new_session=start_new_session,
            env={**environment_of(home), **(environment or {})},
        )
        self._reader = threading.Thread(target=self._read, daemon=True)
        self._reader.start()

    def _read(self) -> None:
        assert self.relay.stdout is not None
        while data := os.read(self.relay.stdout.fileno(), 1 << 20):
            self.received += data

    def write(self, data: bytes) -> None:
        """Write to the server; a relay that was killed takes no more."""
        assert self.relay.stdin is not None
        rest = memoryview(data)
        try:
            while rest:
                count = os.write(self.relay.stdin.fileno(), rest)
                self.written += count
                rest = rest[count:]
        except BrokenPipeError:
            pass

    def read_by_server(self) -> int:
        """Return how many bytes the server is known to have read."""
        return int(self.read_file.read_text() or 0) if self.read_file.exists() else 0

    def call(self, number: int, size: int = 50) -> None:
        """Send one request."""
        self.write(request(number, size))

    def wait_for_answers(self, count: int, timeout_s: float = 20) -> None:
        """Wait until so many answers have come back."""
        wait_until(lambda: self.received.count(b"\n") >= count, timeout_s)

    def end(self) -> int:
        """Close stdin, as a client does, and return the exit status."""
        assert self.relay.stdin is not None
        self.relay.stdin.close()
        status = self.relay.wait(20)
        self._close()
        return status

    def kill(self) -> None:
        """Kill the relay at once."""
        self.relay.kill()
        self.relay.wait(10)
        self._close()

    def _close(self) -> None:
        self._reader.join(10)
        for pipe in (self.relay.stdin, self.relay.stdout):
            assert pipe is not None
            with contextlib.suppress(BrokenPipeError):
                pipe.close()


class Recorded:
    """One session as the store has it."""

    def __init__(self, summary: dict[str, Any], events: list[Event], hashes: list[bytes], wires: list[bytes]) -> None:
        self.summary = summary
        self.events = events
        self.hashes = hashes
        self.wires = wires

    @property
    def id(self) -> str:
        return str(self.summary["session_id"])

    def captured(self, direction: str) -> int:
        """Return Σ size_bytes + Σ gap.bytes of a direction."""
        own = [event for event in self.events if event.direction == direction]
        return sum((event.size_bytes or 0) + ((event.gap.bytes or 0) if event.gap else 0) for event in own)

    def check(self) -> None:
        """Gapless seq, true chain, no answer before its request, no negative duration, ids asked once."""
        assert [event.seq for event in self.events] == list(range(len(self.events)))
        previous = bytes.fromhex(self.id.replace("-", ""))
        for wire, kept in zip(self.wires, self.hashes, strict=True):
            previous = chain_hash(previous, wire)
            assert previous == kept
        asked: set[tuple[str | None, str | None]] = set()
        for event in self.events:
            if event.kind == "request":
                assert (event.direction, event.request_id) not in asked
                asked.add((event.direction, event.request_id))
            if event.kind == "response" and event.call_seq is not None:
                assert event.call_seq < event.seq
                assert (OPPOSITE[event.direction or ""], event.request_id) in asked
            assert (event.duration_us or 0) >= 0


class Sessions:
    """The sessions of one home, of the km that is tested or of another."""

    def __init__(self, home: Path, km: Sequence[str] = KM) -> None:
        self.command = km
        self.folder = home
        self.home = paths.Home(str(home), str(home / "config.toml"))
        self.environment = environment_of(home)
        """What a command needs to find this home, and nothing else."""
        self.clients: list[Client] = []

    def start(self, **options: Any) -> Client:
        """Start a wrapped server."""
        client = Client(self.folder, f"server-{len(self.clients)}", **{"km": self.command, **options})
        self.clients.append(client)
        return client

    def close(self) -> None:
        """End what still runs."""
        for client in self.clients:
            client.kill()

    def recorder_pid(self) -> int | None:
        """Return the pid of the recorder that works, if one does."""
        try:
            fd = os.open(self.home.recorder_lock, os.O_RDWR)
        except FileNotFoundError:
            return None
        try:
            if locks.try_lock(fd):
                return None
            pid = election.read_lock(fd).pid
            return pid if pid and Path(f"/proc/{pid}").exists() else None
        finally:
            os.close(fd)

    def wait_for_recorder(self) -> int:
        """Return the recorder's pid, once one works."""
        wait_until(lambda: self.recorder_pid() is not None, 20)
        return self.recorder_pid() or 0

    def kill_recorder(self) -> None:
        """kill -9 the recorder, if one works."""
        pid = self.recorder_pid()
        if pid:
            try:
                os.kill(pid, signal.SIGKILL)
            except ProcessLookupError:
                return
            wait_until(lambda: is_gone(pid), 10)

    def arm(self, point: str, count: int = 1) -> None:
        """Let the next recorder die at a fault point."""
        (self.folder / "fault").write_text(f"{point} {count}")
        self.kill_recorder()

    def hold_recorder_lock(self) -> int:
        """Keep recorders from starting until the descriptor is closed."""
        fd = os.open(self.home.recorder_lock, os.O_RDWR | os.O_CREAT, 0o600)
        locks.wait_for_lock(fd)
        return fd

    def count(self, sql: str) -> int:
        """Return the one number that *sql* yields; 0 while there is no store."""
        return int((self.column(sql) or [0])[0])

    def column(self, sql: str) -> list[Any]:
        """Return the one column that *sql* yields; nothing while there is no store."""
        if not Path(self.home.store_file).exists():
            return []
        connection = apsw.Connection(self.home.store_file, flags=apsw.SQLITE_OPEN_READONLY)
        connection.set_busy_timeout(5000)
        try:
            return [value for (value,) in connection.execute(sql)] if connection.pragma("user_version") else []
        finally:
            connection.close()

    def km(self, *arguments: str) -> subprocess.CompletedProcess[bytes]:
        """Run a km command in this home."""
        command = [*self.command, *arguments]
        return subprocess.run(command, env=self.environment, capture_output=True, timeout=60, check=False)

    def wait_until_recorded(self, timeout_s: float = 30) -> dict[str, Recorded]:
        """Return every session, once all have ended in the store and no journal is left."""
        self.km("sessions")
        wait_until(self._is_settled, timeout_s)
        return self.recorded()

    def _is_settled(self) -> bool:
        folders = self.home.journal_folders()
        if journal_reader.find_sessions(folders) or journal_reader.find_markers(self.home.journal_folder):
            if self.recorder_pid() is None:
                self.km("sessions")  # a reading command starts one
            return False
        return True

    def recorded(self) -> dict[str, Recorded]:
        """Return what the store has now, by session id; nothing while it is being made."""
        if not Path(self.home.store_file).exists():
            return {}
        connection = apsw.Connection(self.home.store_file, flags=apsw.SQLITE_OPEN_READONLY)
        connection.set_busy_timeout(5000)
        found: dict[str, Recorded] = {}
        if connection.pragma("user_version") == 0:
            return found
        for number, summary in connection.execute("SELECT session_no, summary FROM sessions").fetchall():
            rows = connection.execute(
                "SELECT wire, hash FROM events WHERE event_id >= ? AND event_id < ? ORDER BY event_id",
                (number << SEQ_BITS, (number + 1) << SEQ_BITS),
            ).fetchall()
            wires = [wire for wire, _ in rows]
            recorded = Recorded(
                json.loads(summary), [decode(wire) for wire in wires], [kept for _, kept in rows], wires
            )
            found[recorded.id] = recorded
        connection.close()
        return found


def request(number: int, size: int = 50) -> bytes:
    """Return one request of about *size* bytes."""
    padding = b"p" * max(0, size - 50)
    return b'{"jsonrpc":"2.0","id":%d,"method":"ping","params":{"p":"%b"}}\n' % (number, padding)


def is_gone(pid: int) -> bool:
    """Whether a process has ended; one that nobody has reaped yet has."""
    try:
        state = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
    except (FileNotFoundError, ProcessLookupError):
        return True
    return state in {"Z", "X"}


def wait_until(condition: Any, timeout_s: float) -> None:
    """Poll until the condition holds; fail after *timeout_s*."""
    deadline_s = time.monotonic() + timeout_s
    while not condition():
        assert time.monotonic() < deadline_s, "timed out"
        time.sleep(0.01)


def assert_equation(clients: list[Client], recorded: dict[str, Recorded]) -> None:
    """Σ size_bytes + Σ gap.bytes = what crossed, exactly, for clients whose relay ended by itself."""
    assert len(recorded) == len(clients)
    for client in clients:
        one = find_recorded(client, recorded)
        assert one is not None
        one.check()
        captured = (one.captured(CLIENT_TO_SERVER), one.captured(SERVER_TO_CLIENT))
        assert captured == (client.written, len(client.received))


def find_recorded(client: Client, recorded: dict[str, Recorded]) -> Recorded | None:
    """Return what was recorded of a client's session."""
    return next((one for one in recorded.values() if one.summary["name"] == client.name), None)


def events_by_kind(recorded: Recorded) -> dict[str, int]:
    """Return how many events of each kind there are."""
    counts: dict[str, int] = defaultdict(int)
    for event in recorded.events:
        counts[event.kind] += 1
    return dict(counts)
