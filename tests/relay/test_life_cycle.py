"""How a session ends: every kind of client against every kind of server (who closes, waits, signals and kills)."""

import os
import signal
import subprocess
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import pytest

from kilometers.relay import SIGNAL_DELAY_S
from relay import servers
from relay.wrapped import Client, children, end_survivors, is_running, survivors, wait_until

# Real clients wait for 2 s; a km that fits into less fits into that.
CLIENT_WAIT_S = 1.0
# What km and a busy machine may add to a client's own waits.
SLACK_S = 0.9


def is_gone_within(client: Client, wait_s: float) -> bool:
    try:
        client.status(wait_s)
    except subprocess.TimeoutExpired:
        return False
    return True


def close_as_python(client: Client) -> None:
    """Leave as the Python SDK does: km leads a process group, and signals go to all of it."""
    client.end_input()
    for number in (signal.SIGTERM, signal.SIGKILL):
        if is_gone_within(client, CLIENT_WAIT_S):
            return
        os.killpg(client.km.pid, number)


def close_as_typescript(client: Client) -> None:
    """Leave as the TypeScript SDK does: signals go to km alone."""
    client.end_input()
    for number in (signal.SIGTERM, signal.SIGKILL):
        if is_gone_within(client, CLIENT_WAIT_S):
            return
        client.km.send_signal(number)


def close_as_old_typescript(client: Client) -> None:
    """Leave as the TypeScript SDK did before 1.32: SIGTERM first, stdin left open."""
    client.km.send_signal(signal.SIGTERM)
    if not is_gone_within(client, CLIENT_WAIT_S):
        client.km.send_signal(signal.SIGKILL)


def close_as_probe(client: Client) -> None:
    """Leave as the probe of the TypeScript SDK 2 does: end of stdin and SIGTERM at once."""
    client.end_input()
    client.km.send_signal(signal.SIGTERM)
    if not is_gone_within(client, 1.0):
        client.km.send_signal(signal.SIGKILL)


def has_its_own_group(close: Callable[[Client], None]) -> bool:
    return close is close_as_python


@dataclass
class Ending:
    """What is seen of a session's end."""

    status: int
    seconds: float
    output: bytes


def end_session(command: list[str], home: Path, close: Callable[[Client], None]) -> Ending:
    with Client(command, home, start_new_session=has_its_own_group(close)) as client:
        assert client.line() == b"ready\n"
        started_s = time.monotonic()
        close(client)
        status = client.status()
        return Ending(status, time.monotonic() - started_s, client.rest())


PATIENT = [close_as_python, close_as_typescript]
HASTY = [close_as_old_typescript, close_as_probe]
every_client = pytest.mark.parametrize("close", PATIENT + HASTY)
patient_client = pytest.mark.parametrize("close", PATIENT)


@patient_client
@pytest.mark.parametrize("command", [servers.ENDS_ON_EOF, servers.CLOSES_STDOUT], ids=["reading", "stdout closed"])
def test_server_that_ends_on_eof_ends_the_session_at_once(
    home: Path, close: Callable[[Client], None], command: list[str]
) -> None:
    ending = end_session(command, home, close)

    assert ending.status == 7
    assert ending.seconds < SLACK_S
    assert survivors(home) == []


@patient_client
def test_slow_server_is_waited_for(home: Path, close: Callable[[Client], None]) -> None:
    ending = end_session(servers.ENDS_SLOWLY, home, close)

    assert ending.status == 7
    assert 0.3 < ending.seconds < CLIENT_WAIT_S
    assert survivors(home) == []


@patient_client
def test_server_that_ignores_eof_ends_by_the_clients_term(home: Path, close: Callable[[Client], None]) -> None:
    ending = end_session(servers.ENDS_ON_TERM, home, close)

    assert ending.status == 5
    assert CLIENT_WAIT_S < ending.seconds < CLIENT_WAIT_S + SLACK_S
    assert survivors(home) == []


@every_client
def test_server_that_ignores_everything_dies_by_the_clients_kill(home: Path, close: Callable[[Client], None]) -> None:
    ending = end_session(servers.ENDS_ON_KILL, home, close)

    assert ending.status == -signal.SIGKILL
    wait_until(lambda: survivors(home) == [], "the server's death", within_s=1)


