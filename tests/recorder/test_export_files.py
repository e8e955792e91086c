"""`km export -o FILE`: whole or not there, whatever is in the way, runs full or is interrupted."""

import os
import resource
import signal
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from faults.disk_faults import DiskFaults, Mode
from recorder.export_runs import SUMMARY, lines_of, record_sessions, start, write_sessions
from recorder.sessions import KM, Sessions
from recorder.terminal import Terminal


@pytest.fixture(scope="module")
def recorded(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Sessions]:
    with record_sessions(tmp_path_factory.mktemp("export")) as sessions:
        yield sessions


@pytest.fixture(scope="module")
def large(tmp_path_factory: pytest.TempPathFactory) -> Sessions:
    return write_sessions(tmp_path_factory.mktemp("large"))


def test_file_is_private_and_whole_and_says_what_is_in_it(large: Sessions, tmp_path: Path) -> None:
    file = tmp_path / "all.jsonl"

    done = large.km("export", "-o", str(file))

    assert (done.returncode, done.stdout) == (0, b"")
    assert file.read_bytes().splitlines() == lines_of(large)
    assert file.stat().st_mode & 0o777 == 0o600
    assert SUMMARY.fullmatch(done.stderr.decode())
    assert done.stderr.startswith(b"49,991 events of 10 sessions, ")
    assert os.listdir(tmp_path) == ["all.jsonl"]


def make_file(path: Path) -> None:
    path.write_bytes(b"mine")


def make_dangling_link(path: Path) -> None:
    path.symlink_to("nowhere")


@pytest.mark.parametrize(
    ("taken", "make", "said"),
    [
        ("all.csv", make_file, b"already there. Choose another name"),
        ("all.csv", Path.mkdir, b"is a folder. Name a file in it."),
        ("all.csv", make_dangling_link, b"already there. Choose another name"),
        ("all.csv.part", make_file, b"already there: an export may be writing it. If none is, remove it."),
        ("all.csv.part", make_dangling_link, b"already there: an export may be writing it."),
    ],
)
def test_nothing_that_is_there_is_overwritten(
    recorded: Sessions, tmp_path: Path, taken: str, make: Any, said: bytes
) -> None:
    make(tmp_path / taken)

    done = recorded.km("export", "-o", str(tmp_path / "all.csv"))

    assert done.returncode == 1
    assert said in done.stderr
    assert os.listdir(tmp_path) == [taken]
    assert (tmp_path / taken).is_symlink() or (tmp_path / taken).is_dir() or (tmp_path / taken).read_bytes() == b"mine"


@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("", b'"" is no name of a file'),
        ("nowhere/", b"is no name of a file"),
        ("nowhere/all", b"No such file or directory"),
        ("x" * 255, b"File name too long"),
    ],
)
def test_file_that_cannot_be_made_is_named(recorded: Sessions, tmp_path: Path, name: str, said: bytes) -> None:
    done = recorded.km("export", "-o", f"{tmp_path}/{name}" if name else "")

    assert done.returncode == 1
    assert said in done.stderr
    assert os.listdir(tmp_path) == []


@pytest.mark.parametrize(("mode", "said"), [("enospc", b"No space left on device"), ("erofs", b"Read-only")])
def test_disk_that_takes_nothing_is_named(
    recorded: Sessions, tmp_path: Path, fault_library: Path, mode: Mode, said: bytes
) -> None:
    folder = tmp_path / "out"
    folder.mkdir()
    with DiskFaults(folder, library=fault_library) as faults:
        faults.set(mode)
        environment = {**recorded.environment, **faults.env()}
        command = [*KM, "export", "-o", str(folder / "all")]
        done = subprocess.run(command, env=environment, capture_output=True, timeout=60, check=False)

    assert done.returncode == 1
    assert b"cannot write" in done.stderr
    assert said in done.stderr
    assert os.listdir(folder) == []


def limit_files() -> None:
    resource.setrlimit(resource.RLIMIT_FSIZE, (1 << 20, 1 << 20))


def test_disk_that_fills_up_leaves_nothing_behind(large: Sessions, tmp_path: Path) -> None:
    exporter = start(large, "-o", str(tmp_path / "all"), stderr=subprocess.PIPE, preexec_fn=limit_files)
    _, said = exporter.communicate(timeout=60)

    assert exporter.returncode == 1
    assert b'all": File too large. Nothing was left there' in said
    assert os.listdir(tmp_path) == []


def test_full_standard_output_is_said_and_nothing_else(recorded: Sessions) -> None:
    command = [*KM, "export", "server-1"]
    with Path("/dev/full").open("wb") as full, Terminal(command, recorded.environment, stdout=full) as terminal:
        status = terminal.wait()

    assert status == 1
    assert terminal.shown == "km: cannot write the output: No space left on device.\r\n"


def start_and_stop(sessions: Sessions, file: Path) -> subprocess.Popen[bytes]:
    """Start an export to *file* and stop it while it writes."""
    part = Path(f"{file}.part")
    exporter = start(sessions, "--format", "csv", "-o", str(file), stderr=subprocess.PIPE)
    while not part.exists() or part.stat().st_size == 0:
        assert exporter.poll() is None
    exporter.send_signal(signal.SIGSTOP)
    assert os.listdir(file.parent) == [part.name]
    return exporter


@pytest.mark.parametrize(
    ("number", "status"), [(signal.SIGINT, 130), (signal.SIGTERM, 128 + 15), (signal.SIGHUP, 128 + 1)]
)
def test_interrupted_export_leaves_nothing_behind(
    large: Sessions, tmp_path: Path, number: signal.Signals, status: int
) -> None:
    exporter = start_and_stop(large, tmp_path / "all")

    exporter.send_signal(number)
    exporter.send_signal(signal.SIGCONT)
    _, said = exporter.communicate(timeout=60)

    assert (exporter.returncode, said.strip()) == (status, b"")
    assert os.listdir(tmp_path) == []


def test_file_that_turns_up_meanwhile_is_not_overwritten(large: Sessions, tmp_path: Path) -> None:
    exporter = start_and_stop(large, tmp_path / "all")

    make_file(tmp_path / "all")
    exporter.send_signal(signal.SIGCONT)
    _, said = exporter.communicate(timeout=60)

    assert exporter.returncode == 1
    assert b"already there" in said
    assert (tmp_path / "all").read_bytes() == b"mine"
    assert os.listdir(tmp_path) == ["all"]


def test_summary_counts_what_was_wanted(recorded: Sessions, tmp_path: Path) -> None:
    done = recorded.km("export", "--method", "ping", "-o", str(tmp_path / "all"))

    assert done.stderr.startswith(b"2 events of 1 session, ")


def test_nothing_recorded_makes_no_file(tmp_path: Path) -> None:
    done = Sessions(tmp_path / "nowhere").km("export", "-o", str(tmp_path / "all"))

    assert done.returncode == 1
    assert b"km demo" in done.stderr
    assert os.listdir(tmp_path) == []
