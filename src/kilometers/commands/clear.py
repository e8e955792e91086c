"""`km clear`: delete recorded sessions that are over."""

import sys

import click
import msgspec

from kilometers import clearing, console, journal_reader, paths, tables
from kilometers.clearing import Choice, StoredSession
from kilometers.commands.reading import open_store, parse_since
from kilometers.core import units
from kilometers.core.event import at_time
from kilometers.core.session_id import short_id
from kilometers.errors import EXIT_USAGE, KilometersError
from kilometers.queries import StoreReader
from kilometers.store import SCHEMA_VERSION

COLUMNS = ("SESSION", "SERVER", "STARTED", "EVENTS", "SIZE")
LISTED = 10
LONG_BYTES = 50_000_000  # takes seconds


class Wanted(msgspec.Struct, frozen=True, kw_only=True):
    """Which sessions, as typed: one of the three."""

    session: str | None
    older_than: str | None
    with_all: bool


def run(wanted: Wanted, *, is_dry_run: bool, is_confirmed: bool) -> None:
    """Say what would be deleted, ask, and delete it."""
    check(wanted)
    before_us = parse_since(wanted.older_than, option="--older-than")
    home = paths.find_home()
    clearing.make_room(home)
    store = open_store()
    number = store.find_session(wanted.session)[0] if wanted.session is not None else None
    choice = clearing.choose(store, waiting_journals(home), number=number, before_us=before_us)
    if number is not None and choice.staying:
        raise still_running(choice.staying[0])
    show(choice)
    if not choice.sessions or is_dry_run:
        return
    check_schema(store)
    if not is_confirmed:
        ask(choice)
    store.connection.close()
    delete(home, choice)


def check(wanted: Wanted) -> None:
    """Raise KilometersError, exit 2, unless exactly one of the three is there."""
    ways = (wanted.session is not None) + (wanted.older_than is not None) + wanted.with_all
    if ways != 1:
        raise KilometersError(
            "say which sessions to delete." if ways == 0 else "say it in one way only.",
            "One of: km clear SESSION, km clear --older-than 7d, km clear --all",
            exit_status=EXIT_USAGE,
        )


def waiting_journals(home: paths.Home) -> set[str]:
    """Return the sessions that have a journal or its marker: without their rows they would be recorded again."""
    return journal_reader.find_home_sessions(home).keys() | journal_reader.find_markers(home.journal_folder).keys()


def still_running(session: StoredSession) -> KilometersError:
    """Return the error for a session that cannot be deleted yet."""
    return KilometersError(
        f"session {named([session])} still runs, or is still being recorded.",
        "End it first; an earlier session of this server has an id of its own: see km sessions",
    )


def check_schema(store: StoreReader) -> None:
    """Raise KilometersError unless the store has this km's schema: bringing it up to date is for a recorder."""
    if store.version != SCHEMA_VERSION:
        raise KilometersError(
            f"the store was made by an older km (schema {store.version}; this km's is {SCHEMA_VERSION}).",
            "The next recorder brings it up to date: end the sessions that run, wait ten seconds, and run this again.",
        )


def show(choice: Choice) -> None:
    """Print what would be deleted, and say what stays and what is nowhere else."""
    sessions, staying = choice.sessions, choice.staying
    if sessions:
        tables.print_rows(COLUMNS, (row(session) for session in sessions[:LISTED]))
    try:
        sys.stdout.flush()
    except BrokenPipeError:
        pass  # that nobody reads the list does not change what was asked for
    if len(sessions) > LISTED:
        console.say(f"… and {units.count(len(sessions) - LISTED, 'earlier session')}")
    console.say(total(sessions) if sessions else "Nothing to delete.")
    unshipped = [session for session in sessions if session.unshipped]
    if unshipped:
        events = sum(session.unshipped for session in unshipped)
        console.say(f"Not shipped yet: {units.count(events, 'event')} of {named(unshipped)}")
    if staying:
        console.say(f"{units.count(len(staying), 'session')} kept, still running or being recorded: {named(staying)}")


def row(session: StoredSession) -> tuple[str, ...]:
    """Return a session's cells."""
    return (
        short_id(session.session_id),
        session.name,
        console.clock(at_time(session.started_at_us * 1000)),
        str(session.events),
        units.size(session.size_bytes),
    )


def counted(sessions: list[StoredSession]) -> str:
    """Return how many sessions and events there are."""
    events = sum(session.events for session in sessions)
    return f"{units.count(len(sessions), 'session')} with {units.count(events, 'event')}"


def total(sessions: list[StoredSession]) -> str:
    """Return how much it is, and of which time."""
    size_bytes = sum(session.size_bytes for session in sessions)
    first_us = min(session.started_at_us for session in sessions)
    last_us = max(session.ended_at_us or session.started_at_us for session in sessions)
    first, last = (console.clock(at_time(time_us * 1000)) for time_us in (first_us, last_us))
    return f"{counted(sessions)}, about {units.size(size_bytes)}, from {first} to {last}"


def named(sessions: list[StoredSession]) -> str:
    """Return the names and ids of some sessions, and how many more there are."""
    names = [f"{session.name or '?'} {short_id(session.session_id)}" for session in sessions[:LISTED]]
    more = [f"{len(sessions) - LISTED:,} more"] if len(sessions) > LISTED else []
    return console.printable(", ".join(names + more))


def ask(choice: Choice) -> None:
    """Ask whether to delete.  Raises KilometersError where the answer is no, or nobody is there to give one."""
    if not (sys.stdin is not None and sys.stdin.isatty() and console.is_terminal()):
        raise KilometersError("nothing was deleted: there is no terminal to ask on.", "To delete without asking: --yes")
    if not click.confirm(f"Delete {units.count(len(choice.sessions), 'session')}?", default=False, err=True):
        raise KilometersError("nothing was deleted.")


def delete(home: paths.Home, choice: Choice) -> None:
    """Delete what was chosen, but for what has got a journal meanwhile, and say what came of it."""
    waiting = waiting_journals(home)
    sessions = [session for session in choice.sessions if session.journal_id not in waiting]
    if sum(session.size_bytes for session in sessions) > LONG_BYTES:
        console.say("Deleting. ^C stops it; what is deleted by then stays deleted.")
    before_bytes = clearing.file_bytes(home)
    deleted: list[StoredSession] = []
    try:
        for session in clearing.delete(home, sessions):
            deleted.append(session)  # noqa: PERF402  # those of a deletion that breaks off count too
    finally:
        sizes = (units.size(size_bytes) for size_bytes in (before_bytes, clearing.file_bytes(home)))
        console.say(f"Deleted {counted(deleted)}; the store went from {' to '.join(sizes)}.")
    left = len(choice.sessions) - len(deleted)
    if left:
        console.say(f"{units.count(left, 'session')} had gone or come back to life meanwhile.")
