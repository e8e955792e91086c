"""The reading commands on a store of five million events: the first page of each list, and the statistics.

The baseline is `km version` in the same run: what starting a command costs.  The store is made through the recorder's
own core; the file is in the page cache, as it is for whoever looks at what was just recorded.
"""

import os
import pty
import subprocess
import time

from bench.figures import MILLISECOND_NS, Figure, median, milliseconds
from bench.sessions import Run
from screens.scripted_store import fill

FIRST_PAGE_NS = 300 * MILLISECOND_NS
STATISTICS_NS = 2_000 * MILLISECOND_NS
HOUR_NS = 3_600_000_000_000
CALLS = 1_250
# What is typed, and how long it may take; the last three have to look at every event, so no target is theirs.
COMMANDS: dict[str, int | None] = {
    "sessions": FIRST_PAGE_NS,
    "events": FIRST_PAGE_NS,
    "events --all": FIRST_PAGE_NS,
    "events --all --tool tool-3": FIRST_PAGE_NS,
    "events --all --status tool_error": FIRST_PAGE_NS,
    "events --all --search tool-7": FIRST_PAGE_NS,
    "show": FIRST_PAGE_NS,
    "status": FIRST_PAGE_NS,
    "stats": STATISTICS_NS,
    "stats --by server": STATISTICS_NS,
    "stats --by method --since 30d": STATISTICS_NS,
    "events --all --tool nothing-has-this-name": None,
    "events --all --search nothing-has-this-text": None,
    "export": None,
}


def measure(run: Run) -> list[Figure]:
    """Time each command on a terminal; one that reads everything once, the others as the median of several."""
    km = run.programs.km
    if km is None:
        return []
    sessions = run.pick(2_000, 80)
    fill(run.home, sessions=sessions, calls=CALLS, begin_ns=time.time_ns() - sessions * HOUR_NS)
    rounds = run.pick(7, 3)
    start_ns = median([time_command(run, [km, "version"]) for _ in range(rounds)])
    figures = []
    for command, target_ns in COMMANDS.items():
        took_ns = median([time_command(run, [km, *command.split()]) for _ in range(rounds if target_ns else 1)])
        figures.append(
            Figure(
                what=f"km {command}, {sessions * CALLS * 2:,} events",
                value=milliseconds(took_ns),
                baseline=f"km version {milliseconds(start_ns)}",
                ratio=took_ns / start_ns,
                target=f"≤ {milliseconds(target_ns)}" if target_ns else "",
                is_met=took_ns <= target_ns if target_ns else None,
            )
        )
    return figures


def time_command(run: Run, command: list[str]) -> int:
    """Return the nanoseconds until a command has ended; lists are a page long only on a terminal."""
    if command[-1] == "export":
        start_ns = time.monotonic_ns()
        subprocess.run(command, env=run.environment(), stdout=subprocess.DEVNULL, check=True)
        return time.monotonic_ns() - start_ns
    terminal, theirs = pty.openpty()
    start_ns = time.monotonic_ns()
    process = subprocess.Popen(command, env=run.environment(), stdin=theirs, stdout=theirs, stderr=theirs)
    os.close(theirs)
    try:
        while os.read(terminal, 1 << 16):
            pass
    except OSError:  # EIO: it has closed its end
        pass
    process.wait()
    os.close(terminal)
    return time.monotonic_ns() - start_ns
