"""A server behind km, seen as its client sees it, and what km recorded of it.

Every process that a test starts here has the test's own KILOMETERS_HOME in its environment; that is how survivors are
found, wherever in the process tree they are.
"""

import ctypes
import os
import select
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Self

import km_under_test
from kilometers import paths
from kilometers.core import journal

KM = km_under_test.PROGRAM
SERVER_PYTHON = [sys.executable, "-I", "-S", "-c"]
PATIENCE_S = 20.0
POLL_S = 0.002


def wait_until(is_true: Callable[[], object], what: str, *, within_s: float = PATIENCE_S) -> None:
    """Poll until *is_true*; fail with *what* was waited for."""
    deadline_s = time.monotonic() + within_s
    while not is_true():
        assert time.monotonic() < deadline_s, f"{what}: not within {within_s} s"
        time.sleep(POLL_S)


def environment_of(home: Path) -> dict[str, str]:
    """Return what a client passes on: almost nothing."""
    return {"PATH": os.environ["PATH"], "KILOMETERS_HOME": str(home)}


@contextmanager
def home_in(folder: Path) -> Iterator[Path]:
    """Make a home in *folder*; afterwards nothing of it runs, and nothing of it is in memory."""
    home = folder / "home"
    home.mkdir(mode=0o700, parents=True)
    in_memory = ram_folders(home)
    try:
        yield home
    finally:
        end_survivors(home)
        for path in in_memory:
            remove(path)


def monitor(command: list[str] | list[bytes], *options: str) -> list[str | bytes]:
    """Return the command line that wraps *command*."""
    return [KM, "monitor", *options, "--", *command]


class Client:
    """The client's side: a running km and the server behind it."""

    def __init__(self, command: list[str], home: Path, *options: str, **popen: object) -> None:
        self.home = home
        popen = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "env": environment_of(home), **popen}
        self.km = subprocess.Popen(monitor(command, *options), bufsize=0, **popen)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        if self.km.poll() is None:
            self.km.kill()
            self.km.wait()
        for pipe in (self.km.stdin, self.km.stdout, self.km.stderr):
            if pipe is not None:
                pipe.close()

    def send(self, data: bytes) -> None:
        """Write all of it."""
        while data:
            data = data[self.km.stdin.write(data) :]

    def line(self) -> bytes:
        """Read up to the end of a line."""
        return self.km.stdout.readline()

    def ask(self, line: bytes) -> bytes:
        """One round trip with a server that echoes."""
        self.send(line)
        return self.line()

    def echo(self, data: bytes) -> bytes:
        """One round trip of less than a pipe holds."""
        self.send(data)
        answer = b""
        while len(answer) < len(data) and (more := self.km.stdout.read(len(data) - len(answer))):
            answer += more
        return answer

    def hears_within(self, seconds: float) -> bool:
        """Whether anything comes on stdout."""
        return bool(select.select([self.km.stdout], [], [], seconds)[0])

    def end_input(self) -> None:
        """Half-close: what an MCP client does first."""
        self.km.stdin.close()

    def rest(self) -> bytes:
        """Read stdout to its end."""
        return self.km.stdout.read()

    def rest_until_exit(self) -> bytes:
        """Read stdout until km has ended: its end may be kept open by somebody else."""
        received = b""
        while self.km.poll() is None:
            if self.hears_within(POLL_S):
                received += self.km.stdout.read(65536)
        return received

    def status(self, within_s: float = PATIENCE_S) -> int:
        """Wait for km's end."""
        return self.km.wait(within_s)


def run(command: list[str], home: Path, *options: str, **popen: object) -> subprocess.CompletedProcess:
    """Run *command* through km to its end."""
    return run_directly(monitor(command, *options), home, **popen)


def run_recorded(command: list[str], home: Path, *options: str, data: bytes = b"", **popen: object) -> bytes:
    """Run *command*, which must read its stdin to the end, once its journal is ready for *data*; return its stdout.

    However busy the machine is, nothing is missing from the journal.
    """
    with Client(command, home, *options, **popen) as client:
        wait_until(lambda: has_marker(home), "the session's marker")
        return client.km.communicate(data, PATIENCE_S)[0]


def has_marker(home: Path) -> bool:
    """Whether a session has left its marker in the home, under its final name."""
    return (home / "journal").is_dir() and any("." not in name for name in os.listdir(home / "journal"))


def run_directly(command: list[str], home: Path, **popen: object) -> subprocess.CompletedProcess:
    """Run *command* itself, as a client without km does."""
    popen = {"env": environment_of(home), "capture_output": True, "timeout": PATIENCE_S, **popen}
    if "input" not in popen and "stdin" not in popen:
        popen["stdin"] = subprocess.DEVNULL
    return subprocess.run(command, check=False, **popen)


