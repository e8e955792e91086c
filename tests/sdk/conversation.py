"""The conversation that the Python SDK clients of this folder hold, and how they report it.

What is said stands in conversations.json, one list of steps per server; conversation.mjs is the same for Node.
A client prints one JSON value per line:

    {"kind": "request", "step", "direction", "method", "target", "ok", "status", "result", "asked"?}
    {"kind": "notification", "method", "result": [what arrived, sorted]}
    {"kind": "session", "client", "server", "protocol_version"}, or
    {"kind": "refused", "client", "code", "message"}, if the SDK found no version in common

Requests stand in the order in which they were made.  *status* is one of km's, or else: `unreadable`, the SDK refused
the answer; `unsupported`, it made no request at all; `abandoned`, it was closed while the call was under way.
*asked* is what a modern server wanted to know before it answered.
Two runs against the same server print the same lines: what changes from run to run is replaced by its name in <>.

A step says, beside its method and params: `server`, where only one has what it takes; `progress`, how often the server
reports it; `cancel_after_progress`; `is_abandoned`; `meanwhile`, steps to take while it is open, each after one more
progress where it is a call; `hears`, how many notifications to wait for before a subscription is ended, or that it is
`ended_by_server`.  For the tests alone are `rounds`, how many requests it takes in the modern era, `keeps_no_state`,
that nothing links them, and `ends`, the status where that is not ok: one for all, or by server, or by server and era.
"""

import base64
import hashlib
import json
import os
import re
from collections import defaultdict
from collections.abc import Awaitable, Callable, Iterable
from pathlib import Path
from typing import Any

import anyio
import anyio.abc
from mcp import types
from mcp.client.stdio import StdioServerParameters, get_default_environment
from mcp.shared import exceptions
from pydantic import ValidationError

Step = dict[str, Any]
Client = Any  # the 1.x ClientSession and the 2.x Client name their methods alike but share no type

# Longer than any run on a loaded machine, shorter than the test's own limit.
CONVERSATION_TIMEOUT_S = 40
ARRIVAL_TIMEOUT_S = 5
LONGEST_PRINTED_TEXT = 2000
# An SDK gives a server only a short list of variables; the rest must be named.
PASSED_ON = ("KILOMETERS_HOME", "KM_SDK_NODE_MODULES", "MEMORY_FILE_PATH")
MODERN = "2026-07-28"
SERVER_INFO_KEY = "io.modelcontextprotocol/serverInfo"
# 1.x spells it McpError.
PeerError: type[Exception] = getattr(exceptions, "MCPError", None) or exceptions.McpError

