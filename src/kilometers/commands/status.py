"""`km status`: what is being recorded, by whom, where, and what is missing."""

import os

import msgspec

from kilometers import console, election, journal_reader, locks, paths
from kilometers.commands.reading import journal_files
from kilometers.config_file import read_config
from kilometers.core import settings
from kilometers.errors import KilometersError
from kilometers.queries import StoreReader


class Status(msgspec.Struct, omit_defaults=True, kw_only=True):
    """What the command prints."""

    home: str
    store: str
    journal: str
    journal_in_memory: bool
    recorder_pid: int | None = None
    recorder_version: str | None = None
    live_sessions: int
    waiting_bytes: int
    sessions: int
    events: int
    gaps: int
    size_bytes: int
    moved_aside: str | None = None
    problem: str | None = None


def run(*, as_json: bool) -> None:
    """Print the status."""
    status = read_status(paths.find_home())
    if as_json:
        console.print_json(status)
        return
    for name, value in lines(status):
        console.write_line(f"{name:<10} {value}")


def read_status(home: paths.Home) -> Status:
    """Look at the lock, the journals and the store."""
    config, config_problem = read_config(home.config_file)
    journal_dir = settings.resolve(settings.JOURNAL_DIR, environment=dict(os.environ), config=config).value
    folders = home.journal_folders(journal_dir)
    folder = next((folder for folder in folders if paths.is_private_folder(folder)), home.journal_folder)
    waiting = journal_files(home)
    status = Status(
        home=home.folder,
        store=home.store_file,
        journal=folder,
        journal_in_memory=paths.is_in_memory(os.path.dirname(folder)),
        live_sessions=sum(journal_reader.is_living(files) for files in waiting.values()),
        waiting_bytes=sum(file_size(path) for files in waiting.values() for path in files),
        sessions=0,
        events=0,
        gaps=0,
        size_bytes=0,
    )
    read_recorder(home, status)
    try:
        store = StoreReader(home)
        totals = store.totals()
        status.sessions, status.events, status.gaps = totals.sessions, totals.events, totals.gaps
        status.size_bytes = totals.size_bytes
        status.moved_aside = store.meta("moved_aside") or None
    except KilometersError as error:
        status.problem = str(error) if os.path.exists(home.store_file) else None
    status.problem = status.problem or config_problem or None
    return status


def read_recorder(home: paths.Home, status: Status) -> None:
    """Find out who holds the lock, without holding it for longer than a moment."""
    if not os.path.exists(home.recorder_lock):
        return
    fd = os.open(home.recorder_lock, os.O_RDONLY)
    try:
        content = election.read_lock(fd)
        if not locks.try_lock(fd):
            status.recorder_pid, status.recorder_version = content.pid or None, content.version or None
    finally:
        os.close(fd)


def file_size(path: str) -> int:
    """Return a file's size; 0 where it has gone meanwhile."""
    try:
        return os.path.getsize(path)
    except OSError:
        return 0


def lines(status: Status) -> list[tuple[str, str]]:
    """Return the status for a person."""
    recorder = "not running (it starts with the next session)"
    if status.recorder_pid:
        recorder = f"running, pid {status.recorder_pid}, version {status.recorder_version}"
    memory = "in memory" if status.journal_in_memory else "on disk, short-lived, private"
    found = [
        ("recorder", recorder),
        ("sessions", f"{status.live_sessions} live, {status.sessions} in the store"),
        ("events", f"{status.events}, {console.size(status.size_bytes)}"),
        ("missing", f"{status.gaps} gaps" if status.gaps else "nothing"),
        ("journal", f"{status.journal} ({memory}, {console.size(status.waiting_bytes)})"),
        ("store", status.store),
    ]
    if status.moved_aside:
        found.append(("damaged", f"an earlier store was damaged; it was moved to {status.moved_aside}"))
    if status.problem:
        found.append(("problem", status.problem))
    return found
