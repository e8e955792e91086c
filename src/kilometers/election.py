"""Who records: one recorder per user, elected by `recorder.lock`, without probing.

A relay waits in a blocking lock.  Whoever gets it starts the recorder with the locked descriptor inherited, closes its
own copy and waits again; so exactly one of many relays wakes when a recorder dies, and none before.  Windows locks
cannot be inherited: there the waker lets go, the recorder takes it, and whoever gets it meanwhile lets go as well.

The file says (as fields, see core/journal.py) which km is the newest seen, where its journal is, and how often the
recorder was started in a row without getting anywhere: from the second time on, the next start waits.
"""

import os
import sys
import threading
import time
from collections.abc import Callable

from kilometers import __version__, locks
from kilometers.core.journal import pack_fields, read_fields, read_number
from kilometers.machine import boot_id, memory_identity
from kilometers.paths import Home
from kilometers.program import own_command

INHERITED_LOCK_FD = 3
MAX_DELAY_S = 60.0
RETRY_S = 1.0
RETRY_LOCK_S = 1.0
HANDOVER_S = 10.0  # where locks are not inherited: what a recorder may need until it has taken its own
LOOK_EVERY_S = 0.05
SLOWED_FROM = 2  # one restart is at once: it was killed
FIELDS_SIZE = 64 * 1024
# The recorder reads nothing else from an environment that was given to somebody else's session.
PASSED_VARIABLES = (
    "HOME", "KILOMETERS_HOME", "HTTP_PROXY", "HTTPS_PROXY", "NO_PROXY", "ALL_PROXY", "http_proxy", "https_proxy",
    "no_proxy", "all_proxy", "SSL_CERT_FILE", "SSL_CERT_DIR", "SYSTEMROOT", "LOCALAPPDATA", "USERPROFILE",
    "HOMEDRIVE", "HOMEPATH",
)  # fmt: skip


class LockFile:
    """What recorder.lock says."""

    __slots__ = ("boot_id", "command", "failures", "journal", "pid", "schema", "started_ns", "version")

    def __init__(self, fields: dict[str, list[str]]) -> None:
        def first(name: str) -> str:
            return fields.get(name, [""])[0]

        self.version = first("version")
        self.command = fields.get("command", [])
        self.failures = read_number(fields, "failures") or 0
        self.started_ns = read_number(fields, "started_ns") or 0
        self.boot_id = first("boot_id")
        self.journal = first("journal")
        self.pid = read_number(fields, "pid") or 0
        self.schema = read_number(fields, "schema") or 0
        """Of the store that the recorder keeps; 0 = it is of a km that does not say."""

    def pack(self) -> bytes:
        """Return the file's bytes."""
        return pack_fields(
            [
                ("version", self.version),
                *(("command", word) for word in self.command),
                ("failures", str(self.failures)),
                ("started_ns", str(self.started_ns)),
                ("boot_id", self.boot_id),
                ("journal", self.journal),
                ("pid", str(self.pid)),
                ("schema", str(self.schema)),
            ]
        )


def open_lock(home: Home) -> int:
    """Return a descriptor of recorder.lock, made if need be.  Raises OSError."""
    return os.open(home.recorder_lock, os.O_RDWR | os.O_CREAT | getattr(os, "O_BINARY", 0), 0o600)


def look_at_lock(home: Home) -> tuple[LockFile, bool]:
    """Return what recorder.lock says, and whether somebody holds it.  Raises OSError where it cannot be read."""
    binary = getattr(os, "O_BINARY", 0)
    try:
        fd = os.open(home.recorder_lock, os.O_RDWR | binary)
    except FileNotFoundError:
        return LockFile({}), False
    except PermissionError:
        fd = os.open(home.recorder_lock, os.O_RDONLY | binary)
    try:
        is_held = locks.is_locked(fd)
        return read_lock(fd), is_held
    finally:
        os.close(fd)


