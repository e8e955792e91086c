"""The demo's MCP servers over stdio: `notes` speaks revision 2025-11-25, `calendar` 2026-07-28.

    stdin ──▶ one thread per request ──▶ stdout      notifications/cancelled ──▶ the request's thread

Between them they do what servers do: they answer, fail, refuse, report progress, let go of what was cancelled, notify,
answer at length, and ask back: `notes` by a request of its own, `calendar` by a result that requires input.
Counterpart: demo.py, whose clients talk with them; any other MCP client may, too.
Source: the MCP specification, revisions 2025-11-25 and 2026-07-28.
"""

import json
import os
import queue
import sys
import threading
from collections.abc import Callable, Iterable
from typing import Any, ClassVar, NamedTuple, NoReturn

from kilometers.core.facts import LATEST_LEGACY, MODERN, PROTOCOL_VERSION, SERVER_INFO, SUBSCRIPTION_ID
from kilometers.errors import EXIT_USAGE, KilometersError

Json = dict[str, Any]
INVALID_REQUEST = -32600
METHOD_NOT_FOUND = -32601
INVALID_PARAMS = -32602
UNSUPPORTED_VERSION = -32022
CLIENT_TIMEOUT_S = 10.0
BIG_ANSWER_NOTES = 2500  # about 200 kB
MALFORMED = (ValueError, LookupError, TypeError, AttributeError, RecursionError)  # what JSON of another shape raises


class Refused(Exception):
    """The request cannot be served: a JSON-RPC error."""

    def __init__(self, code: int, message: str, **data: object) -> None:
        super().__init__(message)
        self.error: Json = {"code": code, "message": message, **({"data": data} if data else {})}


class ToolFailed(Exception):
    """The tool was called as it should be and could not do its work: a result with isError."""


class InputRequired(Exception):
    """The call goes on once the client has answered *question*: a result of the modern revision."""

    def __init__(self, question: Json, state: str) -> None:
        super().__init__(state)
        self.question = question
        self.state = state


class Cancelled(Exception):
    """The client has cancelled the request, which is not answered any more."""


class Call:
    """A request that is being served, on a thread of its own."""

    def __init__(self, server: "Server", message: Json) -> None:
        self.server = server
        self.id: int | str = message["id"]
        self.method: str = message["method"]
        self.params: Json = message.get("params", {})
        self.meta: Json = self.params.get("_meta", {})
        self.arguments: Json = self.params.get("arguments", {})
        self.cancelled = threading.Event()

    def work(self, seconds: float) -> None:
        """Take some time.  Raises Cancelled as soon as the client has had enough."""
        if self.cancelled.wait(seconds):
            raise Cancelled

    def report(self, progress: int, total: int) -> None:
        """Say how far the work is, if the client wants to know."""
        token = self.meta.get("progressToken")
        if token is not None:
            self.server.notify("notifications/progress", progressToken=token, progress=progress, total=total)


Run = Callable[[Call], str]


class Tool(NamedTuple):
    """A tool: what it says of itself, the names of its arguments (all strings), what it does."""

    about: str
    arguments: tuple[str, ...]
    run: Run


def start(name: str) -> None:
    """Be the server of this name until stdin ends."""
    if name not in SERVERS:
        raise KilometersError(f'no demo server "{name}".', f"One of: {', '.join(SERVERS)}", exit_status=EXIT_USAGE)
    server = SERVERS[name]()
    sys.stderr.write(f"{name}: ready, {len(server.resources)} resources\n")
    server.serve(sys.stdin.buffer)


