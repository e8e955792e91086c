"""Where the configuration files of MCP clients are looked for, on each system."""

from kilometers.core.client_places import Machine, find_places


def places(platform: str, environment: dict[str, str], *, user_home: str, folder: str = "") -> set[tuple[str, str]]:
    """Return (client, path) of every place."""
    machine = Machine(platform=platform, environment=environment, user_home=user_home, folder=folder)
    return {(place.client.name, machine.join(place.root, place.pattern)) for place in find_places(machine)}


def test_places_on_macos() -> None:
    found = places("darwin", {}, user_home="/Users/me", folder="/src/app")

    support = "/Users/me/Library/Application Support"
    assert found >= {
        ("Claude Desktop", f"{support}/Claude/claude_desktop_config.json"),
        ("Claude Code", "/Users/me/.claude.json"),
        ("Claude Code", "/src/app/.mcp.json"),
        ("Claude Code", "/Library/Application Support/ClaudeCode/managed-mcp.json"),
        ("Cursor", "/Users/me/.cursor/mcp.json"),
        ("Cursor", "/src/app/.cursor/mcp.json"),
        ("VS Code", f"{support}/Code/User/mcp.json"),
        ("VS Code", f"{support}/Code/User/profiles/*/mcp.json"),
        ("VS Code", "/src/app/.vscode/mcp.json"),
        ("VS Code Insiders", f"{support}/Code - Insiders/User/settings.json"),
        ("VSCodium", f"{support}/VSCodium/User/mcp.json"),
        ("Codex", "/Users/me/.codex/config.toml"),
        ("Codex", "/src/app/.codex/config.toml"),
        ("Gemini CLI", "/Users/me/.gemini/settings.json"),
        ("Gemini CLI", "/Library/Application Support/GeminiCli/settings.json"),
    }


def test_places_on_windows() -> None:
    environment = {
        "APPDATA": "C:\\Users\\me\\AppData\\Roaming",
        "LOCALAPPDATA": "C:\\Users\\me\\AppData\\Local",
        "PROGRAMFILES": "D:\\Programs",
    }
    found = places("win32", environment, user_home="C:\\Users\\me", folder="D:\\app")

    assert {(client, path.replace("/", "\\")) for client, path in found} >= {
        ("Claude Desktop", "C:\\Users\\me\\AppData\\Roaming\\Claude\\claude_desktop_config.json"),
        (
            "Claude Desktop",
            "C:\\Users\\me\\AppData\\Local\\Packages\\Claude_*\\LocalCache\\Roaming\\Claude\\claude_desktop_config.json",
        ),
        ("Claude Code", "C:\\Users\\me\\.claude.json"),
        ("Claude Code", "D:\\Programs\\ClaudeCode\\managed-mcp.json"),
        ("Claude Code", "D:\\app\\.mcp.json"),
        ("Cursor", "C:\\Users\\me\\.cursor\\mcp.json"),
        ("VS Code", "C:\\Users\\me\\AppData\\Roaming\\Code\\User\\mcp.json"),
        ("Codex", "C:\\Users\\me\\.codex\\config.toml"),
        ("Gemini CLI", "C:\\ProgramData\\gemini-cli\\settings.json"),
    }


def test_places_on_windows_without_its_variables() -> None:
    found = places("win32", {}, user_home="C:\\Users\\me")

    assert ("Claude Desktop", "C:\\Users\\me\\AppData\\Roaming\\Claude/claude_desktop_config.json") in found


def test_places_that_the_environment_moves() -> None:
    environment = {
        "XDG_CONFIG_HOME": "/x",
        "CLAUDE_CONFIG_DIR": "/c",
        "CODEX_HOME": "/o",
        "GEMINI_CLI_HOME": "/g",
        "GEMINI_CLI_SYSTEM_SETTINGS_PATH": "/s/own.json",
        "COPILOT_HOME": "/p",
    }
    found = places("linux", environment, user_home="/home/me")

    assert found >= {
        ("Claude Desktop", "/x/Claude/claude_desktop_config.json"),
        ("Claude Desktop", "/home/me/.config/Claude/claude_desktop_config.json"),
        ("Claude Code", "/c/.claude.json"),
        ("Codex", "/o/config.toml"),
        ("Gemini CLI", "/g/.gemini/settings.json"),
        ("Gemini CLI", "/s/own.json"),
        ("Copilot", "/p/mcp-config.json"),
    }
    assert ("Claude Code", "/home/me/.claude.json") not in found


def test_project_files_are_not_looked_for_without_a_current_folder() -> None:
    found = places("linux", {}, user_home="/home/me", folder="")

    assert {path for _, path in found if not path.startswith(("/home/me/", "/etc/"))} == set()