def read_lock(fd: int) -> LockFile:
    """Return what the lock file says; a damaged one says nothing."""
    os.lseek(fd, 0, os.SEEK_SET)
    return LockFile(read_fields(os.read(fd, FIELDS_SIZE).replace(b"\xff", b"?")))


def write_lock(fd: int, content: LockFile) -> None:
    """Replace what the lock file says; on a full disk it stays as it was."""
    data = content.pack()
    try:
        os.lseek(fd, 0, os.SEEK_SET)
        os.write(fd, data)
        os.ftruncate(fd, len(data))
    except OSError:
        pass


def version_key(version: str) -> tuple[int, ...]:
    """Return a version's numbers, for comparison."""
    return tuple(int(part) if part.isascii() and part.isdigit() else 0 for part in version.split("."))


def name_newest(content: LockFile) -> bool:
    """Put this km into *content* if it is newer than the one named there, or that one is gone; return whether."""
    is_gone = not content.command or not os.path.exists(content.command[0])
    if is_gone or version_key(content.version) < version_key(__version__):
        content.version, content.command = __version__, own_command()
        return True
    if content.version == __version__ and content.command != own_command():
        content.command = own_command()
        return True
    return False


def restart_delay_s(failures: int) -> float:
    """Return how long to wait before the next start, after *failures* starts that got nowhere."""
    return 0.0 if failures < SLOWED_FROM else min(MAX_DELAY_S, 0.25 * 2 ** min(failures - SLOWED_FROM, 10))


class Election:
    """The relay's part: one thread that waits for the lock for as long as the session lives."""

    def __init__(self, home: Home, *, say: Callable[[str], None]) -> None:
        self.home = home
        self.say = say
        self.settled = threading.Event()
        """Set once a recorder is known to be there, or cannot be had."""
        self._leaving = threading.Event()

    def start(self) -> None:
        """Begin to wait, on a thread of its own."""
        threading.Thread(target=self._run, name="election", daemon=True).start()

    def leave(self, timeout_s: float) -> None:
        """Before the relay exits: see to it that somebody will record what it leaves."""
        self._leaving.set()
        self.settled.wait(timeout_s)

    def _run(self) -> None:
        while True:
            try:
                self._wait_and_start()
            except Exception as error:  # noqa: BLE001  # relaying never fails because recording did
                self.say(f"no recorder could be started: {error}")
                self.settled.set()
                self._leaving.wait(RETRY_S)

    def _wait_and_start(self) -> None:
        fd = open_lock(self.home)
        try:
            if not locks.try_lock(fd):
                self.settled.set()
                locks.wait_for_lock(fd)
                self.settled.clear()
            if is_being_taken(fd):
                return
            content = read_lock(fd)
            self._leaving.wait(restart_delay_s(content.failures) - seconds_since(content.started_ns))
            pid = start_recorder(self.home, fd)
        finally:
            os.close(fd)  # or the lock would stay ours, and no recorder could ever have it
        self.settled.set()
        reap(pid)


def seconds_since(wall_ns: int) -> float:
    """Return how long ago that was by the wall clock; a time in the future was just now."""
    return max(0.0, (time.time_ns() - wall_ns) / 1e9)


def start_recorder(home: Home, fd: int) -> int:
    """Start the newest km's recorder with the locked *fd* inherited; the caller closes its copy.  Raises OSError.

    One that gets nowhere is not tried for ever: then this km's own.  Returns the pid of the process that starts it,
    which ends at once and has to be reaped.  Detached: in a session of its own, with none of our standard descriptors;
    it leaves our process tree by itself.
    """
    content = read_lock(fd)
    if not name_newest(content) and content.failures >= SLOWED_FROM:
        content.version, content.command = __version__, own_command()
    content.failures += 1
    content.started_ns = time.time_ns()
    # Here already, not only by the recorder: until it has begun, relays must not take it for another machine's.
    content.boot_id, content.journal, content.pid = boot_id(), memory_identity(home), 0
    write_lock(fd, content)
    environment = {name: os.environ[name] for name in PASSED_VARIABLES if name in os.environ}
    try:
        return _spawn([*content.command, "recorder"], environment, fd)
    except OSError:
        return _spawn([*own_command(), "recorder"], environment, fd)


