"""Real SDK clients talk to real servers, directly and through km: the same to the client, and all of it recorded.

The clients and what they print are described in tests/sdk/conversation.py.
"""

import json
import os
import subprocess
from collections import Counter
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from e2e.recorded import km_command, km_json, wait_for_ended_sessions

SDK_FOLDER = Path(__file__).parent.parent / "sdk"
CONVERSATION_TIMEOUT_S = 50

Line = dict[str, Any]
Event = dict[str, Any]

NODE_SERVERS = {
    "server-everything": ("server-everything/dist/index.js", "stdio"),
    "server-memory": ("server-memory/dist/index.js",),
    "server-sequential-thinking": ("server-sequential-thinking/dist/index.js",),
}


@dataclass(frozen=True, kw_only=True)
class Case:
    """One client in one mode with one server.

    *handshake*: what the SDK asks first, with the outcome.  *injected*: what it may ask between the steps on its own.
    *probe*: the outcome of server/discover in a process of its own, started and ended before the real one.
    """

    client: str
    mode: str
    server: str
    handshake: tuple[tuple[str, str], ...] = (("initialize", "ok"),)
    injected: frozenset[str] = frozenset()
    probe: str | None = None

    def __str__(self) -> str:
        return f"{self.client}-{self.mode}-{self.server}"


# The Python SDKs list the tools when they meet one whose output schema they do not know yet.
LISTS_TOOLS = frozenset({"tools/list"})
REFUSED_DISCOVERY = (("server/discover", "error"), ("initialize", "ok"))

CASES = [
    Case(client="mcp2", mode="auto", server="server-everything", handshake=REFUSED_DISCOVERY),
    Case(client="mcp2", mode="legacy", server="server-everything"),
    Case(
        client="mcp2",
        mode="auto",
        server="mcp_server_time",
        handshake=(("server/discover", "ok"),),
        injected=LISTS_TOOLS,
    ),
    Case(client="mcp2", mode="2026-07-28", server="mcp_server_time", handshake=(), injected=LISTS_TOOLS),
    Case(client="mcp1", mode="legacy", server="server-everything"),
    Case(client="mcp1", mode="legacy", server="server-memory", injected=LISTS_TOOLS),
    Case(client="ts2", mode="legacy", server="server-everything"),
    Case(client="ts2", mode="auto", server="server-everything", probe="error"),
    Case(client="ts2", mode="auto", server="mcp_server_time", handshake=(), probe="ok"),
    Case(client="ts2", mode="2026-07-28", server="mcp_server_time", handshake=(), probe="ok"),
    Case(client="ts1", mode="legacy", server="server-everything"),
    Case(client="ts1", mode="legacy", server="server-sequential-thinking"),
]


@pytest.mark.parametrize("case", CASES, ids=str)
def test_conversation_through_km_is_the_same_and_is_recorded(case: Case, kilometers_home: Path) -> None:
    direct = converse(case, server_command(case.server), kilometers_home)
    assert direct.returncode == 0, direct.stderr.decode()

    wrapped = converse(case, [km_command(), "monitor", "--", *server_command(case.server)], kilometers_home)

    assert read_lines(wrapped.stdout) == read_lines(direct.stdout)
    assert (wrapped.returncode, wrapped.stderr.decode()) == (direct.returncode, direct.stderr.decode())
    lines = [json.loads(line) for line in read_lines(direct.stdout)]
    session = get_real_session(case, kilometers_home)
    assert_identity_is_recorded(session, lines)
    assert_conversation_is_recorded(case, lines, km_json(kilometers_home, "events", session["session_id"]))


def test_recorded_requests_show_an_unlisted_one() -> None:
    steps = [{"method": "ping", "target": None}]
    recorded = [{"method": "tools/list"}, {"method": "ping"}]

    assert match_requests(steps, recorded, injected=LISTS_TOOLS) == [(steps[0], recorded[1])]
    with pytest.raises(AssertionError, match="tools/list"):
        match_requests(steps, recorded, injected=frozenset())


def get_tool(variable: str) -> str:
    """Return where a tool is that nox has set up; without it nothing would be shown, so the test fails."""
    return os.environ.get(variable) or pytest.fail(f"{variable} is not set: run `nox -s e2e`")


def server_command(server: str) -> list[str]:
    if server not in NODE_SERVERS:
        return [get_tool("KM_SDK_MCP2_PYTHON"), "-m", server, "--local-timezone", "UTC"]
    script, *arguments = NODE_SERVERS[server]
    return [get_tool("KM_SDK_NODE"), f"{get_tool('KM_SDK_NODE_MODULES')}/@modelcontextprotocol/{script}", *arguments]


def client_command(client: str) -> list[str]:
    if client.startswith("ts"):
        return [get_tool("KM_SDK_NODE"), str(SDK_FOLDER / f"client_{client}.mjs")]
    return [get_tool(f"KM_SDK_{client.upper()}_PYTHON"), str(SDK_FOLDER / f"client_{client}.py")]


