"""The configuration files of MCP clients: which servers they start, and the entry that puts km around one.

    mcpServers   {"mcpServers": {NAME: entry}}     Claude Desktop, Claude Code, Cursor, Gemini CLI, Copilot; in Claude
                                                   Code's own file also inside "projects": {FOLDER: {...}}
    servers      {"servers": {NAME: entry}}        VS Code's mcp.json; in its settings.json inside "mcp"
    mcp_servers  [mcp_servers.NAME]                Codex, in TOML

    entry := {"command", "args", "env", …}: a program that speaks on stdio
           | {"url" or "httpUrl", …}: somewhere else

JSON may hold comments and trailing commas, as VS Code and Cursor allow.  What `env` holds is never looked at: secrets.
Where the files are is client_places.py's; client_files.py reads them.
"""

import json
import re
import tomllib
from collections.abc import Iterator
from enum import Enum

import msgspec

from kilometers.core.redact import redact_command
from kilometers.core.server_name import server_name

PLAIN_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._ -]*")

URL_KEYS = ("url", "httpUrl", "serverUrl")
REMOTE_TYPES = ("http", "sse", "streamable-http", "streamableHttp", "ws")
KM_NAMES = ("km", "km.exe")
MODULE_WORDS = ["-m", "kilometers"]
ANY = "*"
LINE_WIDTH = 60
_LAST = ",\n"  # JSON wants no comma behind the last one
_BARE_KEY = re.compile(r"[A-Za-z0-9_-]+")
# One alternative always matches where it begins, also without an end, and possessively: linear whatever the file holds.
_STRING_OR_COMMENT = re.compile(r'"[^"\\\n]*+(?:\\.[^"\\\n]*+)*+"?+|//[^\n]*+|/\*.*?(?:\*/|\Z)', re.DOTALL)
_STRING_OR_LAST_COMMA = re.compile(r'"[^"\\\n]*+(?:\\.[^"\\\n]*+)*+"?+|,(?=\s*+[}\]])', re.DOTALL)
_NOT_LINE_ENDS = re.compile(r"[^\r\n]")


class Form(Enum):
    """How a file holds its servers: the ways from its top to its tables of servers."""

    MCP_SERVERS = (("mcpServers",),)
    CLAUDE_CODE = (("mcpServers",), ("projects", ANY, "mcpServers"))
    VS_CODE = (("servers",),)
    VS_CODE_SETTINGS = (("mcp", "servers"),)
    CODEX = (("mcp_servers",),)


class Transport(Enum):
    """How a client reaches a server."""

    STDIO = "stdio"
    REMOTE = "remote"
    UNKNOWN = "unknown"


class Server(msgspec.Struct, frozen=True, kw_only=True):
    """One entry: *project* is the folder that it is for ("" = the whole file), *other_keys* what else it holds."""

    name: str
    project: str
    transport: Transport
    command: list[str]
    other_keys: list[str]


class UnreadableConfig(Exception):
    """The file is not what its client could read; the message says what is wrong, and in which line."""


def read_servers(data: bytes, form: Form) -> list[Server]:
    """Return the servers of a file, in its order.  Raises UnreadableConfig."""
    try:
        text = data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise UnreadableConfig(f"it is not UTF-8 (at line {data.count(10, 0, error.start) + 1})") from error
    top = _read_toml(text) if form is Form.CODEX else _read_json(text)
    return [
        _read_entry(name, project, entry)
        for way in form.value
        for project, table in _find_tables(top, way)
        for name, entry in table.items()
    ]


def _read_toml(text: str) -> object:
    try:
        return tomllib.loads(text)
    except RecursionError as error:
        raise UnreadableConfig("it is nested too deeply") from error
    except ValueError as error:
        raise UnreadableConfig(str(error)) from error


def _read_json(text: str) -> object:
    if not text.strip():
        return {}
    try:
        return json.loads(text)
    except (ValueError, RecursionError):
        text = without_comments(text)
    try:
        return json.loads(text)
    except RecursionError as error:
        raise UnreadableConfig("it is nested too deeply") from error
    except json.JSONDecodeError as error:
        raise UnreadableConfig(f"{error.msg} (at line {error.lineno}, column {error.colno})") from error
    except ValueError as error:  # a number of thousands of digits
        raise UnreadableConfig(str(error)) from error


def without_comments(text: str) -> str:
    """Return JSON with its comments and trailing commas blanked out; everything else stays in its place."""
    for pattern in (_STRING_OR_COMMENT, _STRING_OR_LAST_COMMA):
        text = pattern.sub(_blank, text)
    return text


def _blank(found: re.Match[str]) -> str:
    return found[0] if found[0].startswith('"') else _NOT_LINE_ENDS.sub(" ", found[0])


