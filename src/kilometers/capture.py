"""The relay's preparations for recording, and its last words: home, settings, place, journal, recorder.

Everything here that touches a file system runs on a helper thread, because any file system can hang.  The relay waits
for it before it forwards the first byte, but only while it is making progress: what is not ready by then begins late,
and what went before is a gap.
"""

import os
import threading
import time

from kilometers import __version__, locks, paths
from kilometers.child import Server
from kilometers.config_file import read_config
from kilometers.core import journal as layout
from kilometers.core import settings
from kilometers.core.monitor_options import MonitorOptions
from kilometers.core.server_name import server_name
from kilometers.core.session_id import make_session_id
from kilometers.election import Election, LockFile, name_newest, open_lock, read_lock, write_lock
from kilometers.journal_writer import Journal
from kilometers.machine import boot_id, memory_identity
from kilometers.segment_files import SegmentFiles

# Waits of 5 ms, not one of 50 or 200: on a busy machine our own waits are stretched as much as the helper's work.
WAIT_S = 0.005
CONFIG_WAITS = 10
JOURNAL_WAITS = 40
LEAVE_TIMEOUT_S = 0.1
PLACE_ATTEMPTS = 3
MARKER_RETRY_S = 5.0


class Capture:
    """Makes the journal of one session and sees to it that somebody records it."""

    def __init__(self, options: MonitorOptions, server: Server, journal: Journal) -> None:
        self.options = options
        self.server = server
        self.journal = journal
        self.session_id = make_session_id(time.time_ns(), os.urandom(10))
        self.name = options.name or server_name(options.command)
        self.election: Election | None = None
        self.files: SegmentFiles | None = None
        self.capture_mode: settings.Resolved | None = None
        self.journal_dir = ""
        self._config: dict[str, object] = {}
        self._config_problem = "config.toml did not come in time"
        self._config_read = threading.Event()
        self._ready = threading.Event()

    def begin(self) -> None:
        """Prepare; returns when it is done, or when the file system does not answer."""
        try:
            threading.Thread(target=self._prepare, name="capture", daemon=True).start()
        except RuntimeError as error:  # no thread is to be had
            self._say(f"nothing is recorded: {error}")
            self._ready.set()
            return
        is_set_within(self._ready, CONFIG_WAITS + JOURNAL_WAITS)

    def end(self) -> None:
        """Say how the server ended; bounded, because the client waits for us to exit."""
        fields = [("exit_status", str(self.server.exit_status))]
        if self.server.killed_by is not None:
            fields.append(("signal", str(self.server.killed_by)))
        # A session may be over before its journal could begin; that it was must not be lost.
        self._ready.wait(LEAVE_TIMEOUT_S)
        self.journal.close(fields, monotonic_ns=time.monotonic_ns(), wall_ns=time.time_ns())
        if self.journal.failures:
            self._say(f"{self.journal.failures} pieces could not be journaled; the gaps are recorded")
        if self.election is not None:
            self.election.leave(LEAVE_TIMEOUT_S)

    def _prepare(self) -> None:
        try:
            self._open_journal()
        except Exception as error:  # noqa: BLE001  # as in Journal.append: relaying never fails because recording did
            self._say(f"nothing is recorded: {error}")
        finally:
            self._ready.set()

    def _open_journal(self) -> None:
        home = paths.find_home()
        if self.capture_mode is None:
            self._read_settings(home)
        if self.capture_mode is None or self.capture_mode.value == "off":
            self._say("capture is off: nothing is recorded")
            return
        paths.make_home(home)
        start = self._start_fields(home, self.capture_mode)
        self.files = files = self._make_files(home, start)
        self.journal.when_gone = self._begin_again
        self.journal.open(files, in_memory=paths.is_in_memory(files.folder))
        self._ready.set()
        self._say(
            f"recording session {self.session_id} ({self.name}) in {files.folder}, capture {self.capture_mode.value}"
        )
        if self.election is None:
            self.election = Election(home, say=self._say)
            self.election.start()
        # Only now: a marker without a journal is a lost journal.
        while not write_marker(home.marker(self.session_id), files.folder):
            time.sleep(MARKER_RETRY_S)

    def _make_files(self, home: paths.Home, start: bytes) -> SegmentFiles:
        """Take the journal's place.  A recorder that leaves removes an empty folder: then once more."""
        number = self.files.number + 1 if self.files else 0
        attempt = 1
        while True:
            folder = self._choose_folder(home)
            try:
                return SegmentFiles(folder, self.session_id, start, self.journal.offsets, first_number=number)
            except FileNotFoundError:
                if attempt == PLACE_ATTEMPTS:
                    raise
                attempt += 1

    def _begin_again(self) -> None:
        """Make a new journal in the next place: the folder is gone.  No pump waits for it."""
        threading.Thread(target=self._prepare, name="capture", daemon=True).start()

    def _read_settings(self, home: paths.Home) -> None:
        """Read them once: what a session began with holds to its end."""

        def read() -> None:
            self._config, self._config_problem = read_config(home.config_file)
            self._config_read.set()

        threading.Thread(target=read, name="config", daemon=True).start()
        is_in_time = is_set_within(self._config_read, CONFIG_WAITS)
        config, problem = (self._config, self._config_problem) if is_in_time else ({}, self._config_problem)
        self.capture_mode = self._resolve_capture(config, problem)
        journal_dir = settings.resolve(settings.JOURNAL_DIR, environment=dict(os.environ), config=config).value
        self.journal_dir = os.path.abspath(os.path.expanduser(journal_dir)) if journal_dir else ""

    def _resolve_capture(self, config: dict[str, object], problem: str) -> settings.Resolved:
        """Return what is kept of this session; the safe side where that is unclear."""
        try:
            found = settings.resolve(
                settings.CAPTURE,
                flag=self.options.capture,
                environment=dict(os.environ),
                config=config,
                server=self.name,
            )
        except ValueError as error:
            found, problem = settings.SAFE_CAPTURE, str(error)
        if problem and found.source not in {"flag", "environment"}:
            self._say(f"{problem}; payloads are not kept")
            return settings.SAFE_CAPTURE
        return found

    def _choose_folder(self, home: paths.Home) -> str:
        """Return the first folder that is ours; one that is not ours is never used.  Raises OSError."""
        folders = home.journal_folders(self.journal_dir)
        if shares_home_with_another_machine(home):
            folders = [home.journal_folder]
        for folder in folders:
            if paths.make_private_folder(folder):
                return folder
        raise PermissionError(13, "no folder for the journal is ours alone", folders[-1])

    def _start_fields(self, home: paths.Home, capture: settings.Resolved) -> bytes:
        fields = [
            ("session_id", self.session_id),
            ("km_version", __version__),
            *(("argv", word) for word in self.options.command),
            ("cwd", current_folder()),
            ("pid", str(self.server.pid)),
            ("relay_pid", str(os.getpid())),
            ("name", self.name),
            ("host", os.uname().nodename if hasattr(os, "uname") else os.environ.get("COMPUTERNAME", "")),
            (
                "user",
                os.environ.get("USER") or os.environ.get("LOGNAME") or os.environ.get("USERNAME") or paths.user_name(),
            ),
            ("boot_id", boot_id()),
            ("home", home.folder),
            ("capture", capture.value),
            ("capture_source", capture.source),
        ]
        return layout.pack_fields(fields)

    def _say(self, text: str) -> None:
        if self.options.verbose:
            try:
                os.write(2, f"km: {text}\n".encode(errors="surrogateescape"))
            except OSError:
                pass  # nobody listens any more


