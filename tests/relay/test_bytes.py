"""Bytes out are bytes in, both ways, whatever they are and however they arrive."""

import hashlib
import os
import random
import socket
import subprocess
import threading
import time
from pathlib import Path

import pytest

from kilometers.core.journal import CLIENT_TO_SERVER, SERVER_TO_CLIENT
from relay.wrapped import (
    KM,
    PATIENCE_S,
    SERVER_PYTHON,
    Client,
    captured,
    environment_of,
    is_running,
    run,
    run_recorded,
    wait_until,
)

FRAME = b'{"jsonrpc":"2.0","id":1,"method":"tools/call","params":{"name":"add"}}'
ODD_BYTES = {
    "nothing": b"",
    "one frame": FRAME + b"\n",
    "CRLF": FRAME + b"\r\n" + FRAME + b"\r\n",
    "bare CR": FRAME.replace(b",", b",\r") + b"\n",
    "BOM": b"\xef\xbb\xbf" + FRAME + b"\n",
    "invalid UTF-8": b'{"x":"\xff\xfe\xc3(\xed\xa0\x80"}\n',
    "NUL": b"\0{\0}\n\0",
    "banner": b"Server v1.0 ready\nlistening on stdio ...\n" + FRAME + b"\n",
    "blank lines": b"\n\n \n\t\n" + FRAME + b"\n\n",
    "no final newline": FRAME + b"\n" + FRAME[:20],
    "line separators": '{"x":"a\u2028b\u2029c\u0085d"}\n'.encode(),
    "lone surrogate escape": b'{"x":"\\ud800"}\n{"x":"\\udc00\\ud800"}\n',
    "two frames on one line": FRAME + FRAME + b"\n",
    "batch": b"[" + FRAME + b"," + FRAME + b"]\n",
    "every byte": bytes(range(256)) * 3,
    "terminal controls": b"\x03\x04\x1a\x1b[2J\x11\x13\n",
    "a journal record": b"\xabK\x01\x01\x04\0\0\0" + bytes(28) + b"abcd\n",
    "more than a pipe holds": random.Random(1).randbytes(1_500_000),
}
odd_bytes = pytest.mark.parametrize("data", ODD_BYTES.values(), ids=ODD_BYTES)
MEGABYTE = random.Random(2).randbytes(1 << 20).replace(b"\n", b" ")


@odd_bytes
def test_client_bytes_reach_the_server_and_the_journal(home: Path, tmp_path: Path, data: bytes) -> None:
    received = tmp_path / "received"
    run_recorded(["sh", "-c", 'cat > "$0"', str(received)], home, data=data)

    assert received.read_bytes() == data
    assert captured(home).stream(CLIENT_TO_SERVER) == data


@odd_bytes
def test_server_bytes_reach_the_client_and_the_journal(home: Path, tmp_path: Path, data: bytes) -> None:
    (tmp_path / "sent").write_bytes(data)
    received = run_recorded(["sh", "-c", 'cat > /dev/null; cat "$0"', str(tmp_path / "sent")], home)

    assert received == data
    assert captured(home).stream(SERVER_TO_CLIENT) == data


@pytest.mark.parametrize("seed", range(4))
def test_random_bytes_in_random_pieces_come_back(home: Path, seed: int) -> None:
    chance = random.Random(seed)
    pieces = [chance.randbytes(int(2 ** chance.uniform(0, 18))) for _ in range(60)]
    with Client(["cat"], home) as client:
        writer = threading.Thread(target=lambda: ([client.send(piece) for piece in pieces], client.end_input()))
        writer.start()
        answer = client.rest()
        writer.join()

        assert answer == b"".join(pieces)
        assert client.status() == 0


def test_frame_is_forwarded_before_its_newline_arrives(home: Path) -> None:
    with Client(["cat"], home) as client:
        for byte in FRAME:
            client.send(bytes([byte]))
            assert client.km.stdout.read(1) == bytes([byte])


def test_writes_of_three_bytes_come_back(home: Path) -> None:
    data = MEGABYTE[:9000]
    server = "import os\nwhile data := os.read(0, 3): os.write(1, data)"
    with Client([*SERVER_PYTHON, server], home) as client:
        writer = threading.Thread(
            target=lambda: ([client.send(data[at : at + 3]) for at in range(0, len(data), 3)], client.end_input())
        )
        writer.start()

        assert client.rest() == data
        writer.join()


def test_pipelined_requests_are_all_answered(home: Path) -> None:
    requests = b"".join(b'{"id":%d,"pad":"%s"}\n' % (number, b"x" * 1000) for number in range(3000))

    assert run(["cat"], home, input=requests).stdout == requests


def test_100_mb_without_a_newline_reach_the_server(home: Path) -> None:
    with Client(["sha256sum"], home) as client:
        for _ in range(100):
            client.send(MEGABYTE)
        client.end_input()

        assert client.rest().split()[0].decode() == hashlib.sha256(MEGABYTE * 100).hexdigest()