@pytest.mark.parametrize("close", HASTY)
def test_term_at_once_is_a_normal_end(home: Path, close: Callable[[Client], None]) -> None:
    ending = end_session(servers.ENDS_ON_TERM, home, close)

    assert ending.status == 5
    assert ending.seconds < SLACK_S
    assert survivors(home) == []


@pytest.mark.parametrize("command", [servers.ENDS_ON_EOF, servers.ENDS_SLOWLY, servers.CLOSES_STDOUT])
def test_term_at_once_kills_a_server_without_a_handler(home: Path, command: list[str]) -> None:
    ending = end_session(command, home, close_as_old_typescript)

    assert ending.status == 128 + signal.SIGTERM
    assert ending.seconds < SLACK_S
    assert survivors(home) == []


def test_probe_leaves_a_quick_server_time_to_end_by_itself(home: Path) -> None:
    # 128 + TERM where the machine was too busy for the 50 ms that km leaves it.
    assert end_session(servers.ENDS_ON_EOF, home, close_as_probe).status in {7, 128 + signal.SIGTERM}
    assert survivors(home) == []


@pytest.mark.parametrize(
    ("close", "status"), [(close_as_python, 7), (close_as_typescript, 7), (close_as_old_typescript, 143)]
)
def test_grandchild_that_holds_stdout_holds_nobody_up(home: Path, close: Callable[[Client], None], status: int) -> None:
    with Client(servers.LEAVES_GRANDCHILD, home, start_new_session=has_its_own_group(close)) as client:
        client.line()
        started_s = time.monotonic()
        close(client)

        assert client.status() == status
        assert time.monotonic() - started_s < SLACK_S
        assert len(survivors(home)) == 1  # as without km
        end_survivors(home)


def test_busy_grandchild_is_listened_to_for_five_seconds_at_most(home: Path) -> None:
    busy = "if os.fork() == 0:\n    while True: say(b'tick'); time.sleep(0.05)\nsay(b'ready')\nos._exit(0)"
    with Client(servers.server(busy), home) as client:
        started_s = time.monotonic()
        received = client.rest_until_exit()

        assert 4.5 < time.monotonic() - started_s < 6.5
        assert received.count(b"tick") > 50


@pytest.mark.parametrize("group", [True, False])
def test_server_that_ends_first_ends_the_session(home: Path, *, group: bool) -> None:
    with Client(servers.ENDS_FIRST, home, start_new_session=group) as client:
        assert client.rest() == b"ready\n"
        assert client.status(SLACK_S) == 3
        assert survivors(home) == []


def test_km_ends_within_a_tenth_of_a_second_of_its_server(home: Path) -> None:
    last_words = "say(b'ready')\nos.read(0, 1)\nsay(b'%d' % time.monotonic_ns())\nos._exit(0)"
    lags_s = []
    for _ in range(5):
        with Client(servers.server(last_words), home) as client:
            client.line()
            client.send(b"x")
            ended_ns = int(client.line())
            client.status()
            lags_s.append((time.monotonic_ns() - ended_ns) / 1e9)

    assert min(lags_s) < 0.1


def test_server_may_answer_after_the_client_has_half_closed(home: Path) -> None:
    with Client(servers.ANSWERS_AFTER_EOF, home) as client:
        assert client.line() == b"ready\n"
        client.end_input()

        assert client.rest() == b"goodbye\n"
        assert client.status() == 7


def test_stdout_that_the_server_closes_is_closed_for_the_client(home: Path) -> None:
    with Client(servers.CLOSES_STDOUT, home) as client:
        assert client.rest() == b"ready\n"
        assert client.km.poll() is None


def test_stdin_that_the_server_closes_breaks_the_clients_pipe(home: Path) -> None:
    command = servers.server("os.close(0)\nsay(b'ready')\nwhile True: signal.pause()")
    with Client(command, home) as client:
        client.line()

        with pytest.raises(BrokenPipeError):
            client.send(b"x" * 10_000_000)
        assert client.km.poll() is None


def test_client_that_closes_its_stdout_stops_a_writing_server(home: Path) -> None:
    with Client(["yes"], home) as client:
        client.line()
        client.km.stdout.close()

        assert client.status() == 128 + signal.SIGPIPE
        assert survivors(home) == []


