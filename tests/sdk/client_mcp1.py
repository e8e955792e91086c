"""One conversation of the Python SDK `mcp` 1.x with an MCP server.

Usage: client_mcp1.py legacy -- SERVER COMMAND…
"""

import sys

import anyio
from conversation import CONVERSATION_TIMEOUT_S, Conversation, as_json, find_steps, print_line, server_parameters
from mcp import ClientSession, stdio_client, types

CLIENT_INFO = {"name": "kilometers-test-mcp1", "version": "1.0.1"}


async def main(command: list[str]) -> None:
    conversation = Conversation()
    # Giving up a call in 1.x tells the server nothing, so there is nothing to compare.
    steps = [step for step in find_steps(command) if "cancel_after_progress" not in step]
    with anyio.fail_after(CONVERSATION_TIMEOUT_S):
        async with (
            stdio_client(server_parameters(command)) as streams,
            ClientSession(
                *streams,
                client_info=types.Implementation(**CLIENT_INFO),
                sampling_callback=conversation.sample,
                elicitation_callback=conversation.elicit,
                list_roots_callback=conversation.list_roots,
                message_handler=conversation.hear,
            ) as client,
        ):
            opened = await client.initialize()
            await conversation.hold(client, steps)
            server, version = as_json(opened.serverInfo), opened.protocolVersion
            print_line(kind="session", client=CLIENT_INFO, server=server, protocol_version=version)


if __name__ == "__main__":
    separator = sys.argv.index("--")
    anyio.run(main, sys.argv[separator + 1 :])
