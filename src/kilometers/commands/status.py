"""`km status`: what is being recorded, by whom, where, and what is missing."""

import os
from datetime import datetime

import msgspec

from kilometers import console, election, journal_reader, paths
from kilometers.config_file import find_journal_dir, read_config
from kilometers.core import units
from kilometers.errors import KilometersError
from kilometers.log_reader import recorder_version
from kilometers.queries import NothingRecorded, StoreReader
from kilometers.retention import limits

MAX_NAMES = 8


class Status(msgspec.Struct, omit_defaults=True, kw_only=True):
    """What the command prints; *recording*: the names of the servers whose sessions live."""

    home: str
    store: str
    journal: str
    journal_in_memory: bool
    recorder_pid: int | None = None
    recorder_version: str | None = None
    live_sessions: int
    recording: list[str] = []
    waiting_bytes: int
    sessions: int
    events: int
    since: datetime | None = None
    gaps: int
    size_bytes: int
    retention_days: int
    retention_mb: int
    moved_aside: str | None = None
    problem: str | None = None


def run(*, as_json: bool) -> None:
    """Print the status."""
    status = read_status(paths.find_home())
    if as_json:
        console.print_json(status)
        return
    for name, value in lines(status):
        console.write_line(f"{name:<10} {console.printable(value)}")


def read_status(home: paths.Home) -> Status:
    """Look at the lock, the journals and the store."""
    _, config_problem = read_config(home.config_file)
    folder = home.next_journal_folder(find_journal_dir(home.config_file))
    waiting = journal_reader.find_home_sessions(home)
    retention_days, retention_mb = limits(home)
    status = Status(
        home=home.folder,
        store=home.store_file,
        journal=folder,
        journal_in_memory=paths.is_in_memory(os.path.dirname(folder)),
        live_sessions=sum(journal_reader.is_living(files) for files in waiting.values()),
        waiting_bytes=sum(paths.file_size(path) for files in waiting.values() for path in files),
        sessions=0,
        events=0,
        gaps=0,
        size_bytes=0,
        retention_days=retention_days,
        retention_mb=retention_mb,
    )
    read_recorder(home, status)
    try:
        store = StoreReader(home)
        totals = store.totals()
        status.sessions, status.events, status.gaps = totals.sessions, totals.events, totals.gaps
        status.size_bytes, status.since = totals.size_bytes, totals.since
        status.recording = store.living() if status.live_sessions else []
        status.moved_aside = store.meta("moved_aside") or None
    except NothingRecorded:
        pass
    except KilometersError as error:
        status.problem = status.problem or str(error)
    status.problem = status.problem or config_problem or None
    return status


def read_recorder(home: paths.Home, status: Status) -> None:
    """Find out who records."""
    try:
        content, is_held = election.look_at_lock(home)
    except OSError as error:
        status.problem = f"{home.recorder_lock}: {error.strerror}. See: km doctor"
        return
    if is_held:
        status.recorder_pid = content.pid or None
        status.recorder_version = recorder_version(home, content) or None


def lines(status: Status) -> list[tuple[str, str]]:
    """Return the status for a person."""
    recorder = "not running (it starts with the next session)"
    if status.recorder_pid:
        recorder = f"running, pid {status.recorder_pid}, km {status.recorder_version}"
    memory = "in memory" if status.journal_in_memory else "on disk, short-lived, private"
    kept = f"{units.count(status.events, 'event')} of {units.count(status.sessions, 'session')}"
    if status.since:
        kept += f" since {console.clock(status.since)}"
    found = [
        ("recording", recording(status)),
        ("recorder", recorder),
        ("kept", f"{kept}, {units.size(status.size_bytes)}"),
        (
            "limits",
            f"{status.retention_days} days, {units.size(status.retention_mb * 1_000_000)}; then the oldest go",
        ),
        ("pending", f"{units.size(status.waiting_bytes)} in the journal" if status.waiting_bytes else "nothing"),
        ("missing", f"{units.count(status.gaps, 'gap')}; which sessions: km sessions" if status.gaps else "nothing"),
        ("shipped", "nothing: what is recorded stays on this machine"),
        ("store", status.store),
        ("journal", f"{status.journal} ({memory})" if status.journal else "chosen when the next session begins"),
    ]
    if status.moved_aside:
        found.append(("damaged", f"an earlier store was damaged; it was moved to {status.moved_aside}"))
    if status.problem:
        found.append(("problem", status.problem))
    return found


def recording(status: Status) -> str:
    """Return which servers are recorded now; what has only just begun has no name in the store yet."""
    if not status.live_sessions:
        return "nothing now"
    names = [console.printable(name) for name in status.recording[:MAX_NAMES]]
    if names and status.live_sessions > len(names):
        names.append(f"{status.live_sessions - len(names)} more")
    sessions = units.count(status.live_sessions, "session")
    return f"{sessions}: {', '.join(names)}" if names else sessions
