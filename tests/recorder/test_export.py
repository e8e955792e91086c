"""`km export`, on stores that real sessions made, and on large ones."""

import csv
import fcntl
import io
import json
import os
import pty
import re
import resource
import shutil
import signal
import struct
import subprocess
import termios
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from faults.disk_faults import DiskFaults, Mode
from kilometers import paths
from kilometers.commands.export import COLUMNS
from kilometers.core import journal
from recorder.sessions import KM, Recorded, Sessions, wait_until
from relay.wrapped import end_survivors, ram_folders
from screens.scripted_store import ScriptedStore, busy_steps

MINUTE_NS = 60_000_000_000
BEGIN_NS = 1_790_000_000_000_000_000
LARGE_SESSIONS = 10
LARGE_CALLS = 2_500
SUMMARY = re.compile(r"[0-9,]+ events? of [0-9,]+ sessions?, [0-9.]+ k?M?B, in [0-9.]+ (µs|ms|s)\n")
# What a server that answers with what it was asked makes events of; by `id`.
ASKED = (
    rb'{"jsonrpc":"2.0","id":"=1+1","method":"tools/call","params":{"name":"=HYPERLINK(\"http://x\",\"y\")"}}',
    rb'{"jsonrpc":"2.0","id":-1,"method":"tools/call","params":{"name":"-2e3"}}',
    rb'{"jsonrpc":"2.0","id":2,"method":"@SUM(A1)","params":{"text":"\u00e4, \"b\"\r\nc \u2192 \ud83d\ude80"}}',
    rb'{"jsonrpc":"2.0","id":3,"method":"tools/call","params":{"name":"a,\"b\"\r\nc\rd"}}',
    rb'{"jsonrpc":"2.0","id":3,"error":{"code":-32601,"message":"-1"}}',
    b'{"jsonrpc":"2.0","method":"notifications/\xc2\x9b31m\x7f"}',
    b"no message",
)


@pytest.fixture(scope="module")
def recorded(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Sessions]:
    """A home with two sessions that overlapped, and a probe."""
    home = tmp_path_factory.mktemp("export") / "home"
    home.mkdir(mode=0o700)
    folders = ram_folders(home)
    sessions = Sessions(home)
    hostile = sessions.start(command=["sh", "-c", "echo =1+1 >&2; exec cat"])
    hostile.write(b"".join(line + b"\n" for line in ASKED))
    hostile.wait_for_answers(len(ASKED))
    calls = sessions.start()
    calls.call(1)
    calls.wait_for_answers(1)
    hostile.end()
    calls.end()
    probe = sessions.start()
    probe.write(b'{"jsonrpc":"2.0","id":"server-discover-probe-1","method":"server/discover","params":{}}\n')
    probe.end()
    sessions.wait_until_recorded()
    yield sessions
    sessions.close()
    end_survivors(home)
    for folder in folders:
        shutil.rmtree(folder, ignore_errors=True)


@pytest.fixture(scope="module")
def large(tmp_path_factory: pytest.TempPathFactory) -> Sessions:
    """A home with sessions enough for an export of half a second; the last in the store began first."""
    folder = tmp_path_factory.mktemp("large") / "home"
    scripted = ScriptedStore(folder)
    for number in reversed(range(LARGE_SESSIONS)):
        steps = busy_steps(LARGE_CALLS, client="client-0", seed=number)
        gap = (journal.CLIENT_TO_SERVER, 1_000, 50.0) if number == 0 else None
        begin_ns = BEGIN_NS + number * MINUTE_NS
        scripted.add(steps, name=f"server-{number}", begin_ns=begin_ns, end_after_ms=LARGE_CALLS * 100 + 1, gap=gap)
    scripted.close()
    return Sessions(folder)


def in_order(sessions: Sessions) -> list[Recorded]:
    return sorted(sessions.recorded().values(), key=lambda one: str(one.summary["started_at"]))


def lines_of(sessions: Sessions) -> list[bytes]:
    return [wire for one in in_order(sessions) for wire in one.wires]


def export(sessions: Sessions, *arguments: str) -> bytes:
    done = sessions.km("export", *arguments)
    assert (done.returncode, done.stderr) == (0, b"")
    return done.stdout