@pytest.mark.parametrize(
    ("line", "status"),
    [
        ("exit 0", 0),
        ("exit 9", 9),
        ("exit 255", 255),
        ("kill -TERM $$", 128 + signal.SIGTERM),
        ("kill -KILL $$", 128 + signal.SIGKILL),
        ("kill -SEGV $$", 128 + signal.SIGSEGV),
        ("kill -HUP $$", 128 + signal.SIGHUP),
        ("kill -INT $$", 128 + signal.SIGINT),
        ("kill -USR1 $$", 128 + signal.SIGUSR1),
    ],
)
def test_exit_status_is_the_servers(home: Path, line: str, status: int) -> None:
    with Client(["sh", "-c", line], home) as client:
        assert client.status() == status


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGHUP])
def test_signal_is_passed_on_as_it_is(home: Path, number: int) -> None:
    command = servers.server(
        "for n in (signal.SIGTERM, signal.SIGHUP): signal.signal(n, lambda n, _: os._exit(n))\n"
        "say(b'ready')\nwhile True: signal.pause()"
    )
    with Client(command, home) as client:
        client.line()
        client.km.send_signal(number)

        assert client.status() == number


def test_group_signal_reaches_a_prompt_server_once(home: Path, tmp_path: Path) -> None:
    command = servers.server(
        f"log = os.open({str(tmp_path / 'log')!r}, os.O_WRONLY | os.O_CREAT | os.O_TRUNC)\n"
        "signal.signal(signal.SIGTERM, lambda *_: os.write(log, b'TERM '))\n"
        "say(b'ready')\nsignal.pause()\ntime.sleep(0.01)\nos._exit(0)"
    )
    received = []
    for _ in range(5):  # a busy machine may take longer over 10 ms than the 50 that km gives the server
        with Client(command, home, start_new_session=True) as client:
            client.line()
            os.killpg(client.km.pid, signal.SIGTERM)
            assert client.status() == 0
        received.append((tmp_path / "log").read_bytes())

    assert received.count(b"TERM ") >= 2


def test_term_is_passed_on_once_however_often_it_comes(home: Path) -> None:
    command = servers.server(
        "signal.signal(signal.SIGTERM, lambda *_: say(b'TERM'))\n"
        "say(b'ready')\nwhile os.read(0, 65536): pass\nos._exit(0)"
    )
    with Client(command, home) as client:
        client.line()
        for _ in range(3):
            client.km.send_signal(signal.SIGTERM)
        assert client.line() == b"TERM\n"
        client.end_input()

        assert client.rest() == b""
        assert client.status() == 0


def test_interrupt_from_the_terminal_is_the_servers_to_answer(home: Path) -> None:
    command = servers.server(
        "signal.signal(signal.SIGINT, lambda *_: say(b'interrupted'))\n"
        "say(b'ready')\nwhile data := os.read(0, 65536): os.write(1, data)\nos._exit(7)"
    )
    with Client(command, home, start_new_session=True) as client:
        client.line()
        os.killpg(client.km.pid, signal.SIGINT)

        assert client.line() == b"interrupted\n"
        assert client.ask(b"still here\n") == b"still here\n"
        client.end_input()
        assert client.status() == 7


def test_interrupt_of_km_alone_does_not_reach_the_server(home: Path) -> None:
    command = servers.server(
        "signal.signal(signal.SIGINT, lambda *_: say(b'interrupted'))\n"
        "say(b'ready')\nwhile data := os.read(0, 65536): os.write(1, data)\nos._exit(7)"
    )
    with Client(command, home) as client:
        client.line()
        client.km.send_signal(signal.SIGINT)

        assert not client.hears_within(4 * SIGNAL_DELAY_S)
        assert client.ask(b"still here\n") == b"still here\n"


def test_server_dies_with_a_killed_km(home: Path) -> None:
    with Client(servers.ENDS_ON_KILL, home) as client:
        client.line()
        (server,) = [pid for pid in children(client.km.pid) if is_running(pid)]
        client.km.kill()

        wait_until(lambda: not is_running(server), "the server's death", within_s=2)


def test_running_session_has_no_zombies(home: Path) -> None:
    with Client(["cat"], home) as client:
        client.ask(b"x\n")

        assert [pid for pid in children(client.km.pid) if not is_running(pid)] == []


def test_server_is_km_own_child_in_the_same_group_and_session(home: Path) -> None:
    with Client(["cat"], home) as client:
        client.ask(b"x\n")
        (server,) = children(client.km.pid)

        assert os.getpgid(server) == os.getpgid(client.km.pid) == os.getpgid(0)
        assert os.getsid(server) == os.getsid(0)
