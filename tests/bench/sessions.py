"""Sessions to measure: a home of their own, and clients that send what they are told to."""

import array
import os
import signal
import subprocess
import tempfile
import time
from collections.abc import Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import Self

from bench import processes
from bench.programs import Programs

RECORDER_START_S = 5.0
RECORDER_END_S = 2.0
SESSION_END_S = 10.0


class Run:
    """One run of one benchmark: the programs, how long it may take, and a home that no other run sees."""

    def __init__(self, programs: Programs, *, is_quick: bool) -> None:
        self.programs = programs
        self.is_quick = is_quick
        self.home = Path(tempfile.mkdtemp(prefix="kilometers-bench-")).resolve()
        self.journal_folders: set[Path] = set()
        self.clients = ExitStack()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.clients.close()
        self.end_recorder()
        processes.remove_folders([self.home, *self.journal_folders])

    @property
    def store(self) -> Path:
        """The database of the run's events."""
        return self.home / "store.db"

    def environment(self) -> dict[str, str]:
        """Return ours, with the run's home and no other setting of km."""
        kept = {name: value for name, value in os.environ.items() if not name.startswith("KILOMETERS_")}
        return {**kept, "KILOMETERS_HOME": str(self.home)}

    def pick(self, full: int, quick: int) -> int:
        """Return how often to do something."""
        return quick if self.is_quick else full

    def start_client(self, wrapper: Sequence[str], frame_bytes: int) -> "LoadClient":
        """Return a connected client; it is closed with the run."""
        client = self.clients.enter_context(LoadClient(self, wrapper, frame_bytes))
        self.remember_journal(client.server_pid)
        return client

    def start_clients(self, frame_bytes: int, *names: str) -> dict[str, "LoadClient"]:
        """Return one client for each way (direct, bare, km) that there is."""
        wrappers = self.programs.wrappers(*names)
        return {name: self.start_client(wrapper, frame_bytes) for name, wrapper in wrappers.items()}

    def close_clients(self) -> None:
        """End the sessions so far."""
        self.clients.close()

    def remember_journal(self, relay_pid: int) -> None:
        """Note where the relay journals, so that nothing stays in memory if a recorder fails."""
        folder = processes.find_journal_folder(relay_pid)
        if folder is not None and str(folder) != self.programs.journal_folder:
            self.journal_folders.add(folder)

    def recorder_pid(self) -> int:
        """Wait for the recorder and return its pid."""
        deadline = time.monotonic() + RECORDER_START_S
        while time.monotonic() < deadline:
            pid = processes.find_recorder(self.home)
            if pid is not None:
                return pid
            time.sleep(0.02)
        raise RuntimeError(f"no recorder for {self.home} after {RECORDER_START_S:.0f} s")

    def settle(self, *, limit_s: float = 3.0) -> None:
        """Wait until the recorder has nothing to do, so that it does not disturb what is measured next."""
        pid = processes.find_recorder(self.home)
        if pid is not None:
            processes.wait_until_quiet([pid], limit_s=limit_s)

    def end_recorder(self) -> None:
        """Wait for the recorder's own end; help with a signal if it does not come."""
        for signal_number in (0, signal.SIGTERM, signal.SIGKILL):
            pid = processes.find_recorder(self.home)
            if pid is None:
                return
            os.kill(pid, signal_number)
            wait_for_end(pid, limit_s=RECORDER_END_S)


def wait_for_end(pid: int, *, limit_s: float) -> None:
    """Return when *pid* has ended, or after *limit_s*."""
    deadline = time.monotonic() + limit_s
    while processes.is_alive(pid) and time.monotonic() < deadline:
        time.sleep(0.05)


class LoadClient:
    """load_client.c in front of the echo server, wrapped or not."""

    def __init__(self, run: Run, wrapper: Sequence[str], frame_bytes: int) -> None:
        programs = run.programs
        command = [programs.load_client, str(frame_bytes), *wrapper, programs.echo_server]
        self.process = subprocess.Popen(
            command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, env=run.environment(), bufsize=0
        )
        # Unbuffered, so that the line is read and nothing behind it.
        assert self.process.stdin is not None
        assert self.process.stdout is not None
        self.commands, self.answers = self.process.stdin, self.process.stdout
        pid = self.answers.readline()
        if not pid:
            raise RuntimeError(f"no answer to initialize from {' '.join(command[2:])}")
        self.server_pid = int(pid)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.commands.close()
        self.process.wait(SESSION_END_S)
        self.answers.close()

    def round_trips_ns(self, count: int, *, gap_us: int = 0) -> list[int]:
        """Send *count* frames one after the other and return how long each answer took."""
        self.commands.write(f"pingpong {count} {gap_us}\n".encode())
        return self.read_numbers(count)

    def burst_ns(self, count: int) -> int:
        """Send *count* frames without waiting and return when the last answer was there."""
        self.commands.write(f"burst {count}\n".encode())
        return self.read_numbers(1)[0]

    def read_numbers(self, count: int) -> list[int]:
        """Return the client's next *count* numbers."""
        numbers = array.array("Q")
        wanted_bytes = count * numbers.itemsize
        answer = b""
        while len(answer) < wanted_bytes:
            part = self.answers.read(wanted_bytes - len(answer))
            if not part:
                raise RuntimeError(f"load_client ended with {self.process.wait()}")
            answer += part
        numbers.frombytes(answer)
        return numbers.tolist()