def rows(sessions: Sessions, *arguments: str) -> list[dict[str, str]]:
    text = export(sessions, "--format", "csv", *arguments).decode()
    return list(csv.DictReader(io.StringIO(text, newline=""), strict=True))


def start(sessions: Sessions, *arguments: str, **options: Any) -> subprocess.Popen[bytes]:
    environment = {"PATH": os.environ["PATH"], "KILOMETERS_HOME": str(sessions.folder)}
    return subprocess.Popen([*KM, "export", *arguments], env=environment, **options)


def read_terminal(fd: int) -> bytes:
    """Read what was written to a terminal, until nobody has it open."""
    shown = b""
    while True:
        try:
            shown += os.read(fd, 65536)
        except OSError:
            os.close(fd)
            return shown


def open_terminal(columns: int = 80) -> tuple[int, int]:
    ours, theirs = pty.openpty()
    fcntl.ioctl(theirs, termios.TIOCSWINSZ, struct.pack("HHHH", 24, columns, 0, 0))
    return ours, theirs


def test_json_lines_are_what_events_prints(recorded: Sessions) -> None:
    events = recorded.km("events", "server-0", "--json").stdout

    assert export(recorded, "server-0") == events
    assert events.count(b"\n") > len(ASKED)


def test_everything_comes_session_by_session_in_the_order_of_their_start(recorded: Sessions, large: Sessions) -> None:
    for sessions in (recorded, large):
        assert export(sessions).splitlines() == lines_of(sessions)
    assert [one.summary["is_probe"] for one in in_order(recorded)] == [False, False, True]


def test_more_sessions_than_a_page_come_all(tmp_path: Path) -> None:
    scripted = ScriptedStore(tmp_path / "home")
    for number in range(2_005):
        scripted.add(busy_steps(1, client="c", seed=0), begin_ns=BEGIN_NS + number % 3, end_after_ms=1)
    scripted.close()

    ids = [json.loads(line)["session_id"] for line in export(Sessions(tmp_path / "home")).splitlines()]

    assert len(set(ids)) == len(ids) == 2_005


@pytest.mark.parametrize("form", ["jsonl", "csv"])
def test_filters_say_which_events(large: Sessions, form: str) -> None:
    since = in_order(large)[4].events[100].at
    filters = ("--tool", "tool-4", "--status", "tool_error", "--since", since.isoformat())
    events = [event for one in in_order(large) for event in one.events if event.at >= since]
    wanted = [event for event in events if (event.target, event.status) == ("tool-4", "tool_error")]

    if form == "csv":
        found = [(row["session_id"], int(row["seq"])) for row in rows(large, *filters)]
    else:
        printed = map(json.loads, export(large, *filters).splitlines())
        found = [(event["session_id"], event["seq"]) for event in printed]

    assert found
    assert found == [(event.session_id, event.seq) for event in wanted]


def test_csv_has_a_header_and_lines_that_end_as_rfc_4180_says(recorded: Sessions) -> None:
    exported = export(recorded, "server-1", "--format", "csv")

    assert exported.startswith(",".join(COLUMNS).encode() + b"\r\n")
    assert exported.count(b"\r\n") == exported.count(b"\n") == 3


def test_csv_holds_the_facts_of_each_event(recorded: Sessions) -> None:
    names = {one.id: one.summary["name"] for one in in_order(recorded)}
    events = [json.loads(line) for line in lines_of(recorded)]

    for row, event in zip(rows(recorded), events, strict=True):
        assert row["server"] == names[event["session_id"]]
        for name in ("session_id", "seq", "direction", "kind", "call_seq", "status", "error_code", "reason"):
            assert row[name] == str(event.get(name, ""))
        for name in ("duration_us", "size_bytes", "payload_state"):
            assert row[name] == str(event.get(name, ""))
        for name in ("method", "target", "request_id"):
            assert row[name].removeprefix("'") == event.get(name, "")
        assert row["at"][:19] == event["at"][:19]
        assert len(row["at"]) == len("2026-01-31T12:34:56.123456Z")
        assert json.loads(row["payload"]) == event["payload"]