def obey_modes() -> None:
    """For preexec_fn: give up root's power over other modes and owners; nothing to anybody else."""
    pr_capbset_drop, cap_dac_override, cap_dac_read_search = 24, 1, 2
    for capability in (cap_dac_override, cap_dac_read_search):
        ctypes.CDLL(None).prctl(pr_capbset_drop, capability, 0, 0, 0)


def survivors(home: Path) -> list[int]:
    """Return the processes that were started with this home and still run; none where there is no /proc."""
    mark = f"KILOMETERS_HOME={home}".encode()
    found = []
    for folder in Path("/proc").glob("[0-9]*"):
        try:
            environment = (folder / "environ").read_bytes().split(b"\0")
        except OSError:
            continue  # gone, a zombie, or somebody else's
        if mark in environment and int(folder.name) != os.getpid():
            found.append(int(folder.name))
    return found


def end_survivors(home: Path) -> None:
    """Kill whatever a test left behind."""
    for pid in survivors(home):
        try:
            os.kill(pid, signal.SIGKILL)
        except ProcessLookupError:
            pass


def is_running(pid: int) -> bool:
    """Whether the process exists and is no zombie."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False


def children(pid: int) -> list[int]:
    """Return the children of *pid*, zombies included."""
    found = []
    for thread in Path(f"/proc/{pid}/task").iterdir():
        try:
            found += (thread / "children").read_text().split()
        except OSError:
            continue  # a thread that has ended
    return [int(child) for child in found]


def ram_folders(home: Path) -> list[Path]:
    """Return where this home's journal may be in memory."""
    return [Path(folder) for folder in paths.Home(str(home), "").ram_folders()]


def journal_folder(home: Path) -> Path:
    """Return where the journal is, when nothing was configured."""
    return next((folder for folder in ram_folders(home) if folder.is_dir()), home / "journal")


def remove(path: Path) -> None:
    """Remove a folder, or the symlink that stands in its place."""
    if path.is_symlink():
        path.unlink()
    else:
        shutil.rmtree(path, ignore_errors=True)


class Captured:
    """All that the segments in one folder say of the only session there."""

    def __init__(self, folder: Path) -> None:
        files = [path for path in folder.glob("*.*") if path.suffix[1:].isdigit()]
        self.segments = [path.read_bytes() for path in sorted(files, key=lambda path: int(path.suffix[1:]))]
        self.numbers = sorted(int(path.suffix[1:]) for path in files)
        self.pages = [journal.read_page(segment) for segment in self.segments]
        self.slots = [journal.read_slot(segment[: journal.PAGE_SIZE]) for segment in self.segments]
        self.records = [records_of(segment) for segment in self.segments]
        assert len({path.stem for path in files}) <= 1, "one session was expected"

    def all_records(self) -> list[journal.Record]:
        return [record for records in self.records for record in records]

    def of(self, kind: int) -> list[journal.Record]:
        return [record for record in self.all_records() if record.kind == kind]

    def stream(self, kind: int) -> bytes:
        """Return a stream's bytes, without gaps."""
        return b"".join(record.data for record in self.of(kind))

    def gaps(self, kind: int) -> list[tuple[int, int, int]]:
        """Return (first missing byte, how many, reason), as the stream offsets and the last totals tell."""
        found, position = [], 0
        for record in self.of(kind):
            if record.stream_offset != position:
                found.append((position, record.stream_offset - position, record.gap_reason))
            position = record.stream_offset + len(record.data)
        through, reason = self.last_totals(kind)
        if through > position:
            found.append((position, through - position, reason))
        return found

    def last_totals(self, kind: int) -> tuple[int, int]:
        """Return how many bytes had been read by the last word on it, and the slot's reason."""
        words = [(slot.offsets[kind - 1], slot.reason) for slot in self.slots if slot is not None]
        for record in self.of(journal.END):
            totals = journal.read_totals(journal.read_fields(bytes(record.data)))
            assert totals is not None
            words.append((totals[kind - 1], 0))
        return max(words, default=(0, 0))

    def fields(self, kind: int) -> dict[str, list[str]]:
        """Return the fields of the last record of this kind."""
        return journal.read_fields(bytes(self.of(kind)[-1].data))


def records_of(segment: bytes) -> list[journal.Record]:
    """Read a segment up to its first invalid record."""
    records, at, view = [], journal.PAGE_SIZE, memoryview(segment)
    while (record := journal.read_record(view, at, at)) is not None:
        records.append(record)
        at += record.size
    return records


def captured(home: Path) -> Captured:
    """Read the journal of this home's only session."""
    return Captured(journal_folder(home))
