"""Where MCP clients keep their configuration, as their makers say it.

    Claude Desktop   https://modelcontextprotocol.io/docs/develop/connect-local-servers; the packaged app for Windows
                     reads another folder: https://github.com/anthropics/claude-code/issues/25579
    Claude Code      https://code.claude.com/docs/en/mcp
    Cursor           https://cursor.com/docs/mcp
    VS Code          https://code.visualstudio.com/docs/agents/reference/mcp-configuration, which names Copilot's file
                     too; profiles: https://code.visualstudio.com/docs/configure/profiles
    Codex            https://developers.openai.com/codex/mcp and https://developers.openai.com/codex/config-reference
    Gemini CLI       https://geminicli.com/docs/reference/configuration

Pure: the caller says the platform, the environment and the folders, and looks which of the files are there.
"""

import ntpath
import posixpath
from collections.abc import Iterator, Mapping

import msgspec

from kilometers.core.client_config import Form

USER, PROJECT, SYSTEM = "user", "project", "system"


class Client(msgspec.Struct, frozen=True):
    """A client; a *desktop* one is started by the desktop, so it does not have the PATH of the user's shell."""

    name: str
    is_desktop: bool = False


CLAUDE_DESKTOP = Client("Claude Desktop", is_desktop=True)
CLAUDE_CODE = Client("Claude Code")
CURSOR = Client("Cursor", is_desktop=True)
VS_CODE = Client("VS Code", is_desktop=True)
COPILOT = Client("Copilot")
CODEX = Client("Codex")
GEMINI = Client("Gemini CLI")
CLIENTS = (CLAUDE_DESKTOP, CLAUDE_CODE, CURSOR, VS_CODE, COPILOT, CODEX, GEMINI)
EDITIONS = {"Code": VS_CODE, "Code - Insiders": Client("VS Code Insiders", is_desktop=True),
            "VSCodium": Client("VSCodium", is_desktop=True)}  # fmt: skip


class Place(msgspec.Struct, frozen=True):
    """Where a file may be: *pattern* below *root*, with `*` for names that only the machine knows, `/` between them."""

    client: Client
    root: str
    pattern: str
    form: Form
    scope: str


class Machine(msgspec.Struct, frozen=True, kw_only=True):
    """What the places depend on; *folder* is the current one, "" where there is none."""

    platform: str
    environment: Mapping[str, str]
    user_home: str
    folder: str

    def join(self, *parts: str) -> str:
        """Return one path, as this platform writes it."""
        return ntpath.join(*parts) if self.platform == "win32" else posixpath.join(*parts)

    def split(self, path: str) -> tuple[str, str]:
        """Return a path's folder and its last part."""
        return ntpath.split(path) if self.platform == "win32" else posixpath.split(path)

    def variable(self, name: str, default: str) -> str:
        """Return a variable's value; the default where it is not set, or empty."""
        return self.environment.get(name) or default

    def by_platform(self, *, windows: str, macos: str, linux: str) -> str:
        """Return what holds for this platform."""
        return {"win32": windows, "darwin": macos}.get(self.platform, linux)


def find_places(machine: Machine) -> list[Place]:
    """Return every place, in the order of CLIENTS, each client's own before its projects'."""
    found = [
        *_claude_desktop(machine), *_claude_code(machine), *_cursor(machine), *_vs_code(machine), *_copilot(machine),
        *_codex(machine), *_gemini(machine),
    ]  # fmt: skip
    return [place for place in found if place.root]


def _application_folders(machine: Machine) -> list[str]:
    """Return where desktop applications keep their settings."""
    if machine.platform == "win32":
        return [machine.variable("APPDATA", machine.join(machine.user_home, "AppData", "Roaming"))]
    if machine.platform == "darwin":
        return [machine.join(machine.user_home, "Library", "Application Support")]
    usual = machine.join(machine.user_home, ".config")
    return list(dict.fromkeys([machine.variable("XDG_CONFIG_HOME", usual), usual]))


