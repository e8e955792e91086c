"""What every command prints with --json, against the published schemas, on a store that real sessions made."""

import json
import subprocess
from collections.abc import Iterator
from copy import deepcopy
from datetime import datetime
from importlib import resources
from pathlib import Path
from typing import Any

import jsonschema
import pytest

from kilometers.cli import km
from kilometers.core import journal
from recorder.sessions import KM, Sessions
from relay.wrapped import home_in
from screens.scripted_store import ScriptedStore

SCHEMAS = json.loads(resources.files("kilometers").joinpath("schemas.json").read_text(encoding="utf-8"))
FORMATS = jsonschema.FormatChecker()
# Which schema holds for what a command line prints.
COMMANDS = {
    ("events", "--all"): "event",
    ("events", "--all", "--search", "a"): "event",
    ("export",): "event",
    ("tail", "--since", "1h", "--limit", "2"): "event",
    ("show", "server-0"): "event",
    ("show", "server-0:0"): "event",
    ("sessions", "--all"): "session",
    ("stats",): "statistics",
    ("stats", "--by", "server"): "statistics",
    ("stats", "--by", "client"): "statistics",
    ("stats", "--by", "method"): "statistics",
    ("status",): "status",
    ("doctor",): "doctor",
    ("config",): "setting",
    ("version",): "version",
}
TALK = (
    b'{"jsonrpc":"2.0","id":0,"method":"initialize","params":{"clientInfo":{"name":"a client","version":"1"}}}',
    b'{"jsonrpc":"2.0","id":0,"result":{"protocolVersion":"2025-11-25","serverInfo":{"name":"a server"}}}',
    b'{"jsonrpc":"2.0","id":"a","method":"tools/call","params":{"name":"get-sum","_meta":%b}}'
    % b'{"traceparent":"00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"}',
    b'{"jsonrpc":"2.0","id":"a","result":{"content":[],"isError":true}}',
    b'{"jsonrpc":"2.0","id":-1,"method":"resources/read","params":{"uri":"file:///a","p":"%b"}}' % (b"p" * 1_100_000),
    b'{"jsonrpc":"2.0","id":-1,"error":{"code":-32002,"message":"not found","data":null}}',
    b'[{"jsonrpc":"2.0","method":"notifications/a"},{"jsonrpc":"2.0","method":"notifications/b"}]',
    b"no message",
)
BEGIN_NS = 1_790_000_000_000_000_000
CLIENT_FILE = {"mcpServers": {"one": {"command": "npx", "args": ["server"], "env": {"A": "b"}}, "two": {"url": "x"}}}


@FORMATS.checks("date-time", raises=ValueError)
def is_date_time(value: object) -> bool:
    """Whether a text is a time in RFC 3339, in UTC; jsonschema itself does not look."""
    return not isinstance(value, str) or (
        value[10:11] == "T" and value.endswith("Z") and datetime.fromisoformat(value).tzinfo is not None
    )


@pytest.fixture(scope="module")
def recorded(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Sessions]:
    """A home with everything that a session may hold: what is written comes back, so each side asks and answers."""
    with home_in(tmp_path_factory.mktemp("schemas")) as home:
        (home / "config.toml").write_text('captur = "full"\n[servers.server-1]\ncapture = "metadata"\n')
        (home / "config.toml").chmod(0o600)
        (home.parent / ".cursor").mkdir()
        (home.parent / ".cursor" / "mcp.json").write_text(json.dumps(CLIENT_FILE))
        sessions = Sessions(home)
        talk = sessions.start(command=["sh", "-c", "echo started >&2; exec cat"])
        for line in TALK:
            talk.write(line + b"\n")
        talk.wait_for_answers(len(TALK))
        talk.end()
        quiet = sessions.start()
        quiet.call(1)
        quiet.wait_for_answers(1)
        quiet.kill()
        sessions.wait_until_recorded()
        living = sessions.start()
        living.call(1)
        living.wait_for_answers(1)
        yield sessions
        sessions.close()


ROOT = jsonschema.Draft202012Validator(SCHEMAS, format_checker=FORMATS)


def closed(schemas: Any) -> Any:
    """Return schemas that allow no other fields: published ones do, because fields are added."""
    strict = deepcopy(schemas)
    for definition in strict["$defs"].values():
        definition["additionalProperties"] = False
    return strict


def mistakes(name: str, value: object) -> list[str]:
    """Return what a schema says against a value."""
    schema = {"$defs": closed(SCHEMAS)["$defs"], "$ref": f"#/$defs/{name}"}
    checked = jsonschema.Draft202012Validator(schema, format_checker=FORMATS)
    return [error.message for error in checked.iter_errors(value)]


