"""The recorder: one process per user that turns journals into events in the store.

    wait ──▶ scan (which journals are there) ──▶ read ──▶ commit ──▶ unlink ──▶ wait
                                        at any failure of the store: forget everything, wait, scan again

Crash-only: start-up and recovery are the same code; what is in memory can be dropped at any moment, because the
journal and the store have it.  It runs at nice 19, sleeps until a journal changes, and leaves when nothing is left to
record.  Started by election.py with recorder.lock inherited.
"""

import os
import sys
import time

import apsw
from structlog.typing import FilteringBoundLogger

from kilometers import __version__, election, journal_reader, locks, paths, program
from kilometers.core.session_id import make_session_id
from kilometers.errors import EXIT_OK, EXIT_OUR_BUG
from kilometers.faults import arm, linger_s, reach
from kilometers.log import open_log
from kilometers.machine import boot_id, machine_id, memory_identity
from kilometers.poison import PoisonNote
from kilometers.recording import STEP_BYTES, Recording
from kilometers.retention import Retention
from kilometers.store import SCHEMA_VERSION, Store, StoreDamaged, StoreTooNew, make_ballast, move_aside
from kilometers.watch import Watcher

if sys.platform != "win32":
    import resource

    from kilometers.child import close_inherited_fds

COMMIT_EVERY_S = 0.05  # a third of what may pass from the wire to the store
LINGER_S = 10.0  # a client that restarts its servers finds the recorder still there
SLEEP_S = 60.0
PROVEN_AFTER_S = 10.0
RETRY_STORE_S = 1.0
LIVENESS_AGAIN_S = 0.05
MAC_OPEN_MAX = 10_240  # OPEN_MAX: macOS refuses more, also where the hard limit is infinite (setrlimit(2))
HELD_BYTES = 24 << 20  # more than the largest frame of which facts are read

DAMAGE = (apsw.CorruptError, apsw.NotADBError, StoreDamaged)
UNWRITABLE = (apsw.FullError, apsw.IOError, apsw.CantOpenError, apsw.BusyError, apsw.ReadOnlyError)


class StoreLost(Exception):
    """Somebody removed or replaced the store's file while it was open."""


class HomeLost(Exception):
    """recorder.lock is not ours any more: the home was removed or replaced."""


