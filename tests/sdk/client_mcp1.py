"""One conversation of the Python SDK `mcp` 1.x with an MCP server.

Usage: client_mcp1.py legacy -- SERVER COMMAND…
"""

import sys
from typing import Any

import anyio
from conversation import CONVERSATION_TIMEOUT_S, Conversation, as_json, find_steps, server_parameters
from mcp import ClientSession, stdio_client, types

CLIENT_INFO = {"name": "kilometers-test-mcp1", "version": "1.0.1"}


async def main(command: list[str]) -> None:
    steps = [step for step in find_steps(command) if is_possible(step, command)]
    with anyio.fail_after(CONVERSATION_TIMEOUT_S):
        async with anyio.create_task_group() as background:
            conversation = Conversation(background)
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
                version = opened.protocolVersion
                await conversation.hold(client, steps, str(version))
    conversation.print(client=CLIENT_INFO, server=as_json(opened.serverInfo), protocol_version=version)


def is_possible(step: dict[str, Any], command: list[str]) -> bool:
    """Whether 1.x can take *step* and then close.

    It hangs in a call that is under way when it is closed.  What it gives up it leaves open, without a word to the
    server, and it breaks on an answer that comes after it was closed: this server sends one.
    """
    leaves_open = "cancel_after_progress" in step and "dual_era_server.py" in " ".join(command)
    return not (leaves_open or "is_abandoned" in step)


if __name__ == "__main__":
    separator = sys.argv.index("--")
    anyio.run(main, sys.argv[separator + 1 :])
