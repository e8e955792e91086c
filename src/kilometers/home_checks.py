"""The checks of km's own folders: the home, the journal's place, the rights of the files, the space, the clock."""

import os
import shutil
import stat
import sys
import time
from collections.abc import Iterator
from datetime import UTC, datetime

from kilometers import election, paths
from kilometers.capture import is_same_machine
from kilometers.checks import Finding, State, advice, fail, nearest, ok, try_to_write, warn
from kilometers.config_file import find_journal_dir
from kilometers.core import units
from kilometers.errors import KilometersError
from kilometers.paths import Home
from kilometers.queries import StoreReader
from kilometers.segment_files import SESSION_CAP_BYTES
from kilometers.shell import join, quote

WARN_BYTES, FAIL_BYTES = 500_000_000, 50_000_000
WARN_MEMORY_BYTES, FAIL_MEMORY_BYTES = 64_000_000, 4_000_000  # sessions may use a quarter of it; a segment has 1 MB
WARN_FILES, FAIL_FILES = 1_000, 50
OTHERS = 0o077
BEGINNING_NS = int(datetime(2026, 1, 1, tzinfo=UTC).timestamp()) * 1_000_000_000  # this km was made later
AHEAD_S = 300
FILE_TIME_S = 2


def check_home(home: Home) -> Iterator[Finding]:
    """Look whether the folder is there or can be made, is ours alone, and takes files."""
    said, used = os.environ.get("HOME", ""), paths.find_user_home()
    if sys.platform != "win32" and said not in {"", used} and not os.environ.get("KILOMETERS_HOME"):
        yield warn(
            f"HOME is another user's ({said}); km uses {used}", "Run km as the user whose client runs, not by sudo"
        )
    if not os.path.isdir(home.folder):
        yield from _look_where_home_would_be(home, used)
        return
    found = os.stat(home.folder)
    if found.st_uid != paths.user_id():
        yield fail(f"{home.folder} is another user's", f"sudo chown -R {paths.user_id()} {quote(home.folder)}")
    elif sys.platform != "win32" and found.st_mode & OTHERS:
        yield warn(f"{home.folder} is open to other users", f"chmod 700 {quote(home.folder)}")
    if paths.file_system_magic(home.folder) in paths.NETWORK_MAGICS or home.folder.startswith("\\\\"):
        yield warn(
            f"{home.folder} is on a network file system; the store is in {home.store_folder}",
            "Set KILOMETERS_HOME to a folder on this machine, in the clients' env too",
        )
    try:
        try_to_write(home.folder)
    except OSError as error:
        yield fail(f"{home.folder} takes no files: {error.strerror}", advice(error, home.folder))
    yield ok(home.folder)


def _look_where_home_would_be(home: Home, user_home: str) -> Iterator[Finding]:
    above = nearest(home.folder)
    is_there = os.path.lexists(home.folder)
    if is_there or not os.path.isdir(above):
        path = home.folder if is_there else above
        yield fail(f"{path} is no folder, so nothing is recorded", f"mv {quote(path)} {quote(f'{path}.old')}")
    elif not os.environ.get("KILOMETERS_HOME") and not os.path.isdir(user_home):
        yield fail(f"your home {user_home} is not there, so nothing is recorded", "Set HOME to a folder of yours")
    else:
        try:
            try_to_write(above)
        except OSError as error:
            yield fail(f"{home.folder} cannot be made in {above}: {error.strerror}", advice(error, above))
        yield ok(f"{home.folder}, which the first session makes")


def check_journal(home: Home) -> Iterator[Finding]:
    """Write into the first folder that can be used; the better ones that cannot be are named."""
    if not os.path.isdir(home.folder):
        yield ok("chosen when the first session begins")
        return
    chosen = find_journal_dir(home.config_file)
    fix = f"ls -ld {quote(home.journal_folder)}"
    for folder in [home.journal_folder] if is_shared(home) else home.journal_folders(chosen):
        try:
            yield try_journal(folder)
        except NotPrivate as error:
            fix = error.fix
            yield warn(str(error), fix)
        except OSError as error:
            fix = advice(error, folder)
            if os.path.isdir(folder):
                yield fail(f"{folder} takes no files: {error.strerror}", fix)
                return
            if folder == chosen:
                yield warn(f"journal_dir {folder} cannot be made: {error.strerror}", fix)
        else:
            return
    yield fail("no folder for the journal can be used: nothing is recorded", fix)


class NotPrivate(Exception):
    """A folder for the journal is not ours alone, so km does not use it."""

    def __init__(self, folder: str) -> None:
        found = os.lstat(folder)
        if found.st_uid != paths.user_id():
            problem, self.fix = "another user's", f"sudo rm -r {quote(folder)}"
        elif not stat.S_ISDIR(found.st_mode):
            problem, self.fix = "no folder", f"rm {quote(folder)}"
        else:
            problem, self.fix = "open to others", f"chmod 700 {quote(folder)}"
        super().__init__(f"{folder} is {problem}, so km does not use it")


def try_journal(folder: str) -> Finding:
    """Write where a journal would be, and say what that place is.  Raises NotPrivate and OSError.

    A folder that had to be made is removed again: a relay that has just found it makes it anew.
    """
    try:
        os.mkdir(folder, 0o700)
        is_made = True
    except FileExistsError:
        is_made = False
    try:
        if not paths.is_private_folder(folder):
            raise NotPrivate(folder)
        try_to_write(folder)
        place = "in memory" if paths.is_in_memory(folder) else "on disk, private, short-lived"
        free = units.size(shutil.disk_usage(folder).free)
        return ok(f"{folder}: {place}; {free} free, {units.size(SESSION_CAP_BYTES)} a session at most")
    finally:
        if is_made:
            try:
                os.rmdir(folder)
            except OSError:
                pass  # a session has just begun in it