def converse(case: Case, command: list[str], home: Path) -> subprocess.CompletedProcess[bytes]:
    """Let the client talk to the server that *command* starts, in an environment that is the same each time."""
    memory_file = home.with_name("memory.jsonl")
    memory_file.unlink(missing_ok=True)
    return subprocess.run(
        [*client_command(case.client), case.mode, "--", *command],
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


def read_lines(output: bytes) -> list[str]:
    """Split by line feeds only: a text may hold U+2028."""
    return output.decode().split("\n")[:-1]


def get_real_session(case: Case, home: Path) -> dict[str, Any]:
    """Return the session of the conversation, after a look at the probe that is hidden behind it."""
    sessions = wait_for_ended_sessions(home, count=2 if case.probe else 1)
    shown = km_json(home, "sessions")
    assert len(shown) == 1, f"a probe is hidden unless --all asks for it: {shown}"
    [real] = shown
    for probe in sessions:
        if probe["session_id"] != real["session_id"]:
            events = km_json(home, "events", probe["session_id"])
            [request] = select(events, kind="request")
            assert request["method"] == "server/discover"
            assert find_answer(request, events)["status"] == case.probe
    return real


def assert_identity_is_recorded(session: dict[str, Any], lines: list[Line]) -> None:
    [seen] = select(lines, kind="session")
    for party in ("client", "server"):
        assert {name: session[party][name] for name in ("name", "version")} == {
            name: seen[party][name] for name in ("name", "version")
        }
    assert session["protocol_version"] == seen["protocol_version"]
    assert session["exit_status"] == 0


def assert_conversation_is_recorded(case: Case, lines: list[Line], events: list[Event]) -> None:
    assert [event["seq"] for event in events] == list(range(len(events)))
    assert not select(events, kind="gap") + select(events, kind="undecodable")
    handshake = [{"method": method, "target": None, "status": status} for method, status in case.handshake]
    for direction, first in (("client_to_server", handshake), ("server_to_client", [])):
        steps = first + select(lines, kind="request", direction=direction)
        requests = select(events, kind="request", direction=direction)
        if direction == "server_to_client":
            # The client prints these sorted, as the server's timer decides when it asks for roots.
            requests.sort(key=lambda request: request["method"])
        for step, request in match_requests(steps, requests, injected=case.injected):
            assert_call_is_recorded(step, request, events)
    assert_notifications_are_recorded(lines, events)


def match_requests(steps: list[Line], requests: list[Event], *, injected: frozenset[str]) -> list[tuple[Line, Event]]:
    """Return each step with its request; both are in order, each has one, and only *injected* methods come between."""
    pairs: list[tuple[Line, Event]] = []
    for request in requests:
        if len(pairs) < len(steps) and is_request_of(steps[len(pairs)], request):
            pairs.append((steps[len(pairs)], request))
        else:
            assert request["method"] in injected, f"no step asked for {request}; expected {steps[len(pairs) :][:1]}"
    assert len(pairs) == len(steps), f"not recorded: {steps[len(pairs)]}"
    return pairs


def is_request_of(step: Line, request: Event) -> bool:
    """A completion has no target of its own: what its reference names may be recorded as one."""
    is_target_right = step["method"] == "completion/complete" or request.get("target") == step["target"]
    return bool(request["method"] == step["method"]) and is_target_right


def assert_call_is_recorded(step: Line, request: Event, events: list[Event]) -> None:
    """The request and the event that ended it carry the call's facts."""
    answer = find_answer(request, events)
    assert answer["status"] == step["status"], (step, answer)
    assert answer["duration_us"] >= 0
    assert answer.get("target") == request.get("target")
    assert min(request["size_bytes"], answer["size_bytes"]) > 0
    assert {request["payload_state"], answer["payload_state"]} <= {"full", "redacted"}
    assert (step["target"] or "") in json.dumps(request["payload"], ensure_ascii=False)
    if step["status"] == "error" and "result" in step:
        assert answer["error_code"] == step["result"]["code"]


def find_answer(request: Event, events: list[Event]) -> Event:
    """Return the one event that ended the call: its answer, or the notification that cancelled it."""
    later = [event for event in events if event["seq"] > request["seq"]]
    answers = [
        event
        for event in select(later, request_id=request["request_id"])
        if event["direction"] != request["direction"] and event["kind"] in {"response", "error"}
    ]
    endings = answers or [event for event in select(later, status="cancelled") if is_cancel_of(request, event)]
    assert len(endings) == 1, f"{len(endings)} events ended {request}: {endings}"
    if answers:
        assert answers[0]["method"] == request["method"]
        assert answers[0]["kind"] == ("error" if answers[0]["status"] == "error" else "response")
    return endings[0]


def is_cancel_of(request: Event, event: Event) -> bool:
    named = json.dumps(event["payload"].get("params", event["payload"]).get("requestId"))
    return bool(event["direction"] == request["direction"]) and named == request["request_id"]


def assert_notifications_are_recorded(lines: list[Line], events: list[Event]) -> None:
    """What the client was told is recorded as often; progress and the like it does not print."""
    told = {line["method"]: len(line["result"]) for line in select(lines, kind="notification")}
    recorded = Counter(event["method"] for event in select(events, kind="notification", direction="server_to_client"))
    assert {method: recorded[method] for method in told} == told


def select(values: list[dict[str, Any]], **wanted: str) -> list[dict[str, Any]]:
    return [value for value in values if all(value.get(name) == item for name, item in wanted.items())]
