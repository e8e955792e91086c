"""The wrapped server as a process: start it as if km were not there, signal it, reap it.

POSIX and Windows stand side by side; relay.py knows only `start` and the `Server` it returns.

What the client would have given the server directly, it gets: argv, cwd, environment (but for KILOMETERS_API_KEY and
what Python itself put there), signal dispositions and mask, every inherited descriptor; no setsid, no setpgid, because
a Python SDK client kills the whole process group.

As it would have died by the client's own SIGKILL, the server dies with km: on Linux at the same instant
(PR_SET_PDEATHSIG), on Windows by a Job Object (windows_process.py).  macOS has neither.  There a client that first asks
finds the server killed before it kills km (KILL_DELAY_S in relay.py), and a km that is killed unasked leaves the server
with the end of its stdin, on which MCP has servers exit; a watchdog, one more process a session for servers that do
not, would cost everybody more than it saves.
"""

import errno
import os
import signal
import sys

from kilometers.errors import EXIT_CANNOT_BEGIN, EXIT_NOT_FOUND, KilometersError
from kilometers.start_failure import cannot_execute, cannot_start, find_file

PIPE_SIZE_BYTES = 256 * 1024  # never more: 1 MiB for 20 servers uses up the user's share and leaves later pipes 8 KB
LOW_FDS = 1024
HIDDEN_VARIABLE = b"KILOMETERS_API_KEY"
ONEFILE_VARIABLES = "NUITKA_ONEFILE_"  # km's own, where it is a single file on Windows
# PEP 538: under the C locale CPython puts one of these into its own environment before any of our code runs.
COERCED_LOCALES = (b"C.UTF-8", b"C.utf8", b"UTF-8")


def occupy_standard_fds() -> bool:
    """Open /dev/null where the client left 0, 1 or 2 closed, so that no pipe gets the number; whether 2 was open.

    Python opens without inheritance: a descriptor that was closed is closed for the server too.
    """
    was_open = [is_open(fd) for fd in range(3)]
    for fd in (fd for fd in range(3) if not was_open[fd]):
        null = os.open(os.devnull, os.O_RDWR)
        if null != fd:  # Windows' C run-time keeps the number of a standard handle that is none
            os.dup2(null, fd, inheritable=False)
            os.close(null)
    # A native km's start opens /dev/null there itself: closed on exec, which nothing is that came from the client.
    return was_open[2] and (sys.platform == "win32" or os.get_inheritable(2))


def is_open(fd: int) -> bool:
    """Whether *fd* is a descriptor of ours."""
    try:
        os.fstat(fd)
    except OSError as error:
        return error.errno != errno.EBADF
    return True


class Server:
    """A running server: our ends of its pipes (*stderr_fd* is None when it has the client's own) and its pid."""

    def __init__(self, pid: int, stdin_fd: int, stdout_fd: int, stderr_fd: int | None = None) -> None:
        self.pid = pid
        self.stdin_fd = stdin_fd
        self.stdout_fd = stdout_fd
        self.stderr_fd = stderr_fd
        self.exit_status: int | None = None
        """As a shell reports it, once it has ended: 0–255, 128 + n for a signal."""
        self.killed_by: int | None = None

    if sys.platform == "win32":
        process: "windows_process.Process"

        def poll(self) -> int | None:
            """Return the exit status, 0 to 0xFFFFFFFF there, once the server has ended."""
            if self.exit_status is None:
                self.exit_status = self.process.poll()
            return self.exit_status

        def send_signal(self, _number: int) -> None:
            """End the server and what it has started: Windows has no other signal that every process can get."""
            if self.exit_status is None:
                self.process.terminate()

        def wait(self) -> None:
            """Wait for its end."""
            self.process.wait()

    else:

        def poll(self) -> int | None:
            """Reap without waiting; return the exit status once the server has ended."""
            if self.exit_status is None:
                try:
                    pid, status = os.waitpid(self.pid, os.WNOHANG)
                except ChildProcessError:  # somebody else in this process reaped it: how it ended is unknown
                    self.exit_status = EXIT_CANNOT_BEGIN
                    return self.exit_status
                if pid == self.pid:
                    code = os.waitstatus_to_exitcode(status)
                    self.killed_by = -code if code < 0 else None
                    self.exit_status = 128 - code if code < 0 else code
            return self.exit_status

        def send_signal(self, number: int) -> None:
            """Send a signal, unless the server has been reaped."""
            if self.exit_status is None:
                try:
                    os.kill(self.pid, number)
                except ProcessLookupError:
                    pass


