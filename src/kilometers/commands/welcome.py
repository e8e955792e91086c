"""`km` alone: what has been recorded, and what to do next."""

from datetime import UTC, datetime

from kilometers import __version__, console, paths, shell
from kilometers.commands.status import Status, read_status, recording
from kilometers.core import units
from kilometers.core.summary import SessionSummary
from kilometers.errors import KilometersError
from kilometers.queries import StoreReader

FIRST_STEPS = (
    ("demo", "see it work: a real client and server, a few seconds, nothing left behind"),
    ("doctor", "find the MCP clients of this machine, and what to paste to wrap their servers"),
    ("monitor -- COMMAND", "wrap a server by hand"),
)


def run() -> None:
    """Print it."""
    home = paths.find_home()
    status = read_status(home)
    latest = find_latest(home) if status.sessions else None
    console.write_line(f"km {__version__}: a flight recorder for MCP.")
    for line in summary(status, latest):
        console.write_line(console.printable(line))
    console.write_line("")
    steps = FIRST_STEPS if latest is None else next_steps(latest)
    km = shell.typed_km()
    width = max(len(command) for command, _ in steps)
    for command, what in steps:
        console.write_line(f"  {km} {command:<{width}}  {console.printable(what)}")
    console.write_line("")
    console.write_line(f"All commands: {km} --help")


def find_latest(home: paths.Home) -> SessionSummary | None:
    """Return the latest session, if there is one."""
    try:
        return next(StoreReader(home).sessions(limit=1, since_us=None, search=None, with_probes=False), None)
    except KilometersError:
        return None


def summary(status: Status, latest: SessionSummary | None) -> list[str]:
    """Return how things stand, in a line or two."""
    if status.problem:
        return [f"Something is wrong: {status.problem}"]
    if latest is None:
        return ["Nothing has been recorded yet."]
    counts = [units.count(latest.calls, "call"), units.count(latest.errors, "error")]
    began = units.ago(latest.started_at, now=datetime.now(UTC)) if latest.started_at else ""
    now = f"Recording {recording(status)}." if status.live_sessions else "Nothing is being recorded now."
    return [now, f"The latest session: {latest.name}, {', '.join(counts)}, begun {began}."]


def next_steps(latest: SessionSummary) -> list[tuple[str, str]]:
    """Return what is worth a look."""
    return [
        ("show", f"the timeline of {latest.name}"),
        ("sessions", "all sessions"),
        ("stats", "calls, errors and latencies by tool"),
        ("tail", "follow what happens now"),
    ]