def test_100_mb_without_a_newline_reach_the_client(home: Path, tmp_path: Path) -> None:
    (tmp_path / "sent").write_bytes(MEGABYTE)
    digest = hashlib.sha256()
    with Client(["sh", "-c", 'for i in $(seq 100); do cat "$0"; done', str(tmp_path / "sent")], home) as client:
        while data := client.km.stdout.read(1 << 20):
            digest.update(data)

        assert digest.hexdigest() == hashlib.sha256(MEGABYTE * 100).hexdigest()


def test_slow_client_loses_nothing_although_the_server_has_ended(home: Path, tmp_path: Path) -> None:
    data = MEGABYTE[:500_000]
    (tmp_path / "sent").write_bytes(data)
    command = ["sh", "-c", 'echo $$; exec cat "$0"', str(tmp_path / "sent")]
    with Client(command, home) as client:
        server = int(client.line())
        wait_until(lambda: not is_running(server), "the server's end")
        # Longer than km waits for a pipe that nobody writes to any more.
        with pytest.raises(subprocess.TimeoutExpired):
            client.status(within_s=0.6)

        assert client.rest() == data
        assert client.status() == 0


def test_client_that_reads_bit_by_bit_loses_nothing(home: Path, tmp_path: Path) -> None:
    data = MEGABYTE[:700_000]
    (tmp_path / "sent").write_bytes(data)
    with Client(["cat", str(tmp_path / "sent")], home) as client:
        received = b""
        while piece := client.km.stdout.read(4096):
            received += piece
            time.sleep(0.002)

        assert received == data


def test_slow_server_loses_nothing(home: Path) -> None:
    data = MEGABYTE[:700_000]
    server = "import os, time\nwhile data := os.read(0, 9000): os.write(1, data); time.sleep(0.002)"

    assert run([*SERVER_PYTHON, server], home, input=data).stdout == data


def test_direction_that_is_stuck_leaves_the_other_alone(home: Path, tmp_path: Path) -> None:
    (tmp_path / "big").write_bytes(MEGABYTE)
    # Writes more than every pipe on the way holds, and reads a word meanwhile.
    command = ["sh", "-c", 'cat "$0" & head -c 5 > "$1"; wait', str(tmp_path / "big"), str(tmp_path / "word")]
    with Client(command, home) as client:
        client.send(b"hello")
        wait_until(lambda: (tmp_path / "word").exists() and (tmp_path / "word").read_bytes() == b"hello", "the word")

        assert client.rest() == MEGABYTE


def test_sockets_as_node_makes_them_carry_both_ways(home: Path) -> None:
    near_in, far_in = socket.socketpair()
    near_out, far_out = socket.socketpair()
    with near_in, near_out:
        km = subprocess.Popen([KM, "monitor", "cat"], stdin=far_in, stdout=far_out, env=environment_of(home))
        far_in.close()
        far_out.close()
        writer = threading.Thread(target=lambda: (near_in.sendall(MEGABYTE), near_in.shutdown(socket.SHUT_WR)))
        writer.start()
        with near_out.makefile("rb") as stream:
            received = stream.read()
        writer.join()

        assert received == MEGABYTE
        assert km.wait(PATIENCE_S) == 0


def test_one_socket_for_both_directions_keeps_its_half_close(home: Path) -> None:
    near, far = socket.socketpair()
    with near:
        km = subprocess.Popen([KM, "monitor", "cat"], stdin=far, stdout=far, env=environment_of(home))
        far.close()
        near.sendall(FRAME)
        near.shutdown(socket.SHUT_WR)
        with near.makefile("rb") as stream:
            assert stream.read() == FRAME
        assert km.wait(PATIENCE_S) == 0


def test_non_blocking_pipes_carry_both_ways(home: Path) -> None:
    km_stdin, our_stdin = os.pipe()
    our_stdout, km_stdout = os.pipe()
    os.set_blocking(km_stdin, False)
    os.set_blocking(km_stdout, False)
    with open(our_stdin, "wb", buffering=0) as to_km, open(our_stdout, "rb", buffering=0) as from_km:
        km = subprocess.Popen([KM, "monitor", "cat"], stdin=km_stdin, stdout=km_stdout, env=environment_of(home))
        os.close(km_stdin)
        os.close(km_stdout)

        def write() -> None:
            view = memoryview(MEGABYTE)
            while view:
                view = view[to_km.write(view[:100_000]) :]
            to_km.close()

        writer = threading.Thread(target=write)
        writer.start()

        assert from_km.read() == MEGABYTE
        writer.join()
        assert km.wait(PATIENCE_S) == 0


def test_silent_non_blocking_stdin_costs_no_time(home: Path) -> None:
    km_stdin, our_stdin = os.pipe()
    os.set_blocking(km_stdin, False)
    with open(our_stdin, "wb", buffering=0), Client(["cat"], home, stdin=km_stdin) as client:
        os.close(km_stdin)
        wait_until(lambda: captured_start(home), "the journal")
        before_s = cpu_s(client.km.pid)
        time.sleep(0.3)

        assert cpu_s(client.km.pid) - before_s < 0.1


def captured_start(home: Path) -> bool:
    return bool(captured(home).all_records())


def cpu_s(pid: int) -> float:
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")