if sys.platform == "win32":
    from kilometers import windows_process
    from kilometers.core import windows_command

    def start(command: list[str], *, share_stderr: bool) -> Server:
        """Start *command* with pipes for stdin and stdout, and for stderr unless *share_stderr*.

        It is found as a shell finds it; a batch file is given to cmd.exe.  Raises KilometersError where it cannot be
        started.  The environment is handed on as it is, in its own spelling, which os.environ does not keep.
        """
        for name in os.environ:
            if name == HIDDEN_VARIABLE.decode() or name.startswith(ONEFILE_VARIABLES):
                os.unsetenv(name)  # os.environ still has it: it is km's business
        program = find_program(command[0])
        try:
            process = windows_process.Process(
                *program_and_line(program, command), share_stderr=share_stderr, pipe_bytes=PIPE_SIZE_BYTES
            )
        except windows_command.CannotPass as error:
            raise KilometersError(f'cannot start "{command[0]}": {error}.', exit_status=EXIT_CANNOT_BEGIN) from error
        except OSError as error:
            raise cannot_execute(command[0], program, error) from error
        server = Server(process.pid, process.stdin_fd, *process.output_fds)
        server.process = process
        return server

    def find_program(name: str) -> str:
        """Return the file that *name* means; at last also one that Windows cannot start.  Raises KilometersError."""
        path = os.environ.get("PATH", "")
        folders = [""] if windows_command.is_path(name) else path.split(os.pathsep)
        found = windows_command.find_program(
            name, path=path, extensions=os.environ.get("PATHEXT", ""), exists=os.path.isfile
        ) or next(filter(None, (find_file(name + ending, folders) for ending in ("", ".ps1"))), "")
        if not found:
            raise cannot_start(name, FileNotFoundError(errno.ENOENT, ""), path)
        return os.path.abspath(found)

    def program_and_line(program: str, command: list[str]) -> tuple[str, str]:
        """Return which program to start for *command*, and its command line.  Raises CannotPass."""
        if not windows_command.is_batch_file(program):
            return program, windows_command.command_line(command)
        interpreter = os.environ.get("COMSPEC", "")
        if os.path.basename(interpreter).lower() != "cmd.exe":  # another shell has other rules
            interpreter = os.path.join(os.environ.get("SYSTEMROOT", "C:\\Windows"), "System32", "cmd.exe")
        return interpreter, windows_command.batch_command_line(program, command[1:], interpreter=interpreter)

