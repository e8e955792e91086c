"""The matrix: every client in each of its modes with every server, and how to let them talk.

The clients and what they print are described in tests/sdk/conversation.py.
"""

import os
import subprocess
from dataclasses import dataclass
from pathlib import Path

import pytest

SDK_FOLDER = Path(__file__).parent.parent / "sdk"
CONVERSATION_TIMEOUT_S = 50
MODERN = "2026-07-28"

# The variables, set by nox, that say where the tools are.
PYTHONS = {"mcp1": "KM_SDK_MCP1_PYTHON", "mcp2": "KM_SDK_MCP2_PYTHON"}
NODE = "KM_SDK_NODE"
NODE_MODULES = "KM_SDK_NODE_MODULES"

# Status and error code; (None, None) = never answered.
Ending = tuple[str | None, int | None]


@dataclass(frozen=True, kw_only=True)
class Server:
    """A server.

    *name*: what km calls it.  *tool*: the variable that says what it runs on.  *discovery*: how server/discover ends.
    *left_open*: how a call ends that its client has forgotten, but not cancelled.
    """

    id: str
    name: str
    tool: str
    arguments: tuple[str, ...]
    discovery: Ending = ("ok", None)
    left_open: Ending = (None, None)

    @property
    def is_modern(self) -> bool:
        """Whether it speaks revision 2026-07-28, beside the older ones."""
        return self.discovery == ("ok", None)

    def command(self) -> list[str]:
        """Return how to start it."""
        places = {"modules": get_tool(NODE_MODULES), "sdk": str(SDK_FOLDER)}
        return [get_tool(self.tool), *(argument.format(**places) for argument in self.arguments)]


def node_server(name: str, *arguments: str, left_open: Ending = (None, None)) -> Server:
    script = f"{{modules}}/@modelcontextprotocol/{name}/dist/index.js"
    discovery = ("error", -32601)
    started_by = (script, *arguments)
    return Server(id=name, name=name, tool=NODE, arguments=started_by, discovery=discovery, left_open=left_open)


def time_server(sdk: str, *, discovery: Ending) -> Server:
    name, arguments = "mcp_server_time", ("-m", "mcp_server_time", "--local-timezone", "UTC")
    return Server(id=f"time-on-{sdk}", name=name, tool=PYTHONS[sdk], arguments=arguments, discovery=discovery)


def own_server(id: str, tool: str, *, left_open: Ending) -> Server:
    name = id.partition(".")[0]
    return Server(id=id, name=name, tool=tool, arguments=(f"{{sdk}}/{id}",), left_open=left_open)


SERVERS = (
    node_server("server-everything", "stdio", left_open=("ok", None)),
    node_server("server-memory"),
    node_server("server-sequential-thinking"),
    time_server("mcp1", discovery=("error", -32602)),
    time_server("mcp2", discovery=("ok", None)),
    own_server("dual_era_server.py", PYTHONS["mcp2"], left_open=("error", -32000)),
    own_server("dual_era_server.mjs", NODE, left_open=(None, None)),
)
MODES = (
    ("mcp1", "legacy"),
    ("mcp2", "legacy"),
    ("mcp2", "auto"),
    ("mcp2", MODERN),
    ("ts1", "legacy"),
    ("ts2", "legacy"),
    ("ts2", "auto"),
    ("ts2", MODERN),
)


@dataclass(frozen=True, kw_only=True)
class Case:
    """One client in one mode with one server."""

    client: str
    mode: str
    server: Server

    def __str__(self) -> str:
        return f"{self.client}-{self.mode}-{self.server.id}"

    @property
    def is_modern(self) -> bool:
        """Whether the client speaks revision 2026-07-28."""
        return self.mode == MODERN or (self.mode == "auto" and self.server.is_modern)

    @property
    def is_mismatched(self) -> bool:
        """Whether the server does not know what the client speaks."""
        return self.is_modern and not self.server.is_modern

    @property
    def is_probed(self) -> bool:
        """Whether the client starts a process of its own to find out what the server speaks."""
        return self.client == "ts2" and self.mode != "legacy"

    @property
    def is_refused(self) -> bool:
        """Whether that is all it does; the Python SDK never asks, and talks all the same."""
        return self.is_probed and self.is_mismatched

    @property
    def handshake(self) -> list[tuple[str, Ending]]:
        """What the SDK asks first in the process of the conversation, and how that ends."""
        discovers = self.client == "mcp2" and self.mode == "auto"
        discovery = [("server/discover", self.server.discovery)] if discovers else []
        return discovery if self.is_modern else [*discovery, ("initialize", ("ok", None))]


CASES = [Case(client=client, mode=mode, server=server) for server in SERVERS for client, mode in MODES]


def get_tool(variable: str) -> str:
    """Return where a tool is that nox has set up; without it nothing would be shown, so the test fails."""
    return os.environ.get(variable) or pytest.fail(f"{variable} is not set: run `nox -s e2e`")


def client_command(client: str) -> list[str]:
    if client in PYTHONS:
        return [get_tool(PYTHONS[client]), str(SDK_FOLDER / f"client_{client}.py")]
    return [get_tool(NODE), str(SDK_FOLDER / f"client_{client}.mjs")]


def converse(case: Case, wrapper: list[str], home: Path) -> subprocess.CompletedProcess[bytes]:
    """Let the client talk to the server inside *wrapper*, in an environment that is the same each time."""
    memory_file = home.with_name("memory.jsonl")
    memory_file.unlink(missing_ok=True)
    return subprocess.run(
        [*client_command(case.client), case.mode, "--", *wrapper, *case.server.command()],
        env={
            **os.environ,
            "HOME": str(home.parent),
            "KILOMETERS_HOME": str(home),
            "MEMORY_FILE_PATH": str(memory_file),
        },
        stdin=subprocess.DEVNULL,
        capture_output=True,
        timeout=CONVERSATION_TIMEOUT_S,
        check=False,
    )