def test_csv_says_client_and_protocol_version_of_the_session(large: Sessions) -> None:
    found = rows(large, "server-1")

    assert {row["client"] for row in found} == {"client-0 1.0"}
    assert {row["server"] for row in found} == {"server-1"}


def test_csv_says_what_is_missing(large: Sessions) -> None:
    (gap,) = [row for row in rows(large, "server-0") if row["kind"] == "gap"]

    assert (gap["gap_bytes"], gap["gap_reason"], gap["payload"]) == ("1000", "journal_full", "")


def test_csv_cells_run_as_no_formula_and_numbers_stay_numbers(recorded: Sessions) -> None:
    found = rows(recorded, "server-0")

    targets = {row["target"] for row in found}
    assert targets == {"", '\'=HYPERLINK("http://x","y")', "-2e3", 'a,"b"\r\nc\rd'}
    assert {"'@SUM(A1)", "tools/call"} <= {row["method"] for row in found}
    assert {"-1", '"=1+1"'} <= {row["request_id"] for row in found}
    assert {row["error_code"] for row in found} == {"", "-32601"}
    starts = {cell[0] for row in found for cell in row.values() if cell and not re.fullmatch("-[0-9e]+", cell)}
    assert starts.isdisjoint("=+-@\t\r\n")


def test_file_is_private_and_whole_and_says_what_is_in_it(large: Sessions, tmp_path: Path) -> None:
    file = tmp_path / "all.jsonl"

    done = large.km("export", "-o", str(file))

    assert (done.returncode, done.stdout) == (0, b"")
    assert file.read_bytes().splitlines() == lines_of(large)
    assert file.stat().st_mode & 0o777 == 0o600
    assert SUMMARY.fullmatch(done.stderr.decode())
    assert done.stderr.startswith(b"49,991 events of 10 sessions, ")
    assert os.listdir(tmp_path) == ["all.jsonl"]


def test_dash_is_standard_output(recorded: Sessions) -> None:
    assert export(recorded, "-o", "-") == export(recorded)


def make_file(path: Path) -> None:
    path.write_bytes(b"mine")


def make_dangling_link(path: Path) -> None:
    path.symlink_to("nowhere")