else:
    import fcntl

    RELAYED_SIGNALS = (signal.SIGTERM, signal.SIGHUP, signal.SIGINT)

    def start(command: list[str], *, share_stderr: bool) -> Server:
        """Start *command*, found in its own PATH, with pipes for stdin and stdout, and for stderr unless shared.

        Raises KilometersError where the command cannot be started.  Leaves TERM, HUP, INT and CHLD blocked: the caller
        installs its handlers, then calls `unblock_signals`.
        """
        environment = server_environment()
        inherited = {number: signal.getsignal(number) for number in (*RELAYED_SIGNALS, signal.SIGCHLD)}
        mask = signal.pthread_sigmask(signal.SIG_BLOCK, (*RELAYED_SIGNALS, signal.SIGCHLD))
        # Inherited as ignored, it would reap the server behind our back.
        signal.signal(signal.SIGCHLD, signal.SIG_DFL)
        relay_pid = os.getpid()
        try:
            server_stdin, our_stdin = make_pipe()
            our_stdout, server_stdout = make_pipe()
            our_stderr, server_stderr = (None, None) if share_stderr else make_pipe()
            failure_read, failure_write = os.pipe()
            pid = os.fork()
        except OSError as error:
            raise KilometersError(f"cannot begin: {error.strerror}.", exit_status=EXIT_CANNOT_BEGIN) from error
        if pid == 0:
            try:
                die_with(relay_pid)
                for number, action in inherited.items():
                    signal.signal(number, signal.SIG_IGN if action == signal.SIG_IGN else signal.SIG_DFL)
                # CPython ignores these two at its start; clients start servers with the defaults.
                signal.signal(signal.SIGPIPE, signal.SIG_DFL)
                signal.signal(signal.SIGXFSZ, signal.SIG_DFL)
                os.dup2(server_stdin, 0)
                os.dup2(server_stdout, 1)
                if server_stderr is not None:
                    os.dup2(server_stderr, 2)
                signal.pthread_sigmask(signal.SIG_SETMASK, mask)
                execute(command, environment)
            except (OSError, ValueError) as error:
                os.write(failure_write, b"%d" % (getattr(error, "errno", None) or errno.EINVAL))
            finally:
                os._exit(EXIT_NOT_FOUND)
        for fd in (server_stdin, server_stdout, server_stderr, failure_write):
            if fd is not None:
                os.close(fd)
        close_inherited_fds()
        failure = os.read(failure_read, 16)  # ends at exec, when the child's copy closes
        os.close(failure_read)
        if failure:
            os.waitpid(pid, 0)
            raise cannot_start(command[0], OSError(int(failure), os.strerror(int(failure))), search_path(environment))
        return Server(pid, our_stdin, our_stdout, our_stderr)

    def close_inherited_fds(*, above: int = 2) -> None:
        """Close our copies of what the client gave the server, or who waits for their end would wait for us.

        Python opens nothing inheritable but 0, 1 and 2, so what is, came with us.
        """
        for fd in possible_fds():
            try:
                if fd > above and os.get_inheritable(fd):
                    os.close(fd)
            except OSError:
                continue  # listdir's own, or one that is not open

    def possible_fds() -> list[int]:
        """Return what may be open: what the system says, else, in a container without either folder, the low ones."""
        for folder in ("/proc/self/fd", "/dev/fd"):
            try:
                return [int(name) for name in os.listdir(folder)]
            except OSError:
                continue
        return list(range(LOW_FDS))

    def unblock_signals() -> None:
        """Let the signals through that `start` blocked; pending ones arrive now."""
        signal.pthread_sigmask(signal.SIG_UNBLOCK, (*RELAYED_SIGNALS, signal.SIGCHLD))

    def make_pipe() -> tuple[int, int]:
        """Return a pipe's read and write end, enlarged where the OS can."""
        read_fd, write_fd = os.pipe()
        if sys.platform == "linux":
            try:
                fcntl.fcntl(write_fd, fcntl.F_SETPIPE_SZ, PIPE_SIZE_BYTES)
            except OSError:
                pass  # the user's share of pipe pages is used up: the pipe keeps its size
        return read_fd, write_fd

    def die_with(relay_pid: int) -> None:
        """In the child: ask the kernel for SIGKILL when the relay dies; Linux only."""
        if sys.platform == "linux":
            import ctypes

            pr_set_pdeathsig = 1
            ctypes.CDLL(None).prctl(pr_set_pdeathsig, int(signal.SIGKILL), 0, 0, 0)
            if os.getppid() != relay_pid:  # it died before the call above
                os.kill(os.getpid(), signal.SIGKILL)

    def execute(command: list[str], environment: dict[bytes, bytes]) -> None:
        """Become *command*; like the C library, a file without `#!` is given to /bin/sh.  Raises OSError."""
        failure = OSError(errno.ENOENT, os.strerror(errno.ENOENT))
        for path in candidates(command[0], environment):
            try:
                os.execve(path, command, environment)
            except (FileNotFoundError, NotADirectoryError):
                continue  # the file, or its interpreter
            except PermissionError as error:
                failure = error
            except OSError as error:
                if error.errno != errno.ENOEXEC:
                    raise
                os.execve(b"/bin/sh", ["sh", os.fsdecode(path), *command[1:]], environment)
        raise failure

    def candidates(program: str, environment: dict[bytes, bytes]) -> list[bytes]:
        """Return the files that *program* may mean, in PATH's order."""
        name = os.fsencode(program)
        if not name:
            return []
        if b"/" in name:
            return [name]
        return [os.path.join(folder or b".", name) for folder in os.fsencode(search_path(environment)).split(b":")]

    def search_path(environment: dict[bytes, bytes]) -> str:
        """Return where the server's command is looked for."""
        return os.fsdecode(environment.get(b"PATH", os.fsencode(os.defpath)))

    def server_environment() -> dict[bytes, bytes]:
        """Return the environment that km was started with, without km's own key.

        From /proc where there is one: os.environ also holds what CPython added at its start (PEP 538).
        """
        try:
            with open("/proc/self/environ", "rb", buffering=0) as file:
                entries = file.readall().split(b"\0")
            pairs = [entry.partition(b"=")[::2] for entry in entries if entry.find(b"=") > 0]
            first_wins = dict(reversed(pairs))  # as getenv(3) has it
            environment = {name: first_wins[name] for name, _ in pairs}
        except OSError:
            environment = dict(os.environb)
            if environment.get(b"LC_CTYPE") in COERCED_LOCALES and not environment.keys() & {b"LC_ALL", b"LANG"}:
                del environment[b"LC_CTYPE"]
        environment.pop(HIDDEN_VARIABLE, None)
        return environment