def is_shared(home: Home) -> bool:
    """Whether a recorder works that does not see our memory: in another container, or on another machine."""
    content, is_held = election.look_at_lock(home)
    return is_held and bool(content.boot_id) and not is_same_machine(content, home)


def check_permissions(home: Home) -> Iterator[Finding]:
    """Look whether the files are ours, and closed to everybody else."""
    files = [home.store_file, f"{home.store_file}-wal", home.recorder_lock, home.log_file, home.config_file]
    folders = [home.journal_folder, os.path.dirname(home.log_file)]
    found = {path: os.lstat(path) for path in (*files, *folders) if os.path.lexists(path)}
    theirs = [path for path, status in found.items() if status.st_uid != paths.user_id()]
    if theirs:
        command = f"sudo chown {paths.user_id()} {join(theirs)}"
        yield fail(f"{names(theirs)} belong to another user: was km run by sudo?", command)
    closed = [path for path, status in found.items() if path not in theirs and not status.st_mode & stat.S_IRUSR]
    if closed:
        yield fail(f"you may not read {names(closed)}", f"chmod u+rw {join(closed)}")
    opened = [path for path, status in found.items() if status.st_mode & OTHERS and not stat.S_ISLNK(status.st_mode)]
    if opened:
        # Nobody else gets to them through a home that is closed; the settings may be outside it, and hold no secrets.
        is_exposed = opened != [home.config_file] and bool(os.stat(home.folder).st_mode & OTHERS)
        say = fail if is_exposed else warn
        yield say(f"others have rights to {names(opened)}", f"chmod go-rwx {join(opened)}")
    yield ok("yours alone" if found else "no files yet")


def names(files: list[str]) -> str:
    """Return the files' names for a sentence."""
    return ", ".join(map(os.path.basename, files))


def check_disk(home: Home) -> Iterator[Finding]:
    """Look how much space is left for the store and for the journal."""
    journal = home.next_journal_folder(find_journal_dir(home.config_file)) or home.folder
    for name, folder in (("store", nearest(home.store_folder)), ("journal", nearest(journal))):
        yield judge_space(name, folder)
        if sys.platform != "win32":
            yield from judge_files(name, folder)


def judge_space(name: str, folder: str) -> Finding:
    """Say how much is free in *folder*; a file system that does not count says 0 of 0."""
    found = shutil.disk_usage(folder)
    is_memory = paths.is_in_memory(folder)
    warn_bytes, fail_bytes = (WARN_MEMORY_BYTES, FAIL_MEMORY_BYTES) if is_memory else (WARN_BYTES, FAIL_BYTES)
    free = f"{units.size(found.free)} free for the {name}{' (memory)' if is_memory else ''}"
    if not found.total or found.free >= warn_bytes:
        return ok(free)
    has_store = os.path.exists(os.path.join(folder, "store.db"))
    fix = "km clear --older-than 7d" if has_store else f"df -h {quote(folder)}"
    return Finding("fail" if found.free < fail_bytes else "warn", f"only {free}: {folder}", fix)


if sys.platform != "win32":

    def judge_files(name: str, folder: str) -> Iterator[Finding]:
        """Say whether too few files can still be made; a file system that does not count them says 0 of 0."""
        found = os.statvfs(folder)
        if found.f_files and found.f_favail < WARN_FILES:
            state: State = "fail" if found.f_favail < FAIL_FILES else "warn"
            yield Finding(state, f"only {found.f_favail} more files for the {name}: {folder}", f"df -i {quote(folder)}")


def check_clock(home: Home) -> Iterator[Finding]:
    """Compare the clock with this km's age, with the newest event and with the file system."""
    folder = home.folder if os.path.isdir(home.folder) else ""
    try:
        file_ns = try_to_write(folder) if folder else None
    except OSError:
        file_ns = None  # the home's own check says so
    yield from judge_clock(time.time_ns(), newest_event_ns(home), file_ns)


def judge_clock(now_ns: int, newest_ns: int | None, file_ns: int | None) -> Iterator[Finding]:
    """Say what speaks against the clock; None = not known."""
    if now_ns < BEGINNING_NS:
        yield fail(f"the clock says {moment(now_ns)}: that is before this km was made", SET_CLOCK)
    if newest_ns is not None and newest_ns > now_ns + AHEAD_S * 1_000_000_000:
        yield warn(f"the newest event is of {moment(newest_ns)}: the clock has gone back since", SET_CLOCK)
    if file_ns is not None and abs(file_ns - now_ns) > FILE_TIME_S * 1_000_000_000:
        apart_s = abs(file_ns - now_ns) / 1e9
        yield warn(f"the home's file system is {apart_s:.0f} s off: is it another machine's?", SET_CLOCK)
    yield ok(moment(now_ns))


SET_CLOCK = {"win32": "w32tm /resync", "darwin": "sudo sntp -sS time.apple.com"}.get(
    sys.platform, "sudo timedatectl set-ntp true"
)


def moment(wall_ns: int) -> str:
    """Return a time of the wall clock in the local zone."""
    try:
        return f"{datetime.fromtimestamp(wall_ns / 1e9, UTC).astimezone():%Y-%m-%d %H:%M:%S %Z}"
    except (OverflowError, ValueError, OSError):
        return f"{wall_ns / 1e9:.0f} s after 1970"


def newest_event_ns(home: Home) -> int | None:
    """Return when the newest event in the store happened; None where nothing can be read."""
    try:
        ((newest_us,),) = StoreReader(home).rows("SELECT max(at_us) FROM events", {})
    except KilometersError:
        return None  # the store's own check says so
    return None if newest_us is None else int(newest_us) * 1000