class Server:
    """What both revisions have in common."""

    name: str
    tools: dict[str, Tool]
    resources: ClassVar[dict[str, str]]
    not_found: int
    """The code of the error for a resource that is not there."""

    def __init__(self) -> None:
        self.info = {"name": f"km-demo-{self.name}", "version": "1.0.0"}
        self.calls: dict[int | str, Call] = {}
        self._writing = threading.Lock()

    def serve(self, lines: Iterable[bytes]) -> None:
        """Take messages until they end; what is still being served then goes with the process."""
        for line in lines:
            try:
                self.take(json.loads(line))
            except MALFORMED:
                self.write(id=None, error=Refused(INVALID_REQUEST, "This is no request.").error)

    def take(self, message: Json) -> None:
        """Begin what a message asks for."""
        if "id" in message:
            call = self.calls[message["id"]] = Call(self, message)
            threading.Thread(target=self._answer, args=(call,), daemon=True).start()
        elif message["method"] == "notifications/cancelled":
            given_up = self.calls.get(message["params"]["requestId"])
            if given_up is not None:
                given_up.cancelled.set()

    def _answer(self, call: Call) -> None:
        try:
            answer = {"result": self.complete(self.result(call))}
        except Refused as refused:
            answer = {"error": refused.error}
        except MALFORMED:
            answer = {"error": Refused(INVALID_PARAMS, "Invalid params").error}
        except Cancelled:
            return  # the specification: no answer to what was cancelled
        finally:
            self.calls.pop(call.id, None)
        self.write(id=call.id, **answer)

    def result(self, call: Call) -> Json:
        """Serve what both revisions know.  Raises Refused."""
        match call.method:
            case "tools/list":
                return {"tools": [describe(name, tool) for name, tool in self.tools.items()]}
            case "tools/call":
                return self.call_tool(call)
            case "resources/list":
                return {"resources": [{"uri": uri, "name": uri.rpartition("/")[2]} for uri in self.resources]}
            case "resources/read":
                return {"contents": [{"uri": call.params["uri"], "text": self.find_resource(call.params["uri"])}]}
        raise Refused(METHOD_NOT_FOUND, f"Method not found: {call.method}")

    def call_tool(self, call: Call) -> Json:
        """Run a tool.  Raises Refused where there is no such tool, or an argument is missing."""
        name = call.params.get("name")
        tool = self.tools.get(str(name))
        if tool is None:
            raise Refused(INVALID_PARAMS, f"Unknown tool: {name}")
        missing = [argument for argument in tool.arguments if argument not in call.arguments]
        if missing:
            raise Refused(INVALID_PARAMS, f"{name} needs: {', '.join(missing)}")
        try:
            return {"content": [{"type": "text", "text": tool.run(call)}]}
        except ToolFailed as failure:
            return {"content": [{"type": "text", "text": str(failure)}], "isError": True}

    def find_resource(self, uri: str) -> str:
        """Return a resource's text.  Raises Refused."""
        if uri not in self.resources:
            raise Refused(self.not_found, "Resource not found", uri=uri)
        return self.resources[uri]

    def complete(self, result: Json) -> Json:
        """Return a result with what the revision adds to each."""
        return result

    def notify(self, method: str, **params: object) -> None:
        """Send a notification."""
        self.write(method=method, params=params)

    def write(self, **members: object) -> None:
        """Send one message, whole."""
        frame = memoryview(json.dumps({"jsonrpc": "2.0", **members}, ensure_ascii=False).encode() + b"\n")
        with self._writing:
            try:
                while frame:
                    frame = frame[os.write(1, frame) :]
            except OSError:
                pass  # the client has gone; then stdin ends, too


def describe(name: str, tool: Tool) -> Json:
    """Return a tool as tools/list has it."""
    properties = {argument: {"type": "string"} for argument in tool.arguments}
    schema = {"type": "object", "properties": properties, "required": list(tool.arguments)}
    return {"name": name, "description": tool.about, "inputSchema": schema}


