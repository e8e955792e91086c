"""A server of the Python SDK `mcp` 2.x, for what revision 2026-07-28 brought; dual_era_server.mjs is the same in Node.

It answers older clients too.  What it wants to know it asks by answering `input_required`; a handshake-era client gets
an error instead (in Node the SDK sends it requests).  The SDK seals `requestState`, so it differs from run to run.
"""

import warnings

import anyio
from mcp import MCPDeprecationWarning, MCPError, types
from mcp.server.mcpserver import Context, MCPServer
from mcp.server.mcpserver.exceptions import ToolError
from mcp.server.mcpserver.prompts.base import UserMessage
from mcp.server.mcpserver.resources import TextResource
from mcp.server.subscriptions import InMemorySubscriptionBus, ListenHandler

BIG_ANSWER_CHARACTERS = 600_000  # two bytes each: over the MiB up to which km keeps a payload
REFUSED = -32050  # one of the codes that mean what a server says they mean

Question = types.InputRequiredResult
NAME = types.ElicitRequest(
    params=types.ElicitRequestFormParams(
        message="What is your name?",
        requested_schema={"type": "object", "properties": {"name": {"type": "string"}}, "required": ["name"]},
    )
)
GREETING = types.CreateMessageRequest(
    params=types.CreateMessageRequestParams(
        messages=[types.SamplingMessage(role="user", content=types.TextContent(type="text", text="Say hello."))],
        max_tokens=7,
    )
)
ROOTS = types.ListRootsRequest()

bus = InMemorySubscriptionBus()
listening = ListenHandler(bus)
server = MCPServer("kilometers-dual-era", version="3.0.1", subscriptions=bus, log_level="CRITICAL")
# In place of the one that MCPServer keeps to itself: only its owner can end what clients listen to.
server._lowlevel_server.add_request_handler("subscriptions/listen", types.SubscriptionsListenRequestParams, listening)
goes_on = anyio.Semaphore(0)


def say_what_was_answered(context: Context) -> str:
    return f"answered: {', '.join(sorted(context.input_responses or {}))}"


@server.tool()
async def count(steps: int, context: Context) -> str:
    """Report one step, then one more each time `go_on` is called."""
    for step in range(1, steps + 1):
        await context.report_progress(step, steps)
        await goes_on.acquire()
    return f"counted to {steps}"


@server.tool()
async def go_on() -> str:
    goes_on.release()
    return "going on"


@server.tool()
async def wait_until_cancelled(context: Context) -> str:
    await context.report_progress(1)
    await anyio.sleep_forever()
    return "never said"


@server.tool()
async def ask_for_a_name(context: Context) -> str | Question:
    if context.request_state is None:
        return Question(input_requests={"name": NAME}, request_state="asked")
    return say_what_was_answered(context)


@server.tool()
async def ask_for_everything(context: Context) -> str | Question:
    if context.request_state is None:
        asked = {"name": NAME, "greeting": GREETING, "roots": ROOTS}
        return Question(input_requests=asked, request_state="asked")
    return say_what_was_answered(context)


@server.tool()
async def ask_twice(context: Context) -> str | Question:
    if context.request_state is None:
        return Question(input_requests={"name": NAME}, request_state="asked once")
    if context.request_state == "asked once":
        return Question(input_requests={"greeting": GREETING}, request_state="asked twice")
    return say_what_was_answered(context)


@server.tool()
async def ask_without_state(context: Context) -> str | Question:
    if not context.input_responses:
        return Question(input_requests={"name": NAME})
    return say_what_was_answered(context)


@server.prompt()
async def ask_in_a_prompt(context: Context) -> list[UserMessage] | Question:
    if context.request_state is None:
        return Question(input_requests={"name": NAME}, request_state="asked")
    return [UserMessage(say_what_was_answered(context))]


@server.resource("ask://{topic}")
async def ask_in_a_resource(topic: str, context: Context) -> str | Question:
    if context.request_state is None:
        return Question(input_requests={"roots": ROOTS}, request_state="asked")
    return f"{topic}, {say_what_was_answered(context)}"


@server.resource("note://today")
def today() -> str:
    return "a note"


@server.resource("note://refused")
def refused() -> str:
    raise MCPError(REFUSED, "the server refuses")


@server.tool()
async def add_tool(context: Context) -> str:
    server.add_tool(today, name="late_tool")
    await context.notify_tools_changed()
    return "added"


@server.tool()
async def add_resource(context: Context) -> str:
    server.add_resource(TextResource(uri="note://late", name="late", text="a late note"))
    await context.notify_resources_changed()
    return "added"


@server.tool()
async def touch(uri: str, context: Context) -> str:
    await context.notify_resource_updated(uri)
    return "touched"


@server.tool()
async def end_subscriptions() -> str:
    listening.close()
    return "ended"


@server.tool()
async def log(context: Context) -> str:
    await context.info("a log message")
    return "logged"


@server.tool()
async def fail() -> str:
    raise ToolError("it did not work")


@server.tool()
async def answer_at_length() -> types.CallToolResult:
    text = "é" * BIG_ANSWER_CHARACTERS
    return types.CallToolResult(content=[types.TextContent(type="text", text=text)])


if __name__ == "__main__":
    warnings.simplefilter("ignore", MCPDeprecationWarning)  # logging is, since 2026-07-28
    server.run()