def printed(sessions: Sessions, *command: str) -> list[Any]:
    """Return what a command prints for a user whose home is beside km's."""
    as_json = () if command[0] == "export" else ("--json",)
    user = {**sessions.environment, "HOME": str(sessions.folder.parent)}
    done = subprocess.run([*KM, *command, *as_json], env=user, capture_output=True, timeout=60, check=False)
    assert done.returncode == 0 or command == ("doctor",), done.stderr
    return [json.loads(line) for line in done.stdout.splitlines()]


@pytest.mark.parametrize("command", COMMANDS, ids=" ".join)
def test_what_is_printed_is_as_its_schema_says(recorded: Sessions, command: tuple[str, ...]) -> None:
    values = printed(recorded, *command)

    assert values
    assert [mistakes(COMMANDS[command], value) for value in values] == [[]] * len(values)
    assert all(map(ROOT.is_valid, values))


def test_every_command_that_prints_json_has_a_schema() -> None:
    with_json = {name for name, command in km.commands.items() if any("--json" in one.opts for one in command.params)}

    assert with_json == {command[0] for command in COMMANDS} - {"export"}
    assert set(COMMANDS.values()) == {choice["$ref"].rpartition("/")[2] for choice in SCHEMAS["anyOf"]}


def test_sessions_hold_every_kind_of_event(recorded: Sessions) -> None:
    events = printed(recorded, "events", "--all")

    kinds = {event["kind"] for event in events}
    assert kinds == set(SCHEMAS["$defs"]["event"]["properties"]["kind"]["enum"]) - {"gap"}
    assert {"ok", "error", "tool_error"} <= {event.get("status") for event in events}
    fields = {field for event in events for field in event}
    assert {"sha256", "trace_id", "error_code", "reason", "target", "call_seq", "duration_us", "payload"} <= fields


def test_clients_of_this_machine_are_described_too(recorded: Sessions) -> None:
    (report,) = printed(recorded, "doctor")

    (client,) = report["clients"]
    assert [server["name"] for server in client["servers"]] == ["one", "two"]
    assert mistakes("doctor", {**report, "clients": [{**client, "servers": [{"name": 1}]}]}) != []


def test_gap_is_as_its_schema_says(tmp_path: Path) -> None:
    scripted = ScriptedStore(tmp_path / "home")
    steps = [(at_ms, journal.CLIENT_TO_SERVER, b"{}\n") for at_ms in (0, 10)]
    scripted.add(steps, begin_ns=BEGIN_NS, end_after_ms=20, gap=(journal.CLIENT_TO_SERVER, 1_000, 10))
    scripted.close()

    (gap,) = [event for event in printed(Sessions(tmp_path / "home"), "events") if event["kind"] == "gap"]

    assert gap["gap"]["bytes"] == 1_000
    assert mistakes("event", gap) == []


@pytest.mark.parametrize("value", [{}, [], None, "text", {"session_id": "1"}])
def test_root_refuses_what_no_command_prints(value: object) -> None:
    assert not ROOT.is_valid(value)


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"surprise": 1}, "'surprise' was unexpected"),
        ({"seq": "0"}, "'0' is not of type 'integer'"),
        ({"seq": -1}, "-1 is less than the minimum of 0"),
        ({"method": None}, "None is not of type 'string'"),
        ({"kind": "reply"}, "'reply' is not one of"),
        ({"at": "2026-01-31 12:00:00Z"}, "is not a 'date-time'"),
        ({"at": "2026-01-31T12:00:00"}, "is not a 'date-time'"),
        ({"session_id": "1"}, "is not a 'uuid'"),
        ({"gap": {"bytes": 1}}, "'reason' is a required property"),
        ({"gap": {"reason": "damaged", "bites": 1}}, "'bites' was unexpected"),
        ({"client": "name"}, "is not of type 'object'"),
        ({"sha256": "0"}, "does not match"),
    ],
)
def test_schema_refuses_what_is_never_printed(recorded: Sessions, change: dict[str, Any], said: str) -> None:
    (event,) = printed(recorded, "show", "server-0:0")

    assert mistakes("event", event) == []
    assert said in " ".join(mistakes("event", {**event, **change}))


@pytest.mark.parametrize("field", ["session_id", "seq", "at", "kind"])
def test_schema_refuses_what_lacks_a_field(recorded: Sessions, field: str) -> None:
    (event,) = printed(recorded, "show", "server-0:0")
    del event[field]

    assert mistakes("event", event) == [f"'{field}' is a required property"]