class Notes(Server):
    """Legacy: a handshake, and requests that travel both ways."""

    name = "notes"
    not_found = -32002
    resources: ClassVar = {"notes://recipes/pancakes": "Flour, milk, eggs.", "notes://work/roadmap": "Ship it."}

    def __init__(self) -> None:
        super().__init__()
        self.tools = NOTES_TOOLS
        self._asked: dict[int, queue.SimpleQueue[Json]] = {}

    def take(self, message: Json) -> None:
        """Begin what a message asks for, or hand over the answer to what was asked."""
        if "method" in message:
            super().take(message)
        else:
            self._asked[message["id"]].put(message)

    def result(self, call: Call) -> Json:
        """Serve what only the legacy revisions know, too."""
        match call.method:
            case "initialize":
                capabilities: Json = {"logging": {}, "resources": {}, "tools": {}}
                return {"protocolVersion": LATEST_LEGACY, "capabilities": capabilities, "serverInfo": self.info}
            case "ping" | "logging/setLevel":
                return {}
        return super().result(call)

    def ask(self, method: str, **params: object) -> Json:
        """Send a request to the client and return its result.  Raises ToolFailed where it declines."""
        number = len(self._asked) + 1
        answers = self._asked[number] = queue.SimpleQueue()
        self.write(id=number, method=method, params=params)
        try:
            answer = answers.get(timeout=CLIENT_TIMEOUT_S)
        except queue.Empty:
            raise ToolFailed(f"The client did not answer {method}.") from None
        if "result" not in answer:
            raise ToolFailed(f"The client declined: {answer.get('error', {}).get('message')}")
        result: Json = answer["result"]
        return result


class Calendar(Server):
    """Modern: no handshake, each request says what it is, and only answers and notifications come back."""

    name = "calendar"
    not_found = INVALID_PARAMS
    resources: ClassVar = {"calendar://today": "09:30 standup, 14:00 design review"}

    def __init__(self) -> None:
        super().__init__()
        self.tools = CALENDAR_TOOLS

    def result(self, call: Call) -> Json:
        """Serve what only the modern revision knows, too, to those who speak it."""
        version = call.meta.get(PROTOCOL_VERSION, call.params.get("protocolVersion"))
        if version is None:
            raise Refused(INVALID_PARAMS, f"params._meta lacks {PROTOCOL_VERSION}")
        if version != MODERN:
            raise Refused(
                UNSUPPORTED_VERSION, "Unsupported protocol version", supported=[MODERN], requested=str(version)
            )
        match call.method:
            case "server/discover":
                capabilities: Json = {"resources": {"subscribe": True}, "tools": {}}
                return cacheable({"supportedVersions": [MODERN], "capabilities": capabilities})
            case "subscriptions/listen":
                self.listen(call)
            case "tools/list" | "resources/list" | "resources/read":
                return cacheable(super().result(call))
        return super().result(call)

    def call_tool(self, call: Call) -> Json:
        """Run a tool, which may ask back by its result."""
        try:
            return super().call_tool(call)
        except InputRequired as needed:
            return {
                "resultType": "input_required",
                "inputRequests": {"answer": {"method": "elicitation/create", "params": needed.question}},
                "requestState": needed.state,
            }

    def complete(self, result: Json) -> Json:
        """Return a result with its type and who made it."""
        return {"resultType": "complete", **result, "_meta": {SERVER_INFO: self.info}}

    def listen(self, call: Call) -> NoReturn:
        """Hold a subscription open until it is cancelled, which is how it ends: raises Cancelled."""
        wanted = call.params["notifications"].get("resourceSubscriptions", [])
        granted = [uri for uri in wanted if uri in self.resources]
        self.notify(
            "notifications/subscriptions/acknowledged",
            _meta={SUBSCRIPTION_ID: call.id},
            notifications={"resourceSubscriptions": granted},
        )
        call.cancelled.wait()
        raise Cancelled

    def tell_listeners(self, uri: str) -> None:
        """Notify those who subscribed to a resource that it has changed."""
        for call in list(self.calls.values()):
            wanted = call.params.get("notifications", {}).get("resourceSubscriptions", [])
            if call.method == "subscriptions/listen" and uri in wanted:
                self.notify("notifications/resources/updated", _meta={SUBSCRIPTION_ID: call.id}, uri=uri)