def take_lock(home: Home) -> int | None:
    """Return the locked descriptor of recorder.lock: inherited, or taken within a second; None if another has it."""
    inherited = INHERITED_LOCK_FD
    try:
        if os.path.samestat(os.fstat(inherited), os.stat(home.recorder_lock)) and locks.try_lock(inherited):
            os.set_inheritable(inherited, False)
            return inherited
    except OSError:
        pass  # started by hand, or on Windows
    fd = open_lock(home)
    deadline_s = time.monotonic() + RETRY_LOCK_S
    while not locks.try_lock(fd):
        if time.monotonic() > deadline_s:
            return None
        time.sleep(LOOK_EVERY_S)
    return fd


if sys.platform == "win32":
    import subprocess

    DETACHED = (
        subprocess.DETACHED_PROCESS | subprocess.CREATE_NEW_PROCESS_GROUP | subprocess.BELOW_NORMAL_PRIORITY_CLASS
    )

    def reap(pid: int) -> None:
        """Nothing is left of a process that ended."""

    def is_being_taken(fd: int) -> bool:
        """Whether the lock is free only because a recorder that was just started has yet to take it.

        Lets it go for that, and returns once the recorder has it, or after a while.  Otherwise every relay that waits
        would start one more, and whoever started the first would be the next.
        """
        deadline_s = time.monotonic() + HANDOVER_S
        while (content := read_lock(fd)).pid == 0 and seconds_since(content.started_ns) < HANDOVER_S:
            locks.unlock(fd)
            time.sleep(LOOK_EVERY_S)
            if not locks.try_lock(fd):
                return True
            if time.monotonic() > deadline_s:
                return False
        return False

    def _spawn(command: list[str], environment: dict[str, str], fd: int) -> int:
        locks.unlock(fd)
        try:
            # Out of a job in which the client would end it; a job may forbid that.
            return _start(command, environment, DETACHED | subprocess.CREATE_BREAKAWAY_FROM_JOB)
        except PermissionError:
            return _start(command, environment, DETACHED)

    def _start(command: list[str], environment: dict[str, str], flags: int) -> int:
        nothing = subprocess.DEVNULL
        recorder = subprocess.Popen(
            command, env=environment, stdin=nothing, stdout=nothing, stderr=nothing, creationflags=flags
        )
        return recorder.pid

else:
    import fcntl
    import signal

    def is_being_taken(_fd: int) -> bool:
        """Never: the lock is handed over as it is."""
        return False

    def reap(pid: int) -> None:
        """Wait for the process that starts a recorder: it ends as soon as it has forked."""
        try:
            os.waitpid(pid, 0)
        except ChildProcessError:
            pass

    def _spawn(command: list[str], environment: dict[str, str], fd: int) -> int:
        # Out of the way of the descriptors that the actions below write to; dup2 onto itself would keep close-on-exec.
        copy = fcntl.fcntl(fd, fcntl.F_DUPFD_CLOEXEC, 16)
        try:
            return os.posix_spawn(
                command[0],
                command,
                environment,
                file_actions=[
                    (os.POSIX_SPAWN_OPEN, 0, "/dev/null", os.O_RDWR, 0),
                    (os.POSIX_SPAWN_DUP2, 0, 1),
                    (os.POSIX_SPAWN_DUP2, 0, 2),
                    (os.POSIX_SPAWN_DUP2, copy, INHERITED_LOCK_FD),
                ],
                setsid=True,
                setsigmask=[],
                setsigdef=[signal.SIGTERM, signal.SIGHUP, signal.SIGINT, signal.SIGCHLD, signal.SIGPIPE],
            )
        finally:
            os.close(copy)
