"""One conversation of the Python SDK `mcp` 2.x with an MCP server.

Usage: client_mcp2.py auto|legacy|2026-07-28 -- SERVER COMMAND…
"""

import sys
import warnings

import anyio
from conversation import CONVERSATION_TIMEOUT_S, Conversation, as_json, find_steps, server_parameters
from mcp import Client, MCPDeprecationWarning, types

CLIENT_INFO = {"name": "kilometers-test-mcp2", "version": "2.0.1"}


async def main(mode: str, command: list[str]) -> None:
    with anyio.fail_after(CONVERSATION_TIMEOUT_S):
        async with anyio.create_task_group() as background:
            conversation = Conversation(background)
            client = Client(
                server_parameters(command),
                mode=mode,
                client_info=types.Implementation(**CLIENT_INFO),
                sampling_callback=conversation.sample,
                elicitation_callback=conversation.elicit,
                list_roots_callback=conversation.list_roots,
                message_handler=conversation.hear,
            )
            async with client:
                version = client.protocol_version
                await conversation.hold(client, find_steps(command), version)
                # Pinned to a modern version the SDK never asks who the server is; its answers say so all the same.
                server = as_json(client.server_info) if client.server_info else conversation.server_info
    conversation.print(client=CLIENT_INFO, server=server, protocol_version=version)


if __name__ == "__main__":
    # Old methods are what old servers speak.
    warnings.simplefilter("ignore", MCPDeprecationWarning)
    separator = sys.argv.index("--")
    anyio.run(main, sys.argv[1], sys.argv[separator + 1 :])
