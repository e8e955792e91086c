"""One conversation of the Python SDK `mcp` 2.x with an MCP server.

Usage: client_mcp2.py auto|legacy|2026-07-28 -- SERVER COMMAND…
"""

import sys
import warnings

import anyio
from conversation import CONVERSATION_TIMEOUT_S, Conversation, as_json, find_steps, print_line, server_parameters
from mcp import Client, MCPDeprecationWarning, types

CLIENT_INFO = {"name": "kilometers-test-mcp2", "version": "2.0.1"}


async def main(mode: str, command: list[str]) -> None:
    conversation = Conversation()
    client = Client(
        server_parameters(command),
        mode=mode,
        client_info=types.Implementation(**CLIENT_INFO),
        sampling_callback=conversation.sample,
        elicitation_callback=conversation.elicit,
        list_roots_callback=conversation.list_roots,
        message_handler=conversation.hear,
    )
    with anyio.fail_after(CONVERSATION_TIMEOUT_S):
        async with client:
            await conversation.hold(client, find_steps(command))
            # Pinned to a modern version the SDK never asks who the server is; its answers say so all the same.
            server = as_json(client.server_info) if client.server_info else conversation.server_info
            print_line(kind="session", client=CLIENT_INFO, server=server, protocol_version=client.protocol_version)


if __name__ == "__main__":
    # Old methods are what old servers speak.
    warnings.simplefilter("ignore", MCPDeprecationWarning)
    separator = sys.argv.index("--")
    anyio.run(main, sys.argv[1], sys.argv[separator + 1 :])
