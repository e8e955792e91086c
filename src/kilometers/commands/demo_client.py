"""A small MCP client over the stdio of a process that it starts; it never waits for ever.

    send ──outbox──▶ writer thread ──▶ stdin
    stdout ──▶ reader thread ──▶ an answer wakes its caller; notifications are kept; the server's requests are answered
    stderr ──▶ a third thread: the last lines are kept

Whatever the server does, memory and time are bounded, and no process is left.  Counterpart: demo_server.py, or any
other MCP server.
Source: the MCP specification, revisions 2025-11-25 ("Lifecycle", "Transports") and 2026-07-28.
"""

import os
import queue
import signal
import subprocess
import sys
import threading
import time
from collections import deque
from collections.abc import Callable, Iterator, Mapping
from typing import IO, Any, Self, TypeVar

import msgspec

from kilometers import __version__
from kilometers.core.event import excerpt
from kilometers.core.facts import (
    CLIENT_INFO,
    LATEST_LEGACY,
    MODERN,
    PROTOCOL_VERSION,
    implementation,
    read_meta,
    read_result,
)
from kilometers.core.frames import Frame, FrameSplitter, LineSplitter, Message, id_key, read_frame, text_of

Json = dict[str, Any]
Answer = Callable[[], Json]
Shape = TypeVar("Shape")
CLIENT = {"name": "km-demo-client", "version": __version__}
METHOD_NOT_FOUND = -32601
CLIENT_CAPABILITIES = "io.modelcontextprotocol/clientCapabilities"
LOOK_EVERY_S = 0.2  # Windows cannot interrupt a wait by ^C, so waits are short
LEAVE_S = 2.0  # what clients give a server after its stdin was closed, and again after TERM
HURRY_S = 0.2  # before TERM, after a failure
THREAD_END_S = 1.0
READ_BYTES = 64 << 10
MAX_READ_BYTES = 64 << 20  # a server that has written so much, or so many lines, does not stop by itself
MAX_LINES = 10_000
MAX_UNSENT = 1000
MAX_NOTIFICATIONS = 1000
LAST_LINES = 5
ANSWERS: dict[str, Answer] = {
    "ping": lambda: {"result": {}},
    "roots/list": lambda: {"result": {"roots": []}},
    "elicitation/create": lambda: {"result": {"action": "decline"}},
    # The specification's own example of a person who says no.
    "sampling/createMessage": lambda: {"error": {"code": -1, "message": "User rejected sampling request"}},
}


class NoAnswer(Exception):
    """The server did not answer, or not as it has to; the text goes on from the server's name."""


class Error(msgspec.Struct, frozen=True):
    """A JSON-RPC error."""

    code: int = 0
    message: str = ""


class Greeting(msgspec.Struct, frozen=True):
    """What is read of the result of `initialize` and of `server/discover` alike."""

    capabilities: dict[str, msgspec.Raw] = {}


class Server(msgspec.Struct, frozen=True):
    """What a server says of itself; *capabilities* by their names."""

    name: str
    protocol_version: str
    capabilities: dict[str, msgspec.Raw]


class Call:
    """A request that has been sent; *answer* stays None where the server ended first."""

    def __init__(self, number: int, method: str) -> None:
        self.id = number
        self.method = method
        self.answer: Message | None = None
        self.answered = threading.Event()