def cacheable(result: Json) -> Json:
    """Return a result with how long it may be kept, and for whom."""
    return {**result, "ttlMs": 60_000, "cacheScope": "private"}


def says(text: str) -> Run:
    """Return a tool's work: answer at once.  *text* may name arguments."""
    return lambda call: text.format(**call.arguments)


def fails(text: str) -> Run:
    """Return a tool's work: fail."""

    def run(call: Call) -> str:
        raise ToolFailed(text.format(**call.arguments))

    return run


def takes(steps: int, seconds: float, text: str) -> Run:
    """Return a tool's work: be slow, with progress."""

    def run(call: Call) -> str:
        for step in range(1, steps + 1):
            call.work(seconds)
            call.report(step, steps)
        return text.format(**call.arguments)

    return run


def add_note(call: Call) -> str:
    """Answer, and log."""
    title = call.arguments["title"]
    call.server.notify("notifications/message", level="info", logger="notes", data=f"saved {title}")
    return f"Saved {title}."


def summarize_note(call: Call) -> str:
    """Ask the client's model."""
    server, uri = call.server, f"notes://{call.arguments['title']}"
    assert isinstance(server, Notes)
    question = {"type": "text", "text": f"In one sentence: {server.find_resource(uri)}"}
    result = server.ask("sampling/createMessage", messages=[{"role": "user", "content": question}], maxTokens=60)
    return str(result["content"]["text"])


def export_notes(_call: Call) -> str:
    """Answer at length."""
    return "\n".join(
        f"{number:04} notes/journal/{number:04}.md: it rained until noon, then we went for a walk."
        for number in range(BIG_ANSWER_NOTES)
    )


def move_meeting(call: Call) -> str:
    """Ask the person first, then do it and tell who listens."""
    meeting, time = call.arguments["meeting"], call.arguments["to"]
    state = f"move {meeting} to {time}"
    if call.params.get("requestState") != state:
        schema = {"type": "object", "properties": {"sure": {"type": "boolean"}}, "required": ["sure"]}
        question = {"mode": "form", "message": f"4 people are invited. Really {state}?", "requestedSchema": schema}
        raise InputRequired(question, state)
    if call.params["inputResponses"]["answer"]["action"] != "accept":
        raise ToolFailed("Nothing was moved: nobody said yes.")
    assert isinstance(call.server, Calendar)
    call.server.tell_listeners("calendar://today")
    return f"Moved {meeting} to {time}."


NOTES_TOOLS = {
    "add": Tool("Save a note.", ("title", "text"), add_note),
    "search": Tool("Find notes by a word.", ("query",), says("1 note has {query}: recipes/pancakes")),
    "import": Tool("Read an archive.", ("file",), takes(4, 0.12, "Imported 212 notes from {file}.")),
    "sync": Tool("Copy all to another machine.", ("remote",), takes(600, 0.06, "In step with {remote}.")),
    "digest": Tool("Say in one sentence what a note says.", ("title",), summarize_note),
    "delete": Tool("Delete a note.", ("title",), fails("There is no note {title}.")),
    "export": Tool("Return all notes as text.", (), export_notes),
}
CALENDAR_TOOLS = {
    "today": Tool("Return today's meetings.", (), says("09:30 standup, 14:00 design review")),
    "propose": Tool("Find a time that suits everybody.", ("minutes",), takes(3, 0.15, "15:00, for {minutes} min.")),
    "invite": Tool("Write to everybody.", ("meeting",), takes(600, 0.06, "All are invited to {meeting}.")),
    "move": Tool("Move a meeting, once a person agrees.", ("meeting", "to"), move_meeting),
    "book": Tool("Book a room.", ("room",), fails("{room} is taken at 15:00.")),
}
SERVERS: dict[str, Callable[[], Server]] = {"notes": Notes, "calendar": Calendar}