def write_marker(path: str, folder: str) -> bool:
    """Say in the home where a session's journal is, whole or not at all; whether that was possible (a full disk)."""
    try:
        flags = os.O_WRONLY | os.O_CREAT | os.O_TRUNC | getattr(os, "O_BINARY", 0)
        fd = os.open(f"{path}.new", flags, 0o600)
        try:
            os.write(fd, os.fsencode(folder))
        finally:
            os.close(fd)
        os.replace(f"{path}.new", path)
    except OSError:
        return False
    return True


def is_set_within(event: threading.Event, waits: int) -> bool:
    """Whether the event is set before so many waits have passed."""
    return any(event.wait(WAIT_S) for _ in range(waits))


def shares_home_with_another_machine(home: paths.Home) -> bool:
    """Whether a running recorder of this home cannot see our RAM folders: it is in another container or machine.

    Also names this km in the lock file if it is the newest.
    """
    fd = open_lock(home)
    try:
        content = read_lock(fd)
        if name_newest(content):
            write_lock(fd, content)
        if not content.boot_id or is_same_machine(content, home):
            return False
        return locks.is_locked(fd)  # what a dead recorder said of its machine means nothing
    finally:
        os.close(fd)


def is_same_machine(content: LockFile, home: paths.Home) -> bool:
    """Whether the recorder that wrote *content* sees the RAM folders that we see."""
    return content.boot_id == boot_id() and content.journal == memory_identity(home)


def current_folder() -> str:
    """Return the working folder; "" where it has been removed."""
    try:
        return os.getcwd()
    except OSError:
        return ""