class Client:
    """One server with its client.

    *answers* are members of the answers to the server's requests, by method; asked for on the reader's thread.
    Entered and left like a file; left by an exception, it ends the server sooner.
    """

    def __init__(
        self,
        command: list[str],
        *,
        patience_s: float,
        capabilities: Json | None = None,
        answers: Mapping[str, Answer] | None = None,
    ) -> None:
        self.patience_s = patience_s
        self.capabilities = capabilities or {}
        self.version = LATEST_LEGACY
        self.last_lines: deque[str] = deque(maxlen=LAST_LINES)
        """What the server said last on stderr."""
        self.rubbish = ""
        """What it said last on stdout that is no message."""
        self._answers: Mapping[str, Answer] = {**ANSWERS, **(answers or {})}
        self._calls: dict[str, Call] = {}
        self._number = 0
        self._notifications: queue.Queue[Message] = queue.Queue(MAX_NOTIFICATIONS)
        self._outbox: queue.SimpleQueue[bytes | None] = queue.SimpleQueue()
        self._too_much = ""
        self._has_ended = threading.Event()
        self.relay = subprocess.Popen(
            command,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            bufsize=0,
            start_new_session=True,  # so that whatever the server starts can be ended with it
            creationflags=getattr(subprocess, "CREATE_NEW_PROCESS_GROUP", 0),  # and ^C is ours alone, on Windows, too
        )
        self._threads = [
            threading.Thread(target=work, daemon=True) for work in (self._write, self._read, self._read_stderr)
        ]
        for thread in self._threads:
            thread.start()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        self.end(LEAVE_S if kind is None else HURRY_S)

    def send(self, method: str, params: Json | None = None, *, with_progress: bool = False) -> Call:
        """Send a request.  Raises NoAnswer where the server has stopped reading."""
        self._number += 1
        call = self._calls[id_key(b"%d" % self._number)] = Call(self._number, method)
        meta: Json = {"progressToken": progress_token(call.id)} if with_progress else {}
        if self.version == MODERN:
            meta |= {PROTOCOL_VERSION: MODERN, CLIENT_INFO: CLIENT, CLIENT_CAPABILITIES: self.capabilities}
        self._post(id=call.id, method=method, params={**(params or {}), **({"_meta": meta} if meta else {})})
        if self._has_ended.is_set():
            call.answered.set()
        return call

    def wait(self, call: Call) -> Message:
        """Return the answer, an error too.  Raises NoAnswer."""
        deadline_s = time.monotonic() + self.patience_s
        while not call.answered.wait(LOOK_EVERY_S):
            if time.monotonic() > deadline_s:
                raise NoAnswer(f"did not answer {call.method} within {self.patience_s:.0f} s")
        if call.answer is None:
            raise self._ended_before(f"it answered {call.method}")
        return call.answer

    def ask(self, method: str, params: Json | None = None) -> Message:
        """Send a request and return its answer, an error too.  Raises NoAnswer."""
        return self.wait(self.send(method, params))

    def greet(self) -> Server:
        """Find out who the server is and which era it speaks.  Raises NoAnswer.

        `initialize` goes first, as with most clients of today: an old server may die of `server/discover` or ignore
        it, one of both eras answers either, and one that is modern alone refuses, and is asked again.
        """
        hello = self.ask(
            "initialize", {"protocolVersion": LATEST_LEGACY, "capabilities": self.capabilities, "clientInfo": CLIENT}
        )
        if hello.kind == "error":
            refusal, self.version = describe_error(hello), MODERN
            hello = self.ask("server/discover")
            if hello.kind == "error":
                raise NoAnswer(f"answered initialize with {refusal}")
        else:
            self.notify("notifications/initialized")
        capabilities = read(hello, "initialize", Greeting).capabilities
        result = read_result(hello.result)
        info = implementation(result.server_info) or implementation(read_meta(result.meta).server_info)
        version = text_of(result.protocol_version) or self.version
        return Server(f"{info.name} {info.version}".strip() if info else "", version, capabilities)

    def notify(self, method: str, params: Json | None = None) -> None:
        """Send a notification."""
        self._post(method=method, params=params or {})

    def cancel(self, call: Call, reason: str) -> None:
        """Tell the server that an answer is no longer wanted."""
        self.notify("notifications/cancelled", {"requestId": call.id, "reason": reason})

    def hear(self, method: str, about: str = "") -> Message:
        """Return the next notification of *method* whose params hold the text *about*.  Raises NoAnswer."""
        deadline_s = time.monotonic() + self.patience_s
        while time.monotonic() < deadline_s:
            try:
                message = self._notifications.get(timeout=LOOK_EVERY_S)
            except queue.Empty:
                if self._has_ended.is_set():
                    raise self._ended_before(f"it sent {method}") from None
                continue
            if message.method == method and about.encode() in bytes(message.params):
                return message
        raise NoAnswer(f"did not send {method} within {self.patience_s:.0f} s")

    def hear_progress(self, call: Call) -> Message:
        """Return the next word on how far a call is that was sent with_progress.  Raises NoAnswer."""
        return self.hear("notifications/progress", f'"{progress_token(call.id)}"')

    def end(self, patience_s: float = LEAVE_S) -> None:
        """Close the server's stdin, then TERM, then KILL, as clients do; doing it again changes nothing."""
        self._outbox.put(None)
        if not self._leaves_within(patience_s):
            self._signal(signal.SIGTERM)
            self._leaves_within(LEAVE_S)
            # Also what the server has left behind: the relay goes with the process that it started.
            self._signal(getattr(signal, "SIGKILL", signal.SIGTERM))
            self._leaves_within(LEAVE_S)
        self._close()

    def _leaves_within(self, seconds: float) -> bool:
        try:
            self.relay.wait(seconds)
        except subprocess.TimeoutExpired:
            return False
        return True

    def _close(self) -> None:
        """Let go of the pipes whose threads are done; what holds another keeps its thread, which dies with us."""
        for thread, pipe in zip(self._threads, (self.relay.stdin, self.relay.stdout, self.relay.stderr), strict=True):
            thread.join(THREAD_END_S)
            if pipe is not None and not thread.is_alive():
                pipe.close()

    if sys.platform == "win32":

        def _signal(self, _number: int) -> None:
            self.relay.kill()

    else:

        def _signal(self, number: int) -> None:
            try:
                os.killpg(self.relay.pid, number)
            except OSError:
                pass  # it has just ended

    def _ended_before(self, what: str) -> NoAnswer:
        if self._too_much:
            return NoAnswer(f"{self._too_much} before {what}")
        if not self._leaves_within(LEAVE_S):
            return NoAnswer(f"closed its stdout before {what}")
        self._threads[2].join(THREAD_END_S)  # its last words count
        return NoAnswer(f"ended (exit {self.relay.returncode}) before {what}")

    def _post(self, **members: object) -> None:
        if self._outbox.qsize() > MAX_UNSENT:
            raise NoAnswer("does not read what it is sent")
        self._outbox.put(msgspec.json.encode({"jsonrpc": "2.0", **members}) + b"\n")

    def _write(self) -> None:
        assert self.relay.stdin is not None
        for frame in iter(self._outbox.get, None):
            rest = memoryview(frame)
            try:
                while rest:
                    rest = rest[self.relay.stdin.write(rest) :]
            except OSError:
                break  # nobody reads any more; the reader sees the end
        self.relay.stdin.close()

    def _read(self) -> None:
        try:
            for count, message in enumerate(self._messages(), 1):
                self._take(message)
                if count == MAX_LINES:
                    self._too_much = f"wrote {MAX_LINES:,} lines"
                    break
        finally:
            self._has_ended.set()
            for call in list(self._calls.values()):
                call.answered.set()

    def _messages(self) -> Iterator[Message | None]:
        """Yield what the server writes, None for what is no message, until it ends or has written far too much."""
        splitter, read_bytes = FrameSplitter(), 0
        for data in pieces(self.relay.stdout):
            for frame in splitter.feed(data):
                message = read_frame(frame.data)
                if isinstance(message, Message):
                    yield message
                else:
                    self.rubbish = excerpt(frame.data) or self.rubbish
                    yield None
            read_bytes += len(data)
            if read_bytes > MAX_READ_BYTES:
                self._too_much = f"wrote {read_bytes / 1e6:,.0f} MB"
                return

    def _take(self, message: Message | None) -> None:
        if message is None:
            return
        if message.kind == "request":
            self._reply(message)
        elif message.kind == "notification":
            if not self._notifications.full():
                self._notifications.put_nowait(message)
        elif message.key in self._calls:
            call = self._calls.pop(message.key)
            call.answer = message
            call.answered.set()

    def _reply(self, request: Message) -> None:
        answer = self._answers.get(request.method)
        members = answer() if answer else {"error": {"code": METHOD_NOT_FOUND, "message": "Method not found"}}
        try:
            self._post(id=msgspec.Raw(request.id_text.encode()), **members)
        except NoAnswer:
            pass  # it does not read; whoever waits for its answers will say so

    def _read_stderr(self) -> None:
        splitter = LineSplitter()
        for data in pieces(self.relay.stderr):
            self._keep_lines(splitter.feed(data))
        self._keep_lines(splitter.flush(""))

    def _keep_lines(self, frames: list[Frame]) -> None:
        self.last_lines += [line for line in (excerpt(frame.data) for frame in frames) if line]


def progress_token(number: int) -> str:
    """Return the progress token of the request with this id."""
    return f"progress-{number}"


def pieces(pipe: IO[bytes] | None) -> Iterator[bytes]:
    """Yield what a pipe holds, as soon as it is there."""
    assert pipe is not None
    while data := os.read(pipe.fileno(), READ_BYTES):
        yield data


def read(message: Message, method: str, shape: type[Shape]) -> Shape:
    """Return a result as *shape*.  Raises NoAnswer for an error, and for a result of another shape."""
    if message.kind == "error":
        raise NoAnswer(f"answered {method} with {describe_error(message)}")
    try:
        return msgspec.json.decode(message.result, type=shape)
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError) as error:
        raise NoAnswer(f"answered {method} with a result of another shape ({error})") from error


def describe_error(message: Message) -> str:
    """Return an error's code and text for a person."""
    try:
        error = msgspec.json.decode(message.error, type=Error)
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError):
        return "an error"
    return f'error {error.code} "{excerpt(error.message.encode())}"'
