"""`km export`: what is written, of stores that real sessions made and of large ones, and what a person sees of it."""

import csv
import fcntl
import io
import json
import os
import re
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from kilometers import paths
from kilometers.commands.export import COLUMNS
from recorder.export_runs import (
    ASKED,
    BEGIN_NS,
    LARGE_CALLS,
    LARGE_SESSIONS,
    SUMMARY,
    export,
    in_order,
    lines_of,
    record_sessions,
    start,
    write_sessions,
)
from recorder.sessions import KM, Sessions, wait_until
from recorder.terminal import Terminal
from screens.scripted_store import ScriptedStore, busy_steps


@pytest.fixture(scope="module")
def recorded(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Sessions]:
    with record_sessions(tmp_path_factory.mktemp("export")) as sessions:
        yield sessions


@pytest.fixture(scope="module")
def large(tmp_path_factory: pytest.TempPathFactory) -> Sessions:
    return write_sessions(tmp_path_factory.mktemp("large"))


def rows(sessions: Sessions, *arguments: str) -> list[dict[str, str]]:
    text = export(sessions, "--format", "csv", *arguments).decode()
    return list(csv.DictReader(io.StringIO(text, newline=""), strict=True))


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


def test_dash_is_standard_output(recorded: Sessions) -> None:
    assert export(recorded, "-o", "-") == export(recorded)


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
    command = [*KM, "export", "--tool", "*"]
    with Terminal(command, large.environment, columns=columns, stdout=subprocess.PIPE) as terminal:
        exported = terminal.process.stdout
        assert exported is not None
        exported.readline()
        wait_for_an_update()
        for _ in range(30_000):
            exported.readline()
        wait_for_an_update()
        rest = exported.readlines()
        status = terminal.wait()
    _, first, *drawn, blank, summary = terminal.shown.replace("\r\n", "\n").split("\r")

    assert status == 0
    assert len(rest) == LARGE_SESSIONS * (LARGE_CALLS - 1) * 2 - 30_001
    assert re.match(r"[0-9,]+ of 49,991 events  [0-9]+%", first)
    assert columns < 80 or re.search(r" [kM]B/s  [0-9]+ (s|min) left *$", first)
    assert max(int(line.split()[0].replace(",", "")) for line in drawn) > 30_000
    assert max(len(line) for line in (first, *drawn)) < columns
    assert blank.strip() == ""
    assert len(blank) >= len(drawn[-1].rstrip())
    assert SUMMARY.fullmatch(summary)
    assert summary.startswith("49,980 events of 10 sessions")


@pytest.mark.parametrize("form", ["jsonl", "csv"])
def test_terminal_gets_lines_without_control_characters(recorded: Sessions, form: str) -> None:
    with Terminal([*KM, "export", "--format", form], recorded.environment) as terminal:
        status = terminal.wait()

    assert status == 0
    assert "notifications/·31m·" in terminal.shown
    assert "events of" not in terminal.shown
    assert all(character.isprintable() or character in "\r\n" for character in terminal.shown)
    lines = terminal.shown.splitlines()
    assert len(lines) == len(lines_of(recorded)) + (form == "csv")


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
