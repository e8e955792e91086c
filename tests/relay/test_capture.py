"""What the journal says of a session, where capture comes from, and that a kill leaves all that crossed."""

import os
import shutil
import signal
import time
from pathlib import Path

import pytest

from kilometers import __version__
from kilometers.core import journal
from kilometers.core.journal import CLIENT_TO_SERVER, SERVER_TO_CLIENT
from relay.servers import server
from relay.wrapped import Client, captured, environment_of, is_running, journal_folder, run, run_recorded, wait_until

MEGABYTE = bytes(range(256)) * 4096


def start_of(home: Path) -> dict[str, list[str]]:
    return captured(home).fields(journal.START)


def test_start_tells_what_was_wrapped(home: Path, tmp_path: Path) -> None:
    with Client(["cat", "-", "two words"], home, cwd=tmp_path) as client:
        client.ask(b"x\n")
        start = start_of(home)

        assert start["argv"] == ["cat", "-", "two words"]
        assert start["cwd"] == [str(tmp_path)]
        assert start["relay_pid"] == [str(client.km.pid)]
        assert is_running(int(start["pid"][0]))
        assert start["name"] == ["cat"]
        assert start["km_version"] == [__version__]
        assert start["home"] == [str(home)]
        assert (start["capture"], start["capture_source"]) == (["full"], ["default"])


def test_start_keeps_odd_arguments_as_they_were(home: Path) -> None:
    run_recorded(["sh", "-c", "cat", b"\xff=\n", b""], home)

    assert [os.fsencode(word) for word in start_of(home)["argv"][2:]] == [b"cat", b"\xff=\n", b""]


def test_start_has_the_given_name(home: Path) -> None:
    run_recorded(["cat"], home, "--name", "Weather: home")

    assert start_of(home)["name"] == ["Weather: home"]


def test_journal_never_holds_the_api_key(home: Path) -> None:
    run_recorded(["cat"], home, data=b"x", env={**environment_of(home), "KILOMETERS_API_KEY": "km_live_secret"})

    assert captured(home).segments
    assert not any(b"km_live_secret" in path.read_bytes() for path in journal_folder(home).iterdir())


@pytest.mark.parametrize(
    ("line", "fields"),
    [
        ("cat; exit 3", {"exit_status": ["3"]}),
        ("cat; kill -KILL $$", {"exit_status": ["137"], "signal": ["9"]}),
    ],
)
def test_end_tells_how_the_server_ended(home: Path, line: str, fields: dict[str, list[str]]) -> None:
    run_recorded(["sh", "-c", line], home)
    end = captured(home).fields(journal.END)

    assert {name: end[name] for name in end if not name.startswith("total.")} == fields


def test_end_has_each_streams_total(home: Path) -> None:
    run_recorded(["sh", "-c", "cat >/dev/null; echo out; echo error >&2"], home, data=b"12345")

    assert journal.read_totals(captured(home).fields(journal.END)) == (5, 4, 6)


def test_end_of_each_stream_is_an_empty_record(home: Path) -> None:
    run_recorded(["cat"], home, data=b"x")

    for kind in journal.STREAMS:
        assert len(captured(home).of(kind)[-1].data) == 0


def test_every_answer_stands_behind_its_request(home: Path) -> None:
    with Client(["cat"], home) as client:
        for number in range(300):
            client.ask(b"%d\n" % number)
    wait_until(lambda: not is_running(client.km.pid), "km's end")
    kinds = [
        record.kind for record in captured(home).all_records() if record.kind in journal.STREAMS and len(record.data)
    ]

    assert kinds == [CLIENT_TO_SERVER, SERVER_TO_CLIENT] * 300


def test_clocks_never_go_back(home: Path) -> None:
    with Client(["cat"], home) as client:
        for number in range(100):
            client.ask(b"%d\n" % number)
        times = [record.monotonic_ns for record in captured(home).all_records() if record.kind in journal.STREAMS]

    assert times == sorted(times)
    assert 0 <= time.monotonic_ns() - times[0] < 60e9


def test_killed_km_leaves_all_that_crossed(home: Path) -> None:
    with Client(["cat"], home) as client:
        lines = [b"%d\n" % number for number in range(50)]
        answers = [client.ask(line) for line in lines]
        client.km.kill()
        client.status()

    assert captured(home).stream(CLIENT_TO_SERVER) == b"".join(lines)
    assert captured(home).stream(SERVER_TO_CLIENT) == b"".join(answers)
    assert captured(home).of(journal.END) == []


@pytest.mark.parametrize("attempt", range(5))
def test_request_that_makes_the_server_kill_km_is_captured(home: Path, attempt: int) -> None:
    request = b'{"method":"kill","attempt":%d}\n' % attempt
    with Client(server("os.read(0, 100); os.kill(os.getppid(), signal.SIGKILL)"), home) as client:
        client.send(request)
        client.status()

    assert captured(home).stream(CLIENT_TO_SERVER) == request