VOLATILE = (
    (re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d[+-]\d\d:\d\d"), "<datetime>"),
    (re.compile(r"\d{1,2}:\d\d:\d\d\s[AP]M"), "<time>"),
    (re.compile(r"\b(Mon|Tues|Wednes|Thurs|Fri|Satur|Sun)day\b"), "<weekday>"),
)


def server_parameters(command: list[str]) -> StdioServerParameters:
    """Return how to start *command* with the environment that a user would have configured."""
    configured = {name: os.environ[name] for name in PASSED_ON if name in os.environ}
    return StdioServerParameters(command=command[0], args=command[1:], env=get_default_environment() | configured)


def find_steps(command: list[str]) -> list[Step]:
    """Return what to say to the server that *command* starts, wrapped by km or not."""
    conversations = json.loads(Path(__file__).with_name("conversations.json").read_text("utf-8"))
    text = " ".join(command)
    all_steps = next(steps for server, steps in conversations.items() if server in text)
    return [step for step in all_steps if step.get("server", "") in text]


def stable(value: Any) -> Any:
    """Return *value* without what changes from run to run, long texts as their digest."""
    if isinstance(value, dict):
        return {key: stable_blob(item) if key == "blob" else stable(item) for key, item in value.items()}
    if isinstance(value, list):
        return [stable(item) for item in value]
    return stable_text(value) if isinstance(value, str) else value


def stable_blob(encoded: str) -> str:
    return stable_text(base64.b64decode(encoded).decode("utf-8", "replace"))


def stable_text(text: str) -> str:
    for pattern, name in VOLATILE:
        text = pattern.sub(name, text)
    if len(text) <= LONGEST_PRINTED_TEXT:
        return text
    return f"<{len(text)} characters, sha256 {hashlib.sha256(text.encode()).hexdigest()[:16]}>"


def as_json(model: Any) -> Any:
    return model.model_dump(mode="json", by_alias=True, exclude_none=True)


def describe_request(
    step: str, method: str, params: dict[str, Any], status: str, result: Any, *, direction: str
) -> dict[str, Any]:
    named = params.get("ref", params)
    return {
        "kind": "request",
        "step": step,
        "direction": direction,
        "method": method,
        "target": named.get("name") or named.get("uri"),
        "ok": status == "ok",
        "status": status,
        "result": stable(result),
    }


class Conversation:
    """One conversation, and what the SDK reported of it.

    *background* outlives the client: what it runs is still open when the client is closed.
    """

    def __init__(self, background: anyio.abc.TaskGroup) -> None:
        self.background = background
        self.lines: list[dict[str, Any]] = []
        self.asked: list[tuple[str, Any]] = []
        self.notifications: dict[str, list[Any]] = defaultdict(list)
        self.server_info: dict[str, Any] | None = None
        self.is_modern = False

    async def sample(self, _context: Any, params: Any) -> types.CreateMessageResult:
        self.asked.append(("sampling/createMessage", as_json(params)))
        content = types.TextContent(type="text", text="hello from the client")
        return types.CreateMessageResult(role="assistant", content=content, model="no-model", stopReason="endTurn")

    async def elicit(self, _context: Any, params: Any) -> types.ElicitResult:
        self.asked.append(("elicitation/create", as_json(params)))
        return types.ElicitResult(action="accept", content={"name": "Ada", "check": True, "integer": 7})

    async def list_roots(self, _context: Any) -> types.ListRootsResult:
        self.asked.append(("roots/list", {}))
        return types.ListRootsResult(roots=[types.Root(uri="file:///nowhere/project", name="project")])

    async def hear(self, message: Any) -> None:
        """Keep a notification; 1.x wraps it in a root model, and shows requests and faults here too."""
        message = getattr(message, "root", message)
        method = getattr(message, "method", "")
        # Progress is reported with its call; after a cancelled one it comes whenever the server likes.
        if method.startswith("notifications/") and method != "notifications/progress":
            self.notifications[method].append(as_json(message).get("params", {}))

    async def hold(self, client: Client, steps: Iterable[Step], protocol_version: str) -> None:
        """Take all steps; the last may be left open."""
        self.is_modern = protocol_version == MODERN
        for step in steps:
            if step.get("params", {}).get("name") == "get-roots-list" and not self.is_modern:
                # The server asks for roots once, 350 ms after its start or in this call: never let both meet.
                await arrival(lambda: any(method == "roots/list" for method, _ in self.asked))
            if step.get("is_abandoned"):
                is_under_way = anyio.Event()
                self.background.start_soon(self.take, client, step, is_under_way)
                await is_under_way.wait()
            else:
                await self.take(client, step)

    async def take(self, client: Client, step: Step, is_under_way: anyio.Event | None = None) -> None:
        """Do one step and keep how it ended."""
        params = step.get("params", {})
        place, asked_before = len(self.lines), len(self.asked)
        self.lines.append({})
        try:
            if step["method"] == "subscriptions/listen":
                status, result = await self.listen(client, step)
            else:
                status, result = await self.call(client, step, is_under_way)
        except PeerError as error:
            status, result = "error", {"code": error.error.code, "message": error.error.message}  # type: ignore[attr-defined]
        except ValidationError as error:
            faults = error.errors()
            missing = sorted({str(fault["loc"][-1]) for fault in faults})
            status, result = "unreadable", {"answer": faults[0]["input"], "missing": missing}
        if is_under_way is not None:
            status, result = "abandoned", None
        self.server_info = (result or {}).get("_meta", {}).get(SERVER_INFO_KEY, self.server_info)
        line = describe_request(step["step"], step["method"], params, status, result, direction="client_to_server")
        if self.is_modern:
            line["asked"] = stable(sorted(self.asked[asked_before:], key=lambda asked: asked[0]))
        self.lines[place] = line

    async def listen(self, client: Client, step: Step) -> tuple[str, Any]:
        """Listen while other steps are taken; return how it ended and what was granted."""
        if not self.is_modern:
            for inner in step["meanwhile"]:
                await self.take(client, inner)
            return "unsupported", None
        wanted = {
            re.sub("[A-Z]", lambda letter: "_" + letter[0].lower(), key): on for key, on in step["params"].items()
        }
        async with client.listen(**wanted) as subscription:
            for inner in step["meanwhile"]:
                await self.take(client, inner)
            heard = [repr(await anext(subscription)) for _ in range(step["hears"])]
            if step.get("ended_by_server"):
                heard += [repr(event) async for event in subscription]
        status = "ok" if step.get("ended_by_server") else "cancelled"
        return status, {"granted": as_json(subscription.honored), "heard": heard}

    async def call(self, client: Client, step: Step, is_under_way: anyio.Event | None) -> tuple[str, Any]:
        """Return how *step* ended and its result, with the progress that was made before it."""
        progress: list[list[float | None]] = []
        until_cancelled = step.get("cancel_after_progress")
        meanwhile = iter(step.get("meanwhile", []))

        with anyio.CancelScope() as scope:

            async def on_progress(done: float, total: float | None, _message: str | None) -> None:
                progress.append([done, total])
                if len(progress) == until_cancelled:
                    scope.cancel()
                if is_under_way is not None:
                    is_under_way.set()
                if inner := next(meanwhile, None):
                    self.background.start_soon(self.take, client, inner)

            watches = on_progress if "progress" in step else None
            result = as_json(await ask(client, step["method"], step.get("params", {}), watches))
        if scope.cancelled_caught:
            return "cancelled", None
        if "progress" in step:
            # The last one races with the answer, after which an SDK may drop it.
            await arrival(lambda: len(progress) >= step["progress"] - 1)
            result["progress"] = sorted(entry for entry in progress if entry[0] != entry[1])
        return ("tool_error" if result.get("isError") else "ok"), result

    def print(self, **session: Any) -> None:
        """Print all that was said, and who took part."""
        lines = [*self.lines]
        if not self.is_modern:
            for method, params in sorted(self.asked, key=lambda asked: asked[0]):
                lines.append(
                    describe_request(f"answer {method}", method, {}, "ok", params, direction="server_to_client")
                )
        for method, heard in sorted(self.notifications.items()):
            lines.append({"kind": "notification", "method": method, "result": sorted(stable(heard), key=json.dumps)})
        for line in [*lines, {"kind": "session", **session}]:
            print(json.dumps(line))


def ask(client: Client, method: str, params: dict[str, Any], on_progress: Any) -> Awaitable[Any]:
    """Call the SDK's own function for *method*."""
    match method:
        case "tools/call":
            meta = {"meta": params["_meta"]} if "_meta" in params else {}
            return client.call_tool(params["name"], params["arguments"], progress_callback=on_progress, **meta)
        case "completion/complete":
            is_prompt = params["ref"]["type"] == "ref/prompt"
            reference = types.PromptReference if is_prompt else types.ResourceTemplateReference
            return client.complete(reference(**params["ref"]), params["argument"])
        case _:
            return getattr(client, FUNCTIONS[method])(**params)


FUNCTIONS = {
    "ping": "send_ping",
    "logging/setLevel": "set_logging_level",
    "tools/list": "list_tools",
    "prompts/list": "list_prompts",
    "prompts/get": "get_prompt",
    "resources/list": "list_resources",
    "resources/templates/list": "list_resource_templates",
    "resources/read": "read_resource",
    "resources/subscribe": "subscribe_resource",
    "resources/unsubscribe": "unsubscribe_resource",
}


async def arrival(has_arrived: Callable[[], bool]) -> None:
    """Wait until the SDK has handed over what is already on its way."""
    with anyio.fail_after(ARRIVAL_TIMEOUT_S):
        while not has_arrived():  # noqa: ASYNC110 - what it asks is a list that an SDK's callback fills
            await anyio.sleep(0.005)
