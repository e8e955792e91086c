"""The checks of what records: the store, the recorder, and a session that is really recorded, in a home of its own."""

import glob
import os
import subprocess
import sys
import time
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta

import apsw
import msgspec

from kilometers import __version__, console, election, journal_reader, paths
from kilometers.capture import is_same_machine
from kilometers.checks import Finding, fail, ok, warn
from kilometers.core import units
from kilometers.errors import KilometersError
from kilometers.log_reader import read_log, recorder_version
from kilometers.paths import Home
from kilometers.program import own_command
from kilometers.queries import NothingRecorded, StoreReader
from kilometers.shell import quote
from kilometers.store import StoreTooNew
from kilometers.temporary_home import temporary_home

INTEGRITY_S = 1.0
PROGRESS_STEPS = 10_000
START_S = 2.0  # a recorder that has just been started
BACKLOG_S = 5.0  # at nice 19 on a busy machine
LOOK_EVERY_S = 0.02
LOG_AGE = timedelta(days=1)
MAX_PROBLEM = 100
RECORDING_S = 10.0
REQUEST = b'{"jsonrpc":"2.0","id":1,"method":"ping"}\n'
ANSWER = {"jsonrpc": "2.0", "id": 1, "result": {}}
SERVER = ["demo-server", "notes"]  # of km itself: a native km may be on a machine without Python


def check_store(home: Home) -> Iterator[Finding]:
    """Look whether it can be read, is of a version that we know and is sound, and whether a damaged one is left."""
    yield from _look_for_damaged_stores(home)
    try:
        store = StoreReader(home)
    except NothingRecorded:
        yield ok("nothing has been recorded yet")
    except StoreTooNew as error:
        command = " ".join(map(quote, election.look_at_lock(home)[0].command))
        yield fail(error.message.rstrip("."), f"Use the newer km: {command}" if command else "Update this km")
    except KilometersError as error:
        # The recorder opens it first of all, and moves aside what is no store.
        yield fail(error.message.rstrip("."), "km monitor -- km version")
    else:
        yield from _look_into_store(home, store)


def _look_for_damaged_stores(home: Home) -> Iterator[Finding]:
    stores = [name for name in glob.glob("store.db.damaged-*", root_dir=home.store_folder) if name[-1].isdigit()]
    if stores:
        files = " ".join(f"{quote(os.path.join(home.store_folder, name))}*" for name in sorted(stores))
        yield warn(f"a store was damaged and moved aside: {max(stores)}", f"When you do not need it: rm {files}")


def _look_into_store(home: Home, store: StoreReader) -> Iterator[Finding]:
    problem, is_whole = find_damage(store, INTEGRITY_S)
    if problem:
        yield fail(f"the store is damaged: {console.printable(problem)[:MAX_PROBLEM]}", put_store_aside(home))
        return
    totals = store.totals()
    size_bytes = sum(paths.file_size(home.store_file + ending) for ending in ("", "-wal"))
    sound = "sound" if is_whole else f"no damage found in {INTEGRITY_S:.0f} s"
    kept = f"{units.count(totals.sessions, 'session')}, {units.count(totals.events, 'event')}"
    yield ok(f"{kept}, {units.size(size_bytes)}; {sound}")


def find_damage(store: StoreReader, limit_s: float) -> tuple[str, bool]:
    """Return what is damaged ("" = nothing), and whether all of the store was looked at within *limit_s*."""
    deadline_s = time.monotonic() + limit_s
    store.connection.set_progress_handler(lambda: time.monotonic() > deadline_s, PROGRESS_STEPS)
    try:
        found = str(next(iter(store.connection.execute("PRAGMA quick_check(1)")))[0])
    except apsw.InterruptError:
        return "", False
    except apsw.Error as error:
        return str(error), True
    finally:
        store.connection.set_progress_handler(None)
    return "" if found == "ok" else found, True


def put_store_aside(home: Home) -> str:
    """Return the command that moves the store away with its side files; a running recorder then begins a new one."""
    folder = home.store_folder
    if sys.platform == "win32":
        return f"End the wrapped servers, then move store.db, store.db-wal and store.db-shm out of {folder}"
    return f"mkdir -p {quote(folder)}/damaged && mv {quote(folder)}/store.db* {quote(folder)}/damaged/"


def check_recorder(home: Home) -> Iterator[Finding]:
    """Look who records, whether that is getting anywhere, and what the log says of it."""
    content, is_held = wait_for_pid(home)
    if content.failures >= election.SLOWED_FROM:
        yield fail(f"{content.failures} recorders in a row got nowhere", show_log(home))
    elif is_held:
        yield judge_holder(home, content)
    else:
        yield ok("not running; it starts with the next session")
    yield from _look_at_journals(home)
    yield from _look_at_log(home)


def wait_for_pid(home: Home) -> tuple[election.LockFile, bool]:
    """Return what the lock file says, once a recorder that has just been started has said its pid there."""
    deadline_s = time.monotonic() + START_S
    while True:
        content, is_held = election.look_at_lock(home)
        if content.pid or not is_held or time.monotonic() > deadline_s:
            return content, is_held
        time.sleep(LOOK_EVERY_S)


def judge_holder(home: Home, content: election.LockFile) -> Finding:
    """Say who holds the recorder's lock."""
    if content.boot_id and not is_same_machine(content, home):
        return ok("works in another container, or on another machine")
    if not is_running(content.pid):
        return fail(
            f"{home.recorder_lock} is locked, but by no recorder", f"End the process that holds it: {who(home)}"
        )
    version = recorder_version(home, content)
    if election.version_key(version) < election.version_key(__version__):
        # Killed anywhere, it loses nothing: the relays start the newest one.
        return warn(f"pid {content.pid} is of an older km ({version})", end(content.pid))
    return ok(f"running, pid {content.pid}, version {version}")


