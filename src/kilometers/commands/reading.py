"""What the reading commands share: the store, a recorder that has caught up, times as users type them."""

import os
import time
from collections.abc import Callable
from datetime import UTC, datetime

from kilometers import console, election, journal_reader, locks, paths
from kilometers.core.event import microseconds
from kilometers.errors import EXIT_USAGE, KilometersError
from kilometers.queries import EventFilter, StoreReader
from kilometers.store import SCHEMA_VERSION

UNITS_S = {"s": 1, "m": 60, "h": 3600, "d": 86_400, "w": 604_800}
CATCH_UP_S = 3.0
MIGRATE_S = 60.0  # 1 GB of events takes about ten seconds
LOOK_EVERY_S = 0.02
MAX_DIGITS = 6  # of a number of days or weeks: more lie before the epoch of every calendar


def open_store() -> StoreReader:
    """Return the store, once what dead sessions left in their journals is in it.

    Raises KilometersError where nothing has been recorded yet.
    """
    home = paths.find_home()
    if has_journals(home):
        start_recorder(home)
        wait_until(lambda: not has_ended_journals(home), CATCH_UP_S)
    if StoreReader(home).version < SCHEMA_VERSION:
        bring_up_to_date(home)
    return StoreReader(home)


def bring_up_to_date(home: paths.Home) -> None:
    """Let a recorder of this version bring the store to its schema; where it dies of it, another one, once."""
    for _ in range(2):
        if not (start_recorder(home) or is_recorder_ours(home)):
            return  # an older km records, and goes on doing so for as long as its sessions live
        console.say("km: bringing the store up to date…")
        began_s = time.monotonic()

        def is_over(began_s: float = began_s) -> bool:
            is_gone = time.monotonic() > began_s + election.RETRY_LOCK_S and not is_recorder_ours(home)
            return is_gone or StoreReader(home).version == SCHEMA_VERSION

        wait_until(is_over, MIGRATE_S)
        if StoreReader(home).version == SCHEMA_VERSION:
            return


def is_recorder_ours(home: paths.Home) -> bool:
    """Whether a recorder works that keeps a store as this km does."""
    try:
        content, is_held = election.look_at_lock(home)
    except OSError:
        return False
    return is_held and content.schema == SCHEMA_VERSION


def start_recorder(home: paths.Home) -> bool:
    """Start a recorder unless one works; whether one was started."""
    try:
        fd = election.open_lock(home)
        try:
            pid = election.start_recorder(home, fd) if locks.try_lock(fd) else None
        finally:
            os.close(fd)
    except OSError:
        return False  # a home that cannot be written: there is nothing to wait for
    if pid is not None:
        election.reap(pid)
    return pid is not None


def wait_until(condition: Callable[[], bool], timeout_s: float) -> None:
    """Wait for as long as a person would, and no longer."""
    deadline_s = time.monotonic() + timeout_s
    while not condition() and time.monotonic() < deadline_s:
        time.sleep(LOOK_EVERY_S)


def has_journals(home: paths.Home) -> bool:
    """Whether any journal or marker of this home is there."""
    return bool(journal_reader.find_home_sessions(home) or journal_reader.find_markers(home.journal_folder))


def has_ended_journals(home: paths.Home) -> bool:
    """Whether a session that has ended still waits to be recorded."""
    return any(not journal_reader.is_living(files) for files in journal_reader.find_home_sessions(home).values())


def parse_filter(
    *, method: str | None, tool: str | None, status: str | None, since: str | None, search: str | None
) -> EventFilter:
    """Return which events are wanted, from what was typed.  Raises KilometersError, exit 2."""
    return EventFilter(method, tool, status, parse_since(since), search)


def parse_since(text: str | None, *, option: str = "--since") -> int | None:
    """Return a time in µs since the epoch for `90s`, `2h`, `7d` (ago) or an ISO 8601 date or time (local zone).

    Raises KilometersError, exit 2, for anything else.
    """
    if text is None:
        return None
    number, unit = text[:-1], text[-1:]
    if number.isascii() and number.isdigit() and len(number) <= MAX_DIGITS and unit in UNITS_S:
        return time.time_ns() // 1000 - int(number) * UNITS_S[unit] * 1_000_000
    try:
        moment = datetime.fromisoformat(text).astimezone(UTC)
    except (ValueError, OverflowError) as error:
        raise KilometersError(
            f'{option} "{text}" is no time.',
            "Use 90s, 10m, 2h, 7d, or a date such as 2026-01-31.",
            exit_status=EXIT_USAGE,
        ) from error
    return microseconds(moment)