class Recorder:
    """Records all sessions of one home."""

    def __init__(self, home: paths.Home, lock_fd: int, log: FilteringBoundLogger) -> None:
        self.home = home
        self.lock_fd = lock_fd
        self.log = log
        self.note = PoisonNote(home.poison_note)
        self.watcher = Watcher()
        self.recordings: dict[str, Recording] = {}
        self.extra_folders: set[str] = set()
        self.moved_aside = ""
        self.changed: set[str] | None = None
        """Names of journal files that changed; None = look at everything."""
        self.committed_s = 0.0
        self.busy_s = time.monotonic()
        self.has_caught_up = False
        self.is_proven = False
        """It has got somewhere: should it die, the next one is started at once."""
        self.started_s = time.monotonic()
        self.write_lock_file()
        self.open_store()

    def run(self) -> int:
        """Record until nothing is left to record."""
        self.log.info("recorder started", version=__version__, pid=os.getpid(), home=self.home.folder)
        while True:
            try:
                if not self.step() and not self.sleep():
                    return EXIT_OK
            except (*UNWRITABLE, OSError) as error:
                self.wait_for_the_disk(error)
            except DAMAGE as error:
                self.forget()
                self.set_store_aside(str(error))
                self.open_store()
            except StoreLost:
                self.log.warning("the store is gone; a new one is begun")
                self.forget()
                self.open_store()

    def step(self) -> bool:
        """Read, commit, unlink; whether there is more to read."""
        self.check_home()
        found = self.scan()
        reach("scanned")
        touched = self.read(found)
        reach("read")
        self.note.clear()
        if touched:
            if not self.store.is_in_place():
                raise StoreLost
            with self.store.transaction():
                for recording in touched:
                    recording.save()
                    reach("in_transaction")
                reach("before_commit")
            self.committed_s = time.monotonic()
            reach("committed")
            for recording in touched:
                recording.unlink_recorded(self.home.marker(recording.journal_id))
            reach("unlinked")
        for recording in [recording for recording in self.recordings.values() if recording.is_finished]:
            self.log.info("session recorded", session_id=recording.journal_id)
            recording.close()
            del self.recordings[recording.journal_id]
            reach("finished")
        self.limit_held_bytes()
        has_more = any(recording.has_news for recording in self.recordings.values())
        if not has_more and not self.has_caught_up:
            self.has_caught_up = True
            self.note.relax()
        is_of_use = self.committed_s > 0 or time.monotonic() > self.started_s + PROVEN_AFTER_S
        if is_of_use and self.has_caught_up and not self.is_proven:
            self.is_proven = True
            self.write_lock_file(failures=0)
        return has_more

    def scan(self) -> dict[str, list[str]]:
        """Return the journal files of every session that may have news."""
        # Markers first: a relay makes its journal, then its marker.
        markers = journal_reader.find_markers(self.home.journal_folder)
        self.extra_folders.update(folder for folder in markers.values() if folder)
        folders = self.folders()
        for folder in folders:
            self.watcher.add(folder)
        found = journal_reader.find_sessions(folders)
        for session_id in found.keys() - self.recordings.keys():
            self.adopt(session_id, found[session_id])
        for session_id in (markers.keys() | self.recordings.keys()) - found.keys():
            self.lose(session_id)
        return found

    def folders(self) -> list[str]:
        """Return every folder that may hold journals."""
        return list(dict.fromkeys([*self.home.journal_folders(), *sorted(self.extra_folders)]))

    def adopt(self, session_id: str, files: list[str]) -> None:
        """Begin to record a session, or clear up after one that is recorded."""
        recording = Recording(session_id, self.store, self.note, self.install_id)
        if recording.is_lost or (recording.is_unclean and journal_reader.is_living(files)):
            recording.resume()
        if recording.is_finished or recording.is_from_copied_home:
            recording.reader.refresh(files)
            recording.unlink_recorded(self.home.marker(session_id))
            return
        self.recordings[session_id] = recording

    def lose(self, session_id: str) -> None:
        """End a session whose journal has disappeared."""
        recording = self.recordings.get(session_id) or Recording(session_id, self.store, self.note, self.install_id)
        if not recording.is_finished and not recording.is_from_copied_home:
            self.log.warning("journal lost", session_id=session_id)
            recording.lose()
            with self.store.transaction():
                recording.save()
        recording.unlink_recorded(self.home.marker(session_id))
        recording.close()
        self.recordings.pop(session_id, None)

    def read(self, found: dict[str, list[str]]) -> list[Recording]:
        """Read the sessions that may have news, until the step is full; return those to save."""
        touched: list[Recording] = []
        room_bytes = STEP_BYTES
        for session_id, recording in list(self.recordings.items()):
            if room_bytes <= 0:
                recording.has_news = True
                continue
            if not (recording.has_news or self.has_changed(session_id)):
                continue
            room_bytes -= recording.read(found[session_id], self.folders())
            touched.append(recording)
            # To the end of the line: a session that never stops must not keep the others waiting.
            self.recordings[session_id] = self.recordings.pop(session_id)
        self.changed = set()
        return touched

    def check_home(self) -> None:
        """Raise HomeLost if recorder.lock is not the file that we hold locked."""
        try:
            is_ours = os.path.samestat(os.fstat(self.lock_fd), os.stat(self.home.recorder_lock))
        except OSError:
            is_ours = False
        if not is_ours:
            raise HomeLost

    def limit_held_bytes(self) -> None:
        """Keep frames that have not ended within HELD_BYTES, all sessions together: the largest is only counted on."""
        room_bytes = HELD_BYTES
        for recording in sorted(self.recordings.values(), key=lambda recording: recording.held_bytes):
            room_bytes -= recording.held_bytes
            if room_bytes < 0:
                recording.let_go()

    def has_changed(self, session_id: str) -> bool:
        """Whether the watcher said so."""
        return self.changed is None or any(name.startswith(session_id) for name in self.changed)

    def sleep(self) -> bool:
        """Wait for news; False when it is time to leave."""
        since_commit_s = time.monotonic() - self.committed_s
        if since_commit_s < COMMIT_EVERY_S:
            time.sleep(COMMIT_EVERY_S - since_commit_s)
        if not self.retention.apply():
            self.changed = self.watcher.wait(0)
            return True
        if self.recordings:
            self.busy_s = time.monotonic()
        left_s = self.busy_s + linger_s(LINGER_S) - time.monotonic()
        self.changed = self.watcher.wait(SLEEP_S if self.recordings else max(0.0, left_s))
        if self.changed is None or any(name.endswith(".lock") for name in self.changed):
            # A lock is let go a moment after its file is closed where the relay was just starting a process.
            time.sleep(LIVENESS_AGAIN_S)
        if not self.recordings and not self.changed and time.monotonic() >= self.busy_s + linger_s(LINGER_S):
            return not self.leave()
        if self.changed == set():
            self.changed = None  # nothing for a minute: look at everything once, in case a word was lost
        return True

    def leave(self) -> bool:
        """Let go of the lock, look once more, and take it again if there is work after all; whether we leave."""
        self.store.close()
        self.note.remove()
        self.write_lock_file(failures=0)
        for folder in self.home.ram_folders():
            try:
                os.rmdir(folder)
            except OSError:
                pass  # not there, or not empty: a relay has just begun
        reach("leaving")
        locks.unlock(self.lock_fd)
        deadline_s = time.monotonic() + election.RETRY_LOCK_S
        while self.has_work():
            if locks.try_lock(self.lock_fd):
                self.note = PoisonNote(self.home.poison_note)
                self.open_store()
                return False
            if time.monotonic() > deadline_s:  # somebody else has it: the work is theirs
                break
            time.sleep(COMMIT_EVERY_S)
        self.log.info("recorder left: nothing to record")
        return True

    def has_work(self) -> bool:
        """Whether any session's journal or marker is there."""
        markers = journal_reader.find_markers(self.home.journal_folder)
        return bool(markers or journal_reader.find_sessions(self.folders()))

    def close_lost_sessions(self) -> None:
        """End the sessions that the store has without an end and that have no journal: a power loss, a logout."""
        markers = journal_reader.find_markers(self.home.journal_folder)
        self.extra_folders.update(folder for folder in markers.values() if folder)
        found = journal_reader.find_sessions(self.folders())
        for journal_id in self.store.unended_sessions(self.install_id):
            if journal_id not in found:
                self.lose(journal_id)

    def open_store(self) -> None:
        """Open the store, waiting for as long as the disk does not let us.  Raises StoreTooNew."""
        is_said = False
        while True:
            self.check_home()
            try:
                self.store = self.try_to_open_store()
                self.retention = Retention(self.store, self.home)
                self.changed = None
                self.close_lost_sessions()
            except DAMAGE as error:
                self.set_store_aside(str(error))
            except (*UNWRITABLE, OSError) as error:
                if not is_said:
                    self.log.warning("the store cannot be opened; waiting", error=str(error))
                is_said = True
                time.sleep(RETRY_STORE_S)
            else:
                return

    def try_to_open_store(self) -> Store:
        """Open the store, or begin it.  Raises apsw errors, OSError and StoreTooNew."""
        is_new = not os.path.exists(self.home.store_file)
        store = Store(self.home.store_file)
        with store.transaction():
            if is_new:
                store.set_meta("begun_at_ms", str(time.time_ns() // 1_000_000))
            if self.moved_aside:
                store.set_meta("moved_aside", self.moved_aside)
            self.install_id = self.claim(store)
        make_ballast(self.home.ballast)
        return store

    def set_store_aside(self, problem: str) -> None:
        """Rename the damaged store, so that a new one can be begun; sessions that live go on as new streams."""
        try:
            self.moved_aside = move_aside(self.home.store_file)
        except OSError as error:  # Windows renames no file that a reader has open
            self.log.warning("the store is damaged and cannot be moved aside; waiting", error=str(error))
            time.sleep(RETRY_STORE_S)
            return
        self.log.error("the store is damaged and was moved aside", aside=self.moved_aside, problem=problem)

    def claim(self, store: Store) -> str:
        """Return the install id: a new one where the store was made on another machine or copied to another home.

        By the home's inode alone: the device's number changes with a boot on some file systems (btrfs).
        """
        owner = f"{machine_id()} {os.stat(self.home.folder).st_ino}"
        if store.meta("owner") != owner:
            store.set_meta("owner", owner)
            store.set_meta("install_id", make_session_id(time.time_ns(), os.urandom(10)))
        return store.meta("install_id")

    def wait_for_the_disk(self, error: Exception) -> None:
        """Wait, with nothing kept in memory; the journal holds what comes in meanwhile."""
        self.log.warning("the store cannot be written; waiting", error=str(error))
        if isinstance(error, apsw.FullError) and os.path.exists(self.home.ballast):
            os.unlink(self.home.ballast)
        self.forget()
        time.sleep(RETRY_STORE_S)
        self.open_store()

    def forget(self) -> None:
        """Drop what is in memory: the journal and the store have it."""
        for recording in self.recordings.values():
            recording.close()
        self.recordings.clear()
        try:
            self.store.close()
        except apsw.Error:
            pass  # it cannot checkpoint either; the WAL stays for the next one

    def write_lock_file(self, *, failures: int | None = None) -> None:
        """Say in recorder.lock who records, and where its journals may be."""
        content = election.read_lock(self.lock_fd)
        election.name_newest(content)
        content.pid = os.getpid()
        content.schema = SCHEMA_VERSION
        content.boot_id = boot_id()
        content.journal = memory_identity(self.home)
        content.failures = content.failures if failures is None else failures
        election.write_lock(self.lock_fd, content)


if sys.platform != "win32":

    def raise_limits() -> None:
        """Allow ourselves as much as may be had: what the relay's client was allowed is no measure for us."""
        for limit in (resource.RLIMIT_FSIZE, resource.RLIMIT_NOFILE):
            hard = resource.getrlimit(limit)[1]
            soft = min(hard, MAC_OPEN_MAX) if sys.platform == "darwin" and limit == resource.RLIMIT_NOFILE else hard
            resource.setrlimit(limit, (soft, hard))


def run() -> int:
    """Record until nothing is left to record; leave at once if another recorder works."""
    home = paths.find_home()
    if sys.platform != "win32":
        # What the relay's client gave it is not ours to keep open.
        close_inherited_fds(above=election.INHERITED_LOCK_FD)
        raise_limits()
    os.umask(0o077)
    os.chdir(os.path.abspath(os.sep))
    paths.make_home(home)
    arm(home.folder)
    lock_fd = election.take_lock(home)
    if lock_fd is None:
        return EXIT_OK
    reach("started")
    log = open_log(home.log_file)
    program.remove_unused_folders()
    try:
        return Recorder(home, lock_fd, log).run()
    except StoreTooNew as error:
        log.warning("the store is newer", error=str(error))
        return error.exit_status
    except journal_reader.JournalTooNew as error:
        log.warning("a newer km wrote this journal; it is left to the newer km", journal=str(error))
        return EXIT_OK
    except HomeLost:
        # Another one may have been made in its place, with a lock and a recorder of its own.
        return EXIT_OK
    except Exception:  # the last word before the next recorder tries again
        log.exception("recorder failed")
        return EXIT_OUR_BUG