def is_running(pid: int) -> bool:
    """Whether there is such a process; on Windows whether there may be."""
    if pid <= 0 or sys.platform == "win32":
        return pid > 0
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        pass
    return True


def who(home: Home) -> str:
    """Return the command that shows who has the lock file open."""
    return f"lsof {quote(home.recorder_lock)}" if sys.platform != "win32" else "resmon"


def end(pid: int) -> str:
    """Return the command that ends a recorder, also one that is stopped: it loses nothing by that."""
    return f"kill -9 {pid}" if sys.platform != "win32" else f"taskkill /F /PID {pid}"


def show_log(home: Home) -> str:
    """Return the command that shows what the recorder said last."""
    if sys.platform == "win32":
        return f"powershell Get-Content -Tail 20 {quote(home.log_file)}"
    return f"tail -n 20 {quote(home.log_file)}"


def _look_at_journals(home: Home) -> Iterator[Finding]:
    """Wait a little for what waits to be recorded, where something does."""
    before = waiting_files(home)
    deadline_s = time.monotonic() + BACKLOG_S
    while before and before <= waiting_files(home):
        if time.monotonic() > deadline_s:
            yield _describe_backlog(home, before)
            return
        time.sleep(LOOK_EVERY_S)


def _describe_backlog(home: Home, files: set[str]) -> Finding:
    size = units.size(sum(map(paths.file_size, files)))
    content, is_held = election.look_at_lock(home)
    if not is_held:
        return fail(f"{size} of journals wait, and nobody records them", "km sessions")
    fix = end(content.pid) if is_running(content.pid) else f"End the process that holds its lock: {who(home)}"
    return fail(f"{size} of journals wait, and the recorder does not get on", fix)


def waiting_files(home: Home) -> set[str]:
    """Return the journal files that a recorder at work takes away soon: all but the newest segment of a living session.

    Where nobody records, that one waits too.
    """
    is_held = election.look_at_lock(home)[1]
    waiting: set[str] = set()
    for files in journal_reader.find_home_sessions(home).values():
        segments = sorted((path for path in files if not path.endswith(".lock")), key=segment_number)
        is_newest_in_use = is_held and journal_reader.is_living(files)
        waiting.update(segments[:-1] if is_newest_in_use else segments)
    return waiting


def segment_number(path: str) -> int:
    """Return the number at a segment's end."""
    return int(path.rpartition(".")[2])


def _look_at_log(home: Home) -> Iterator[Finding]:
    """Say what went wrong last, if that was within a day."""
    error = next((line for line in read_log(home) if line.level == "error"), None)
    if error is None or datetime.now(UTC) - error.timestamp > LOG_AGE:
        return
    last = error.exception.strip().rpartition("\n")[2]
    problem = f"{error.event} ({last})" if last else error.event
    when = console.clock(error.timestamp)
    yield warn(f"{when} in {home.log_file}: {problem[:MAX_PROBLEM]}", show_log(home))


def check_recording(_: Home) -> Iterator[Finding]:
    """Let a client call a server through `km monitor`, in a home of its own, and look for the call in the store."""
    begun_s = time.monotonic()
    deadline_s = begun_s + RECORDING_S
    with temporary_home() as home:
        problem = call_through_monitor(home, deadline_s)
        while not problem and not is_recorded(home):
            if time.monotonic() > deadline_s:
                said = "".join(finding.detail for finding in _look_at_log(home))
                problem = f"the call was not recorded within {RECORDING_S:.0f} s. {said}"
            time.sleep(LOOK_EVERY_S)
    if problem:
        yield fail(f"a test session failed: {problem.strip()}", "km monitor -v -- km version")
    yield ok(f"a test call was recorded, {time.monotonic() - begun_s:.1f} s in all")


def call_through_monitor(home: Home, deadline_s: float) -> str:
    """Start a server behind km, call it once the journal is there, and end it; return what went wrong, "" = nothing."""
    km = own_command()
    command = [*km, "monitor", "-v", "--name", "km-doctor", "--", *km, *SERVER]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE) as relay:
        try:
            wait_for_journal(home, relay, deadline_s)
            answer, said = relay.communicate(REQUEST, timeout=max(0.0, deadline_s - time.monotonic()))
        except subprocess.TimeoutExpired:
            relay.kill()
            answer, said = relay.communicate()
        finally:
            relay.kill()  # an interrupted one would start the next recorder
            relay.wait()
    if is_answer(answer):
        return ""
    return f"no answer came through; km said: {said.decode(errors='replace').strip()[-MAX_PROBLEM:]}"


def is_answer(line: bytes) -> bool:
    """Whether the server answered as it should."""
    try:
        return bool(msgspec.json.decode(line) == ANSWER)
    except msgspec.MsgspecError:
        return False


def wait_for_journal(home: Home, relay: subprocess.Popen[bytes], deadline_s: float) -> None:
    """Wait until the relay has begun its journal: on a busy machine it would go on without, and count a gap."""
    while relay.poll() is None and time.monotonic() < deadline_s:
        if journal_reader.find_markers(home.journal_folder):
            return
        time.sleep(LOOK_EVERY_S)


def is_recorded(home: Home) -> bool:
    """Whether the only session is whole: its call, and its end."""
    try:
        sessions = list(StoreReader(home).sessions(limit=2, since_us=None, search=None, with_probes=True))
    except KilometersError:
        return False  # not yet
    return [(session.calls, session.gaps, session.ended_at is not None) for session in sessions] == [(1, 0, True)]
