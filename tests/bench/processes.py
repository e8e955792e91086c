"""What /proc says of a process: memory, processor time, wake-ups.  Linux only."""

import os
import shutil
import time
from collections.abc import Iterable
from pathlib import Path

import msgspec

PROC = Path("/proc")
TICK_NS = 1_000_000_000 // os.sysconf("SC_CLK_TCK")
# One tick of /proc/PID/stat is 10 ms, and the recorder commits every 150 ms.
QUIET_S = 0.2


class Memory(msgspec.Struct, frozen=True):
    """Sizes in bytes; *pss* shares a page's size among the processes that map it."""

    pss: int
    private: int
    resident: int


def memory_of(pid: int) -> Memory:
    """Return what *pid* holds now."""
    sizes: dict[str, int] = {}
    for line in (PROC / str(pid) / "smaps_rollup").read_text().splitlines()[1:]:
        name, _, size = line.partition(":")
        sizes[name] = int(size.split()[0]) * 1024
    return Memory(sizes["Pss"], sizes["Private_Clean"] + sizes["Private_Dirty"], sizes["Rss"])


def cpu_ns(pids: Iterable[int]) -> int:
    """Return the processor time that those of *pids* that live have used, to the tick."""
    return sum(ticks(pid) for pid in pids) * TICK_NS


def ticks(pid: int) -> int:
    """Return user + system time in clock ticks; 0 for a process that is gone."""
    try:
        fields = (PROC / str(pid) / "stat").read_text().rpartition(")")[2].split()
    except OSError:
        return 0
    return int(fields[11]) + int(fields[12])


def voluntary_switches(pids: Iterable[int]) -> int:
    """Return how often the threads of *pids* went to sleep so far: each time, something had woken them."""
    return sum(thread_switches(thread) for pid in pids for thread in (PROC / str(pid) / "task").glob("*"))


def thread_switches(thread: Path) -> int:
    """Return one thread's voluntary context switches; 0 if it is gone."""
    try:
        lines = (thread / "status").read_text().splitlines()
    except OSError:
        return 0
    return next(int(line.split()[1]) for line in lines if line.startswith("voluntary_ctxt_switches:"))


def find_recorder(home: Path) -> int | None:
    """Return the pid of the recorder of *home*: its last argument and its environment say so."""
    setting = f"KILOMETERS_HOME={home}".encode()
    for folder in PROC.glob("[0-9]*"):
        try:
            arguments = (folder / "cmdline").read_bytes().rstrip(b"\0").split(b"\0")
            if arguments[-1] == b"recorder" and setting in (folder / "environ").read_bytes().split(b"\0"):
                return int(folder.name)
        except OSError:
            continue  # it ended, or it is another user's
    return None


def find_journal_folder(pid: int) -> Path | None:
    """Return the RAM folder that a relay journals into, if it has a file of it open."""
    for descriptor in (PROC / str(pid) / "fd").glob("*"):
        try:
            folder = descriptor.readlink().parent
        except OSError:
            continue
        if folder.name.startswith("kilometers-"):
            return folder
    return None


def wait_until_quiet(pids: Iterable[int], *, limit_s: float = 3.0) -> None:
    """Return once *pids* use no processor time for a while, or after *limit_s*."""
    deadline = time.monotonic() + limit_s
    pids = list(pids)
    before_ns = cpu_ns(pids)
    while time.monotonic() < deadline:
        time.sleep(QUIET_S)
        now_ns = cpu_ns(pids)
        if now_ns == before_ns:
            return
        before_ns = now_ns


def is_alive(pid: int) -> bool:
    """Whether *pid* exists and is no zombie."""
    try:
        return (PROC / str(pid) / "stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False


def remove_folders(folders: Iterable[Path]) -> None:
    """Remove *folders* and what is in them."""
    for folder in folders:
        shutil.rmtree(folder, ignore_errors=True)
