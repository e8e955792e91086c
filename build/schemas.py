"""Make src/kilometers/schemas.json: JSON Schemas (2020-12) of what km prints with --json.

    python build/schemas.py

The shapes are those of the msgspec Structs that the commands print.  What a field means is said by the string below it
in the Struct, or by DESCRIPTIONS.  A field that is None is not printed, so no schema allows null.
"""

import ast
import inspect
import json
import textwrap
from datetime import datetime
from pathlib import Path
from typing import Any, get_args

import msgspec

from kilometers.checks import Check
from kilometers.client_files import ClientFile, ClientServer
from kilometers.commands.doctor import Report
from kilometers.commands.status import Status
from kilometers.commands.version import Version
from kilometers.core.config_keys import Entry
from kilometers.core.event import Event, Gap, Implementation
from kilometers.core.summary import SessionSummary
from kilometers.statistics import Statistics

FILE = Path(__file__).parents[1] / "src" / "kilometers" / "schemas.json"
VERSION = 1
PROMISE = (
    "What km prints with --json: one value, or one per line for lists. Fields are only added, and so are values of"
    " enumerations: pass over what you do not know. A field that is absent does not apply, or has the default that"
    " stands here; null is not printed, except inside of payloads. The version changes only if a field goes or comes"
    " to mean something else."
)


# What is printed, by the name of its schema; what it is, and by which commands.
PRINTED: dict[str, tuple[type[msgspec.Struct], str]] = {
    "event": (Event, "An event: a line of km events, km tail and km show, and of km export --format jsonl."),
    "session": (SessionSummary, "A session as far as it is known: a line of km sessions."),
    "statistics": (Statistics, "A tool, server, client or method: a line of km stats."),
    "status": (Status, "What is being recorded, and what is kept: km status."),
    "doctor": (Report, "The checks, and the MCP clients of this machine: km doctor."),
    "setting": (Entry, "A setting and where its value came from: a line of km config."),
    "version": (Version, "What this km is: km version."),
}
PARTS: dict[str, tuple[type[msgspec.Struct], str]] = {
    "gap": (Gap, "Bytes that could not be recorded."),
    "implementation": (Implementation, "A client or server as it names itself; unverified."),
    "check": (Check, "One check."),
    "client_file": (ClientFile, "A configuration file of an MCP client."),
    "client_server": (ClientServer, "A server in such a file."),
}
DESCRIPTIONS: dict[type[msgspec.Struct], dict[str, str]] = {
    Event: {
        "session_id": "Which session: a UUIDv7, made when the server was started.",
        "seq": "The event's number in its session, without a gap from 0; with session_id it identifies the event.",
        "at": "When the frame was read, by the wall clock; RFC 3339, UTC, to the µs.",
        "kind": "What the frame is; log: a line of the server's stderr; gap: bytes that are missing.",
        "direction": "Which way the frame went; absent for the server's stderr.",
        "method": "The MCP method; of an answer its request's.",
        "target": "The tool's or prompt's name, or the resource's URI; of an answer its request's.",
        "request_id": 'The JSON-RPC id as JSON: "1" and 1 differ.',
        "call_seq": "The seq of the request that this event answers, cancels, continues or reports progress on.",
        "duration_us": "Of an answer: the time since its request, in µs.",
        "status": "Of an answer how it ended; tool_error: a result that says isError. Of a cancellation: cancelled.",
        "error_code": "The code of a JSON-RPC error.",
        "size_bytes": "The frame's size on the wire, line end included; absent for an element of a batch.",
        "reason": "Why bytes are no message: not_json, not_jsonrpc, oversized, torn, unterminated, … .",
        "protocol_version": "The protocol version that this message itself states.",
        "client": "The client that this message itself states.",
        "server": "The server that this message itself states.",
        "trace_id": "The W3C trace id that the message carries.",
        "gap": "What is missing; only of a gap.",
        "sha256": "The SHA-256 of a payload that was too large to keep.",
        "payload_state": "full; truncated: shortened, or not JSON as it stood; omitted: not kept.",
        "payload": "The whole message; of a log the line, of undecodable bytes an excerpt, both as strings.",
    },
    Gap: {
        "reason": "Why: journal_full, journal_error, journal_slow, journal_late, damaged, lost_journal, … .",
        "bytes": "How many; absent where nobody knows.",
        "until": "When the first byte after the gap was read, by the wall clock.",
    },
    Implementation: {"name": "Its name.", "version": "Its version."},
    SessionSummary: {
        "session_id": "The session's id: a UUIDv7, made when the server was started.",
        "name": "The server's name: --name, else made from the command.",
        "command": "The server's command line.",
        "started_at": "When km started the server; RFC 3339, UTC.",
        "ended_at": "When the session ended; absent while it lives.",
        "exit_status": "The server's exit status; 128 + n where signal n killed it.",
        "signal": "The signal that killed the server.",
        "is_clean": "false: it ended without its relay's word (kill -9, power loss); absent while it lives.",
        "client": "The client as it named itself.",
        "server": "The server as it named itself.",
        "protocol_version": "The protocol version that both agreed on.",
        "host": "The machine's name.",
        "user": "The user's name.",
        "capture": "What was kept of each message: full or metadata.",
        "events": "How many events it has.",
        "gaps": "How many of them are gaps.",
        "calls": "How many requests were made, in both directions.",
        "errors": "How many of their answers were errors, tool errors included.",
        "unanswered": "How many requests got no answer; only counted once none can come any more.",
        "is_probe": "The client only asked what the server speaks.",
        "continues": "The session that this one goes on with, which was in a store that was lost.",
        "shipped_through": "The seq of the last event that has been shipped.",
    },
    Status: {
        "home": "The folder in which km keeps everything.",
        "store": "The database of sessions and events.",
        "journal": "The folder of the journals.",
        "journal_in_memory": "Whether that folder is in memory.",
        "recorder_pid": "The process that records; absent where none runs.",
        "recorder_version": "The version of km that records.",
        "live_sessions": "How many sessions live.",
        "recording": "The names of the servers whose sessions live.",
        "waiting_bytes": "What is in the journals and not in the store yet.",
        "sessions": "How many sessions are in the store.",
        "events": "How many events are in the store.",
        "since": "When the oldest of these sessions began.",
        "gaps": "How many of these events are gaps.",
        "size_bytes": "The store's size.",
        "retention_days": "Sessions that ended longer ago are deleted.",
        "retention_mb": "The oldest sessions are deleted while those that have ended take more MB than this.",
        "moved_aside": "Where a store that was damaged has been moved.",
        "problem": "What is wrong with the store or the settings.",
    },
    Statistics: {
        "server": "The server's name, by tool and by server.",
        "tool": "The tool's name, by tool.",
        "client": "The client's name, by client; empty where it is not known.",
        "direction": "Which way the requests went, by method.",
        "method": "The method, by method.",
        "calls": "How many requests were made.",
        "errors": "How many answers were errors, tool errors included.",
        "cancelled": "How many requests were cancelled.",
        "p50_us": "The latency that half of the answers did not exceed, in µs, at most 1/32 off; absent: no answers.",
        "p95_us": "The same for 95 %.",
        "p99_us": "The same for 99 %.",
        "max_us": "The longest latency, exactly, in µs.",
        "size_bytes": "The size of requests and answers on the wire.",
    },
    Entry: {
        "key": "The key in config.toml: a setting, or servers.NAME.SETTING.",
        "value": "The value.",
        "source": "Where it came from: environment, config.toml or default.",
        "default": "What it is where config.toml does not set it.",
        "meaning": "What the setting is for.",
        "problem": "Why the value is passed over, and what applies instead.",
    },
}
MAY_BE_NEGATIVE = {"error_code", "exit_status"}
PATTERNS = {"sha256": "^[0-9a-f]{64}$", "trace_id": "^[0-9a-f]{32}$"}
UUIDS = {"session_id", "continues"}

