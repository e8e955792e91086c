"""Each mode of tests/faults does what it says, to a small Python program that knows nothing of it."""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from faults.disk_faults import DiskFaults, DiskFaultsBuildError, Mode, build

# Evaluates each line of stdin and prints what came of it: a value, or the name of the error.
PROGRAM = """
import errno, os, sys
inside = sys.argv[1]
file = os.open(inside + "/file", os.O_RDWR | os.O_CREAT, 0o600)
os.write(file, b"0123456789")
for line in iter(sys.stdin.readline, ""):
    try:
        answer = eval(line)
    except OSError as error:
        answer = errno.errorcode[error.errno]
    except Exception as error:
        answer = f"{type(error).__name__}: {error}"
    os.write(1, f"{answer}\\n".encode())  # with one call: forked children answer on the same pipe
"""
HANG_SEEN_S = 0.15
RELEASE_S = 5.0


class Program:
    """The program above, running under *faults* on *folder*."""

    def __init__(self, faults: DiskFaults, folder: Path) -> None:
        self.process = subprocess.Popen(
            [sys.executable, "-c", PROGRAM, str(folder)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            env={**os.environ, **faults.env()},
            bufsize=0,
        )
        assert self.ask("1 + 1") == "2"

    def tell(self, expression: str) -> None:
        self.process.stdin.write(expression.encode() + b"\n")

    def answer(self) -> str:
        return self.process.stdout.readline().decode().strip()

    def ask(self, expression: str) -> str:
        self.tell(expression)
        return self.answer()

    def is_silent_for(self, seconds: float) -> bool:
        os.set_blocking(self.process.stdout.fileno(), False)
        try:
            time.sleep(seconds)
            return self.process.stdout.read(1) is None
        finally:
            os.set_blocking(self.process.stdout.fileno(), True)


@pytest.fixture(scope="session")
def library(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return build(tmp_path_factory.mktemp("disk_faults"))


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    folder = tmp_path / "inside"
    folder.mkdir()
    return folder


@pytest.fixture
def faults(folder: Path, library: Path) -> Iterator[DiskFaults]:
    with DiskFaults(folder, library=library) as faults:
        yield faults


@pytest.fixture
def program(faults: DiskFaults, folder: Path) -> Iterator[Program]:
    program = Program(faults, folder)
    yield program
    program.process.kill()
    program.process.communicate()


WRITES = [
    "os.write(file, b'abcd')",
    "os.pwrite(file, b'abcd', 10)",
    "os.writev(file, [b'ab', b'cd'])",
    "os.pwritev(file, [b'ab', b'cd'], 10)",
]
CREATIONS = [
    "os.close(os.open(inside + '/new', os.O_WRONLY | os.O_CREAT))",
    "open(inside + '/new', 'wb').close()",
    "os.mkdir(inside + '/folder')",
    "os.close(os.open('new', os.O_WRONLY | os.O_CREAT, dir_fd=os.open(inside, os.O_RDONLY)))",
    "(os.chdir(inside), os.mkdir('folder'))",
]
OTHER_CHANGES = [
    "os.ftruncate(file, 3)",
    "os.truncate(inside + '/file', 3)",
    "os.rename(inside + '/file', inside + '/renamed')",
    "os.rename(inside + '/file', inside + '/../outside')",
    "os.unlink(inside + '/file')",
    "os.posix_fallocate(file, 0, 100)",
    "os.close(os.open(inside + '/file', os.O_RDWR))",
]
SYNCS = ["os.fsync(file)", "os.fdatasync(file)"]


@pytest.mark.parametrize("expression", WRITES + CREATIONS + OTHER_CHANGES + SYNCS)
def test_without_a_mode_everything_works(program: Program, expression: str) -> None:
    assert not program.ask(expression).startswith("E")


@pytest.mark.parametrize("expression", WRITES + CREATIONS + OTHER_CHANGES + SYNCS)
def test_eio_fails_every_change(program: Program, faults: DiskFaults, expression: str) -> None:
    faults.set("eio")

    assert program.ask(expression) == "EIO"


@pytest.mark.parametrize("expression", WRITES + CREATIONS + OTHER_CHANGES)
def test_erofs_fails_every_change(program: Program, faults: DiskFaults, expression: str) -> None:
    faults.set("erofs")

    assert program.ask(expression) == "EROFS"


@pytest.mark.parametrize("expression", [*WRITES, *CREATIONS, "os.posix_fallocate(file, 0, 100)"])
def test_enospc_fails_what_needs_room(program: Program, faults: DiskFaults, expression: str) -> None:
    faults.set("enospc")

    assert program.ask(expression) == "ENOSPC"


def test_enospc_leaves_no_trace(program: Program, faults: DiskFaults, folder: Path) -> None:
    faults.set("enospc")
    for expression in WRITES + CREATIONS:
        program.ask(expression)

    assert (folder / "file").read_bytes() == b"0123456789"
    assert list(folder.iterdir()) == [folder / "file"]


@pytest.mark.parametrize(
    "expression",
    [
        "os.pwrite(file, b'abcd', 6)",
        "(os.lseek(file, 0, 0), os.write(file, b'abcd'))",
        "os.ftruncate(file, 3)",
        "os.unlink(inside + '/file')",
        "os.fsync(file)",
    ],
)
def test_enospc_permits_what_needs_no_room(program: Program, faults: DiskFaults, expression: str) -> None:
    faults.set("enospc")

    assert not program.ask(expression).startswith("E")


def test_enospc_counts_a_hole_as_growth(program: Program, faults: DiskFaults) -> None:
    program.ask("os.ftruncate(file, 1 << 20)")
    faults.set("enospc")

    assert program.ask("os.pwrite(file, b'abcd', 1 << 19)") == "ENOSPC"


def test_an_appending_descriptor_grows_the_file(program: Program, faults: DiskFaults) -> None:
    program.ask("globals().update(log=os.open(inside + '/file', os.O_WRONLY | os.O_APPEND))")
    faults.set("enospc")

    assert program.ask("os.write(log, b'abcd')") == "ENOSPC"


@pytest.mark.parametrize("expression", WRITES)
def test_short_takes_half(program: Program, faults: DiskFaults, folder: Path, expression: str) -> None:
    faults.set("short")

    assert program.ask(expression) == "2"
    assert (folder / "file").read_bytes() == b"0123456789ab"


def test_short_takes_one_byte_of_one(program: Program, faults: DiskFaults) -> None:
    faults.set("short")

    assert program.ask("os.write(file, b'a')") == "1"


@pytest.mark.parametrize("expression", WRITES + CREATIONS + OTHER_CHANGES + SYNCS)
def test_hang_waits_until_it_is_cleared(program: Program, faults: DiskFaults, expression: str) -> None:
    faults.set("hang")
    program.tell(expression)
    was_silent = program.is_silent_for(HANG_SEEN_S)
    faults.clear()

    assert was_silent
    assert not program.answer().startswith("E")


def test_a_hang_may_end_in_an_error(program: Program, faults: DiskFaults) -> None:
    faults.set("hang")
    program.tell("os.write(file, b'abcd')")
    was_silent = program.is_silent_for(HANG_SEEN_S)
    faults.set("eio")

    assert was_silent
    assert program.answer() == "EIO"


def test_a_hang_ignores_ordinary_signals(program: Program, faults: DiskFaults) -> None:
    faults.set("hang")
    program.tell("os.write(file, b'abcd')")
    program.is_silent_for(HANG_SEEN_S)
    program.process.send_signal(signal.SIGTERM)
    program.process.send_signal(signal.SIGINT)

    assert program.is_silent_for(HANG_SEEN_S)
    assert program.process.poll() is None


def test_a_signal_arrives_after_the_hang(program: Program, faults: DiskFaults) -> None:
    faults.set("hang")
    program.tell("os.write(file, b'abcd')")
    program.is_silent_for(HANG_SEEN_S)
    program.process.send_signal(signal.SIGTERM)
    faults.clear()

    assert program.process.wait(RELEASE_S) == -signal.SIGTERM


def test_a_hang_dies_of_kill(program: Program, faults: DiskFaults) -> None:
    faults.set("hang")
    program.tell("os.write(file, b'abcd')")
    program.is_silent_for(HANG_SEEN_S)
    program.process.kill()

    assert program.process.wait(RELEASE_S) == -signal.SIGKILL


READS = ["os.pread(file, 4, 0)", "open(inside + '/file', 'rb').read()", "os.read(file, 4)"]


@pytest.mark.parametrize("expression", READS)
@pytest.mark.parametrize("mode", ["hang", "enospc", "eio", "erofs", "short"])
def test_reading_works_in_every_mode_but_hang_read(
    program: Program, faults: DiskFaults, mode: Mode, expression: str
) -> None:
    faults.set(mode)

    assert program.ask(expression).startswith("b'")


@pytest.mark.parametrize("expression", [*READS, *WRITES])
def test_hang_read_stops_reading_too(program: Program, faults: DiskFaults, expression: str) -> None:
    faults.set("hang_read")
    program.tell(expression)
    was_silent = program.is_silent_for(HANG_SEEN_S)
    faults.clear()

    assert was_silent
    assert not program.answer().startswith("E")


@pytest.mark.parametrize("mode", ["hang", "hang_read", "enospc", "eio", "erofs", "short"])
@pytest.mark.parametrize(
    "expression",
    [
        "open(inside + '/../outside', 'wb').write(b'abcd')",
        "open(inside + '-beside', 'wb').write(b'abcd')",
        "os.write(os.pipe()[1], b'abcd')",
    ],
)
def test_what_lies_elsewhere_is_spared(program: Program, faults: DiskFaults, mode: Mode, expression: str) -> None:
    faults.set(mode)

    assert program.ask(expression) == "4"


def test_an_unlinked_file_is_still_inside(program: Program, faults: DiskFaults) -> None:
    program.ask("os.unlink(inside + '/file')")
    faults.set("eio")

    assert program.ask("os.write(file, b'abcd')") == "EIO"


def test_a_duplicated_descriptor_is_still_inside(program: Program, faults: DiskFaults) -> None:
    program.ask("globals().update(copy=os.dup(file))")
    faults.set("eio")

    assert program.ask("os.write(copy, b'abcd')") == "EIO"


def test_a_symlink_leads_inside(program: Program, faults: DiskFaults, folder: Path) -> None:
    folder.with_name("link").symlink_to(folder)
    faults.set("eio")

    assert program.ask("os.mkdir(inside + '/../link/folder')") == "EIO"


@pytest.mark.parametrize(
    ("expression", "error"),
    [
        ("os.mkdir(inside)", "EEXIST"),
        ("os.unlink(inside + '/missing')", "ENOENT"),
        ("os.rename(inside + '/missing', inside + '/x')", "ENOENT"),
    ],
)
def test_a_call_that_fails_anyway_keeps_its_error(
    program: Program, faults: DiskFaults, expression: str, error: str
) -> None:
    faults.set("erofs")

    assert program.ask(expression) == error


def test_faults_reach_executed_children(program: Program, faults: DiskFaults) -> None:
    faults.set("eio")
    write = "import os, sys; os.write(os.open(sys.argv[1], os.O_RDWR), b'x')"

    command = f"[sys.executable, '-c', {write!r}, inside + '/file']"

    stderr = program.ask(f"__import__('subprocess').run({command}, stderr=-1)")

    assert "Input/output error" in stderr


def test_faults_reach_forked_children(program: Program, faults: DiskFaults) -> None:
    faults.set("eio")

    answers = [program.ask("os.fork() == 0 and os.fsync(file)"), program.answer()]

    assert sorted(answers) == ["EIO", "False"]


def test_one_hanging_thread_does_not_stop_another(program: Program, faults: DiskFaults) -> None:
    faults.set("hang")
    program.tell("__import__('threading').Thread(target=os.fsync, args=(file,)).start()")

    assert program.answer() == "None"
    assert program.ask("2 + 2") == "4"


def test_sqlite_sees_a_full_disk_and_goes_on_after_it(program: Program, faults: DiskFaults) -> None:
    program.ask("globals().update(store=__import__('apsw').Connection(inside + '/store.db'))")
    program.ask("store.execute('pragma journal_mode = wal').fetchall()")
    program.ask("store.execute('create table t (x)')")
    insert = "store.execute('insert into t values (zeroblob(100000)) returning 7').get"
    faults.set("enospc")
    while_full = program.ask(insert)
    faults.clear()

    assert while_full == "FullError: database or disk is full"
    assert program.ask(insert) == "7"


def test_a_compiler_error_is_shown(tmp_path: Path) -> None:
    with pytest.raises(DiskFaultsBuildError, match=r"disk_faults\.so"):
        build(tmp_path / "missing")