def test_more_than_a_sessions_share_is_a_counted_gap(home: Path) -> None:
    with Client(["sh", "-c", "cat > /dev/null; exit 4"], home) as client:
        for _ in range(80):
            client.send(MEGABYTE)
        client.end_input()
        assert client.status() == 4
    read = captured(home)
    ((start, length, reason),) = read.gaps(CLIENT_TO_SERVER)

    assert reason == journal.JOURNAL_FULL
    assert start + length == 80 * len(MEGABYTE)
    assert sum(map(len, read.segments)) <= (64 << 20) + 4096
    assert read.fields(journal.END)["exit_status"] == ["4"]


def test_marker_names_the_session_in_the_home(home: Path) -> None:
    run_recorded(["cat"], home)

    assert [path.name for path in (home / "journal").iterdir()] == start_of(home)["session_id"]


def test_journal_goes_on_where_its_folder_was_removed(home: Path) -> None:
    with Client(["cat"], home) as client:
        client.ask(b"before\n")
        shutil.rmtree(journal_folder(home))
        wait_until(lambda: client.ask(b"lost\n") and captured(home).segments, "a new journal")
        client.ask(b"after\n")
        client.end_input()
        assert client.status() == 0
    read = captured(home)
    ((start, length, reason),) = read.gaps(SERVER_TO_CLIENT)

    assert (start, reason) == (0, journal.JOURNAL_LATE)
    assert length % len(b"lost\n") == len(b"before\n") % len(b"lost\n")
    assert read.stream(SERVER_TO_CLIENT).endswith(b"after\n")
    assert read.fields(journal.START)["argv"] == ["cat"]
    assert read.fields(journal.END)["exit_status"] == ["0"]


OFF_EVERYWHERE = 'capture = "off"\n'
OFF_FOR_CAT = '[servers.cat]\ncapture = "off"\n'


@pytest.mark.parametrize(
    ("options", "variables", "config"),
    [
        (["--capture", "off"], {}, ""),
        ([], {"KILOMETERS_CAPTURE": "off"}, ""),
        ([], {}, OFF_EVERYWHERE),
        ([], {}, OFF_FOR_CAT),
        (["--capture", "off"], {"KILOMETERS_CAPTURE": "full"}, 'capture = "full"\n'),
    ],
)
def test_session_that_is_off_is_not_journaled(
    home: Path, options: list[str], variables: dict[str, str], config: str
) -> None:
    (home / "config.toml").write_text(config)
    ended = run(["cat"], home, *options, input=b"hello", env={**environment_of(home), **variables})

    assert ended.stdout == b"hello"
    assert captured(home).segments == []
    assert not (home / "journal").exists()


@pytest.mark.parametrize(
    ("options", "config", "capture"),
    [
        (["--capture", "metadata"], OFF_EVERYWHERE, ("metadata", "flag")),
        ([], 'capture = "off"\n[servers.cat]\ncapture = "full"\n', ("full", "config.toml")),
        ([], '[servers.other]\ncapture = "off"\n', ("full", "default")),
    ],
)
def test_capture_is_the_nearest_settings(home: Path, options: list[str], config: str, capture: tuple[str, str]) -> None:
    (home / "config.toml").write_text(config)
    run_recorded(["cat"], home, *options)
    start = start_of(home)

    assert (start["capture"], start["capture_source"]) == ([capture[0]], [capture[1]])


@pytest.mark.parametrize(
    "config", [b"capture = ", b'capture = "everything"', b"\xff", b"x = " + b"[" * 5000, b"capture = [1]"]
)
def test_unreadable_config_keeps_metadata_only_and_stops_nothing(home: Path, config: bytes) -> None:
    (home / "config.toml").write_bytes(config)
    ended = run(["cat"], home, input=b"hello")

    assert (ended.stdout, ended.stderr, ended.returncode) == (b"hello", b"", 0)
    assert start_of(home)["capture"] == ["metadata"]


def test_unreadable_config_is_named_when_asked(home: Path) -> None:
    (home / "config.toml").write_text("capture = \n")
    ended = run(["true"], home, "-v")

    assert f"{home}/config.toml: ".encode() in ended.stderr
    assert b"line 1" in ended.stderr


def test_config_that_is_a_pipe_is_not_waited_for(home: Path) -> None:
    os.mkfifo(home / "config.toml")
    started_s = time.monotonic()
    ended = run(["cat"], home, input=b"hello")

    assert (ended.stdout, ended.returncode) == (b"hello", 0)
    assert time.monotonic() - started_s < 1


def test_signal_is_a_normal_end(home: Path) -> None:
    with Client(["cat"], home) as client:
        client.ask(b"x\n")
        client.km.send_signal(signal.SIGTERM)

        assert client.status() == 128 + signal.SIGTERM
    assert captured(home).fields(journal.END)["signal"] == [str(int(signal.SIGTERM))]


def test_sessions_of_one_home_share_a_folder(home: Path) -> None:
    with Client(["cat"], home) as one, Client(["cat"], home) as other:
        one.ask(b"x\n")
        other.ask(b"x\n")

        assert len(list(journal_folder(home).glob("*.lock"))) == 2