@pytest.mark.parametrize(
    ("taken", "make", "said"),
    [
        ("all.csv", make_file, b"already there. Choose another name"),
        ("all.csv", Path.mkdir, b"already there. Choose another name"),
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
        environment = {"PATH": os.environ["PATH"], "KILOMETERS_HOME": str(recorded.folder), **faults.env()}
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
    terminal, theirs = open_terminal()
    with Path("/dev/full").open("wb") as full, start(recorded, "server-1", stdout=full, stderr=theirs) as exporter:
        os.close(theirs)
        said = read_terminal(terminal)

    assert exporter.returncode == 1
    assert said == b"km: cannot write the output: No space left on device.\r\n"


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


def test_closed_pipe_ends_quietly(large: Sessions) -> None:
    exporter = start(large, stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    assert exporter.stdout is not None

    first = exporter.stdout.readline()
    exporter.stdout.close()
    _, said = exporter.communicate(timeout=60)

    assert json.loads(first)["seq"] == 0
    assert (exporter.returncode, said) == (0, b"")


def test_what_is_recorded_meanwhile_is_left_to_the_next_export(sessions: Sessions) -> None:
    client = sessions.start()
    for number in range(1_500):
        client.call(number, size=200)
    client.wait_for_answers(1_500)
    wait_until(lambda: sessions.count("SELECT count(*) FROM events") == 3_000, 20)
    ours, theirs = os.pipe()
    fcntl.fcntl(theirs, fcntl.F_SETPIPE_SZ, 4096)
    exporter = start(sessions, stdout=theirs)
    os.close(theirs)
    with open(ours, "rb") as pipe:
        first = pipe.readline()
        client.call(1_500)
        wait_until(lambda: sessions.count("SELECT count(*) FROM events") == 3_002, 20)
        rest = pipe.readlines()

    assert exporter.wait(60) == 0
    assert json.loads(first)["seq"] == 0
    assert len(rest) == 2_999
    client.end()


def test_memory_does_not_follow_what_is_exported(recorded: Sessions, large: Sessions, tmp_path: Path) -> None:
    peaks_kb = []
    for sessions in (recorded, large):
        file = tmp_path / f"{len(peaks_kb)}.csv"
        exporter = start(sessions, "--format", "csv", "-o", str(file), stderr=subprocess.DEVNULL)
        _, status, used = os.wait4(exporter.pid, 0)
        exporter.returncode = os.waitstatus_to_exitcode(status)
        assert exporter.returncode == 0
        peaks_kb.append(used.ru_maxrss)

    assert (tmp_path / "1.csv").stat().st_size > 12_000_000
    assert peaks_kb[1] < peaks_kb[0] + 6_000


def wait_for_an_update() -> None:
    """Let so much time pass that the next event shows how far the export is."""
    since_s = time.monotonic()
    wait_until(lambda: time.monotonic() > since_s + 0.6, 10)


@pytest.mark.parametrize("columns", [80, 30])
def test_person_sees_how_far_it_is_and_at_last_what_was_written(large: Sessions, columns: int) -> None:
    terminal, theirs = open_terminal(columns)
    with start(large, "--tool", "*", stdout=subprocess.PIPE, stderr=theirs) as exporter:
        os.close(theirs)
        assert exporter.stdout is not None
        exporter.stdout.readline()
        wait_for_an_update()
        for _ in range(30_000):
            exporter.stdout.readline()
        wait_for_an_update()
        rest = exporter.stdout.readlines()
    shown = read_terminal(terminal).decode().replace("\r\n", "\n")
    _, first, *drawn, blank, summary = shown.split("\r")

    assert exporter.returncode == 0
    assert len(rest) == LARGE_SESSIONS * (LARGE_CALLS - 1) * 2 - 30_001
    assert re.match(r"[0-9,]+ of 49,991 events  [0-9]+%", first)
    assert columns < 80 or re.search(r" [kM]B/s  [0-9]+ (s|min) left *$", first)
    assert max(int(line.split()[0].replace(",", "")) for line in drawn) > 30_000
    assert max(len(line) for line in (first, *drawn)) < columns
    assert blank.strip() == ""
    assert len(blank) >= len(drawn[-1].rstrip())
    assert SUMMARY.fullmatch(summary)
    assert summary.startswith("49,980 events of 10 sessions")


def test_summary_counts_what_was_wanted(recorded: Sessions, tmp_path: Path) -> None:
    done = recorded.km("export", "--method", "ping", "-o", str(tmp_path / "all"))

    assert done.stderr.startswith(b"2 events of 1 session, ")


@pytest.mark.parametrize("form", ["jsonl", "csv"])
def test_terminal_gets_lines_without_control_characters(recorded: Sessions, form: str) -> None:
    terminal, theirs = open_terminal()
    exporter = start(recorded, "--format", form, stdout=theirs, stderr=theirs)
    os.close(theirs)
    shown = read_terminal(terminal).decode()

    assert exporter.wait(60) == 0
    assert "notifications/·31m·" in shown
    assert "events of" not in shown
    assert all(character.isprintable() or character in "\r\n" for character in shown)
    lines = shown.splitlines()
    assert len(lines) == len(lines_of(recorded)) + (form == "csv")


def test_nothing_recorded_makes_no_file(tmp_path: Path) -> None:
    done = Sessions(tmp_path / "nowhere").km("export", "-o", str(tmp_path / "all"))

    assert done.returncode == 1
    assert b"km demo" in done.stderr
    assert os.listdir(tmp_path) == []


def test_nothing_wanted_is_a_header_at_most(recorded: Sessions, tmp_path: Path) -> None:
    done = recorded.km("export", "--since", "0s", "-o", str(tmp_path / "all"))

    assert (tmp_path / "all").read_bytes() == b""
    assert done.stderr.startswith(b"0 events of 0 sessions, 0 B, in ")
    assert export(recorded, "--since", "0s", "--format", "csv") == ",".join(COLUMNS).encode() + b"\r\n"


def test_home_is_only_read(recorded: Sessions) -> None:
    home = paths.Home(str(recorded.folder), "")
    before = Path(home.store_file).read_bytes()

    export(recorded)

    assert Path(home.store_file).read_bytes() == before