def _claude_desktop(machine: Machine) -> Iterator[Place]:
    file = "Claude/claude_desktop_config.json"
    if machine.platform == "win32":
        local = machine.variable("LOCALAPPDATA", machine.join(machine.user_home, "AppData", "Local"))
        packaged = f"Packages/Claude_*/LocalCache/Roaming/{file}"
        yield Place(CLAUDE_DESKTOP, local, packaged, Form.MCP_SERVERS, USER)
    for root in _application_folders(machine):
        yield Place(CLAUDE_DESKTOP, root, file, Form.MCP_SERVERS, USER)


def _claude_code(machine: Machine) -> Iterator[Place]:
    root = machine.variable("CLAUDE_CONFIG_DIR", machine.user_home)
    managed = machine.by_platform(
        windows=machine.join(machine.variable("PROGRAMFILES", r"C:\Program Files"), "ClaudeCode"),
        macos="/Library/Application Support/ClaudeCode",
        linux="/etc/claude-code",
    )
    yield Place(CLAUDE_CODE, root, ".claude.json", Form.CLAUDE_CODE, USER)
    yield Place(CLAUDE_CODE, machine.folder, ".mcp.json", Form.MCP_SERVERS, PROJECT)
    yield Place(CLAUDE_CODE, managed, "managed-mcp.json", Form.MCP_SERVERS, SYSTEM)


def _cursor(machine: Machine) -> Iterator[Place]:
    for root, scope in ((machine.user_home, USER), (machine.folder, PROJECT)):
        yield Place(CURSOR, root, ".cursor/mcp.json", Form.MCP_SERVERS, scope)


def _vs_code(machine: Machine) -> Iterator[Place]:
    for root in _application_folders(machine):
        for folder, client in EDITIONS.items():
            for pattern in (f"{folder}/User", f"{folder}/User/profiles/*"):
                yield Place(client, root, f"{pattern}/mcp.json", Form.VS_CODE, USER)
                yield Place(client, root, f"{pattern}/settings.json", Form.VS_CODE_SETTINGS, USER)
    yield Place(VS_CODE, machine.folder, ".vscode/mcp.json", Form.VS_CODE, PROJECT)
    yield Place(VS_CODE, machine.folder, ".vscode/settings.json", Form.VS_CODE_SETTINGS, PROJECT)


def _copilot(machine: Machine) -> Iterator[Place]:
    root = machine.variable("COPILOT_HOME", machine.join(machine.user_home, ".copilot"))
    yield Place(COPILOT, root, "mcp-config.json", Form.MCP_SERVERS, USER)


def _codex(machine: Machine) -> Iterator[Place]:
    root = machine.variable("CODEX_HOME", machine.join(machine.user_home, ".codex"))
    yield Place(CODEX, root, "config.toml", Form.CODEX, USER)
    yield Place(CODEX, root, "*.config.toml", Form.CODEX, USER)  # profiles
    yield Place(CODEX, machine.folder, ".codex/config.toml", Form.CODEX, PROJECT)
    if machine.platform != "win32":
        yield Place(CODEX, "/etc/codex", "config.toml", Form.CODEX, SYSTEM)


def _gemini(machine: Machine) -> Iterator[Place]:
    user_root = machine.variable("GEMINI_CLI_HOME", machine.user_home)
    for root, scope in ((user_root, USER), (machine.folder, PROJECT)):
        yield Place(GEMINI, root, ".gemini/settings.json", Form.MCP_SERVERS, scope)
    usual = machine.by_platform(
        windows=r"C:\ProgramData\gemini-cli\settings.json",
        macos="/Library/Application Support/GeminiCli/settings.json",
        linux="/etc/gemini-cli/settings.json",
    )
    root, name = machine.split(machine.variable("GEMINI_CLI_SYSTEM_SETTINGS_PATH", usual))
    yield Place(GEMINI, root, name, Form.MCP_SERVERS, SYSTEM)
    yield Place(GEMINI, root, "system-defaults.json", Form.MCP_SERVERS, SYSTEM)