def _find_tables(value: object, way: tuple[str, ...], project: str = "") -> Iterator[tuple[str, dict[str, object]]]:
    """Yield (project, table) for the tables at the end of *way*; ANY stands for every project's folder."""
    if not isinstance(value, dict):
        return
    if not way:
        yield project, value
    elif way[0] == ANY:
        for name, inner in value.items():
            yield from _find_tables(inner, way[1:], name)
    elif way[0] in value:
        yield from _find_tables(value[way[0]], way[1:], project)


def _read_entry(name: str, project: str, entry: object) -> Server:
    table = entry if isinstance(entry, dict) else {}
    command: list[str] = []
    if table.get("type") in REMOTE_TYPES or ("command" not in table and any(key in table for key in URL_KEYS)):
        transport = Transport.REMOTE
    else:
        command = _read_command(table)
        transport = Transport.STDIO if command else Transport.UNKNOWN
    other_keys = [key for key in table if key not in {"command", "args"}]
    return Server(name=name, project=project, transport=transport, command=command, other_keys=other_keys)


def _read_command(table: dict[str, object]) -> list[str]:
    """Return program and arguments; nothing where they are not what a client could start."""
    program, arguments = table.get("command"), table.get("args") or []
    if not isinstance(program, str) or not program or not isinstance(arguments, list):
        return []
    words = [program, *(argument for argument in arguments if isinstance(argument, str))]
    return words if len(words) == len(arguments) + 1 else []


def is_wrapped(command: list[str]) -> bool:
    """Whether km stands around the server: `… km monitor …` or `… -m kilometers monitor …`, in a shell's line too."""
    words = [part.strip("\"'") for word in command for part in word.split()]
    return _find_monitor(command) is not None or _find_monitor(words) is not None


def km_program(command: list[str]) -> str | None:
    """Return the program that the client starts as km: km itself, or km's Python; None where a launcher starts it."""
    at = _find_monitor(command)
    return command[0] if at is not None and (at == 1 or command[at - 2 : at] == MODULE_WORDS) else None


def wrap(command: list[str], km: list[str], *, name: str) -> list[str]:
    """Return the command line with *km* around the server, in place of the km that may be there already.

    *name*: what the client calls the server; km is told where it would find another one in the command.
    """
    at = _find_monitor(command)
    if at is not None:
        return [*km, *command[at:]]
    named = ["--name", name] if PLAIN_NAME.fullmatch(name) and server_name(command) != name else []
    return [*km, "monitor", *named, "--", *command]


def _find_monitor(words: list[str]) -> int | None:
    """Return where `monitor` stands right after km."""
    for at, word in enumerate(words):
        if word == "monitor" and at and (_is_km(words[at - 1]) or words[max(0, at - 2) : at] == MODULE_WORDS):
            return at
    return None


def _is_km(word: str) -> bool:
    return word.replace("\\", "/").rsplit("/", 1)[-1].lower() in KM_NAMES


def entry(server: Server, km: list[str], form: Form) -> str:
    """Return what to paste in place of a server's entry, in the file's own format; without its `env`."""
    is_toml = form is Form.CODEX
    words = [quote(word, is_toml=is_toml) for word in redact_command(wrap(server.command, km, name=server.name))]
    if is_toml:
        key = server.name if _BARE_KEY.fullmatch(server.name) else quote(server.name, is_toml=True)
        return f"[mcp_servers.{key}]\ncommand = {words[0]}\nargs = {_array(words[1:], '')}"
    return f'{quote(server.name)}: {{\n  "command": {words[0]},\n  "args": {_array(words[1:], "  ")}\n}}'


def _array(words: list[str], indent: str) -> str:
    """Return an array in one line, or filled into several where that would be a long one."""
    if sum(len(word) + 2 for word in words) <= LINE_WIDTH:
        return f"[{', '.join(words)}]"
    lines = [""]
    for word in words:
        if lines[-1] and len(lines[-1]) + len(word) + 2 > LINE_WIDTH:
            lines.append("")
        lines[-1] += f" {word}," if lines[-1] else f"{word},"
    inner = "".join(f"{indent}  {line}\n" for line in lines)
    return f"[\n{inner.removesuffix(_LAST)}\n{indent}]"


def remark(server: Server) -> str:
    """Return what to mind when the entry is pasted; "" = nothing."""
    parts = []
    if server.other_keys:
        parts.append(f"keep its {', '.join(server.other_keys)}")
    if redact_command(server.command) != server.command:
        parts.append("an argument is not shown; keep yours")
    return "; ".join(parts)


def quote(text: str, *, is_toml: bool = False) -> str:
    """Return *text* as a string of JSON, or as a basic string of TOML; what cannot be printed is escaped."""
    quoted = json.dumps(text, ensure_ascii=False)
    return "".join(character if character.isprintable() else _escape(character, is_toml) for character in quoted)


def _escape(character: str, is_toml: bool) -> str:  # noqa: FBT001  # private, one use
    if is_toml and ord(character) > 0xFFFF:
        return f"\\U{ord(character):08x}"
    return f"\\u{ord(character):04x}" if ord(character) <= 0xFFFF else json.dumps(character)[1:-1]