Schema = dict[str, Any]


def make_schemas() -> Schema:
    """Return the whole document; its root is any of the values that are printed."""
    known = PRINTED | PARTS
    names = {struct.__name__: name for name, (struct, _) in known.items()}
    _, made = msgspec.json.schema_components([struct for struct, _ in known.values()], ref_template="{name}")
    assert made.keys() == names.keys(), f"a Struct without a name: {made.keys() ^ names.keys()}"
    return {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "title": "kilometers",
        "description": PROMISE,
        "version": VERSION,
        "anyOf": [{"$ref": f"#/$defs/{name}"} for name in PRINTED],
        "$defs": {name: finish(made[struct.__name__], struct, text, names) for name, (struct, text) in known.items()},
    }


def finish(made: Schema, struct: type[msgspec.Struct], text: str, names: dict[str, str]) -> Schema:
    """Return a Struct's schema as it is published: every field described, no null."""
    described = field_docstrings(struct) | DESCRIPTIONS.get(struct, {})
    properties = {}
    for field in msgspec.structs.fields(struct):
        shape = rename(without_null(made["properties"][field.encode_name]), names)
        more = limits(field.encode_name, shape, field.type)
        properties[field.encode_name] = {"description": described.get(field.name, ""), **shape, **more}
    return {"description": text, "type": "object", "properties": properties, "required": made["required"]}


def field_docstrings(struct: type[msgspec.Struct]) -> dict[str, str]:
    """Return the strings that stand below the fields of a Struct."""
    (definition,) = ast.parse(textwrap.dedent(inspect.getsource(struct))).body
    assert isinstance(definition, ast.ClassDef)
    found = {}
    for field, below in zip(definition.body, definition.body[1:], strict=False):
        match field, below:
            case ast.AnnAssign(target=ast.Name(id=name)), ast.Expr(value=ast.Constant(value=str(text))):
                found[name] = " ".join(text.split())
    return found


def without_null(field: Schema) -> Schema:
    """Return a field's schema for where it is printed: a default of None is left out."""
    kept = {key: value for key, value in field.items() if key != "anyOf" and (key, value) != ("default", None)}
    choices = [choice for choice in field.get("anyOf", []) if choice != {"type": "null"}]
    return kept | (choices[0] if len(choices) == 1 else {"anyOf": choices} if choices else {})


def rename(field: Schema, names: dict[str, str]) -> Schema:
    """Return a field's schema with the published names of what it refers to."""
    if "$ref" in field:
        return {**field, "$ref": f"#/$defs/{names[field['$ref']]}"}
    return {**field, "items": rename(field["items"], names)} if "items" in field else field


def limits(name: str, shape: Schema, type: object) -> Schema:
    """Return what else holds for a field's value."""
    if datetime in {type, *get_args(type)}:
        return {"format": "date-time"}
    if name in UUIDS:
        return {"format": "uuid"}
    if name in PATTERNS:
        return {"pattern": PATTERNS[name]}
    return {"minimum": 0} if shape.get("type") == "integer" and name not in MAY_BE_NEGATIVE else {}


def as_text(schemas: Schema) -> str:
    """Return the document as the file holds it."""
    return json.dumps(schemas, indent=2, ensure_ascii=False) + "\n"


if __name__ == "__main__":
    FILE.write_text(as_text(make_schemas()), encoding="utf-8", newline="\n")
