from typing import Any

import pytest

from kilometers.core.conversation import ConversationState
from kilometers.core.event import CLIENT_TO_SERVER, MAX_TEXT, SERVER_TO_CLIENT, Implementation
from unit.scripted import (
    Step,
    call,
    cancelled,
    client,
    links,
    make_records,
    modern,
    play,
    progress,
    record,
    server,
)

MODERN = "2026-07-28"


def state_after(*steps: Step) -> ConversationState:
    return play(make_records(*steps)).state.conversation


def test_answer_has_the_facts_of_its_request() -> None:
    request, response = record(call(1), server(id=1, result={"content": []}))

    assert (request.kind, request.method, request.target, request.request_id) == ("request", "tools/call", "echo", "1")
    assert (request.call_seq, request.status, request.duration_us) == (None, None, None)
    assert (response.kind, response.method, response.target, response.request_id) == (
        "response", "tools/call", "echo", "1",
    )  # fmt: skip
    assert (response.call_seq, response.status, response.duration_us) == (0, "ok", 1000)


def test_both_sides_count_their_own_ids() -> None:
    events = record(
        call(1),
        server(id=1, method="sampling/createMessage", params={"messages": []}),
        client(id=1, result={"role": "assistant"}),
        server(id=1, result={}),
    )

    assert [event.method for event in events] == [
        "tools/call", "sampling/createMessage", "sampling/createMessage", "tools/call",
    ]  # fmt: skip
    assert links(events) == [None, None, 1, 0]


@pytest.mark.parametrize("method", ["sampling/createMessage", "elicitation/create", "roots/list", "ping", "x/unknown"])
def test_server_request_is_a_call_of_its_own_direction(method: str) -> None:
    request, answer = record(server(id="s-1", method=method), client(id="s-1", result={}))

    assert (request.direction, answer.direction) == (SERVER_TO_CLIENT, CLIENT_TO_SERVER)
    assert (answer.method, answer.call_seq, answer.request_id) == (method, 0, '"s-1"')


@pytest.mark.parametrize(
    ("requested", "answered", "is_paired"),
    [
        ("0", "0", True),
        ('""', '""', True),
        ("-5", "-5", True),
        ("1", '"1"', True),
        ('"1"', "1", True),
        ("1.0", "1", True),
        ("9007199254740993", "9007199254740993", True),
        ("9007199254740993", "9007199254740992", False),
        ("1", "2", False),
        ('""', "0", False),
    ],
)
def test_answer_is_paired_by_its_id(requested: str, answered: str, is_paired: bool) -> None:  # noqa: FBT001 - a column
    request, response = record(
        client(b'{"jsonrpc":"2.0","id":%s,"method":"ping"}\n' % requested.encode()),
        server(b'{"jsonrpc":"2.0","id":%s,"result":{}}\n' % answered.encode()),
    )

    assert (request.request_id, response.request_id) == (requested, answered)
    assert response.call_seq == (0 if is_paired else None)


def test_orphan_answer_is_recorded_without_a_method() -> None:
    (event,) = record(server(id=9, result={}))

    assert (event.kind, event.status) == ("response", "ok")
    assert (event.method, event.call_seq, event.duration_us) == (None, None, None)


@pytest.mark.parametrize(("members", "request_id"), [({"id": None}, "null"), ({}, None)])
def test_error_that_names_no_request_is_an_orphan(members: dict[str, Any], request_id: str | None) -> None:
    _, event = record(call(1), server(error={"code": -32700, "message": "Parse error"}, **members))

    assert (event.kind, event.status, event.error_code, event.request_id) == ("error", "error", -32700, request_id)
    assert event.call_seq is None


@pytest.mark.parametrize(
    ("answer", "status", "code"),
    [
        ({"result": {"content": [], "isError": True}}, "tool_error", None),
        ({"result": {"content": [], "isError": False}}, "ok", None),
        ({"result": {"content": [], "isError": "true"}}, "ok", None),
        ({"result": {"resultType": "complete"}}, "ok", None),
        ({"result": {"resultType": "new_in_2027"}}, "ok", None),
        ({"result": {"resultType": "input_required", "inputRequests": {}}}, "input_required", None),
        ({"result": None}, "ok", None),
        ({"result": 5}, "ok", None),
        ({"error": {"code": 0, "message": "unhandled"}}, "error", 0),
        ({"error": {"code": 429}}, "error", 429),
        ({"error": {"code": -32602.0}}, "error", -32602),
        ({"error": {"code": 10**30}}, "error", None),
        ({"error": "failed"}, "error", None),
    ],
)
def test_status_says_how_the_call_went(answer: dict[str, Any], status: str, code: int | None) -> None:
    _, event = record(call(1), server(id=1, **answer))

    assert (event.status, event.error_code, event.call_seq) == (status, code, 0)


def test_errors_of_a_session_are_the_events_that_say_so() -> None:
    state = state_after(
        call(1), server(id=1, error={"code": 1}),
        call(2), server(id=2, result={"isError": True}),
        call(3), server(id=3, result={}),
        call(4), client(**cancelled(4)), server(id=4, error={"code": -32800}),
    )  # fmt: skip

    assert (state.calls, state.errors) == (4, 2)


def test_cancellation_ends_its_call() -> None:
    _, event = record(call(1), client(**cancelled(1)))

    assert (event.kind, event.method, event.target) == ("notification", "notifications/cancelled", "echo")
    assert (event.status, event.call_seq, event.request_id, event.duration_us) == ("cancelled", 0, "1", 1000)


@pytest.mark.parametrize("answer", [{"result": {}}, {"error": {"code": -32800}}])
def test_late_answer_of_a_cancelled_call_is_cancelled(answer: dict[str, Any]) -> None:
    _, _, event = record(call(1), client(**cancelled(1)), server(id=1, **answer))

    assert (event.status, event.call_seq, event.method) == ("cancelled", 0, "tools/call")


@pytest.mark.parametrize("id", [7, None, True, [], "9"])
def test_cancellation_of_nothing_is_a_notification(id: Any) -> None:
    _, event = record(call(1), client(**cancelled(id)))

    assert (event.status, event.call_seq, event.request_id) == (None, None, None)


def test_cancellation_by_the_other_side_names_its_own_request() -> None:
    events = record(call(1), server(id=1, method="roots/list"), server(**cancelled(1)))

    assert links(events) == [None, None, 1]


@pytest.mark.parametrize("token", [7, "7", "", 0])
def test_progress_reports_on_its_call(token: Any) -> None:
    events = record(call(1, _meta={"progressToken": token}), server(**progress(token)), server(**progress([token])))

    assert links(events) == [None, 0, None]
    assert events[1].target == "echo"


def test_progress_of_a_server_request_travels_to_the_server() -> None:
    request = server(id=1, method="sampling/createMessage", params={"_meta": {"progressToken": 1}})

    assert links(record(request, client(**progress(1)), server(**progress(1)))) == [None, 0, None]


def test_progress_after_the_cancellation_reports_on_its_call() -> None:
    events = record(call(1, _meta={"progressToken": 1}), client(**cancelled(1)), server(**progress(1)))

    assert links(events) == [None, 0, 0]


def test_boolean_is_no_progress_token() -> None:
    assert links(record(call(1, _meta={"progressToken": True}), server(**progress(True)))) == [None, None]


@pytest.mark.parametrize(
    ("steps", "is_probe"),
    [
        ((), False),
        ((client(id="server-discover-probe-1", method="server/discover"),), True),
        ((client(id=1, method="server/discover"), server(id=1, error={"code": -32601})), True),
        ((client(id=1, method="server/discover"), client(id=2, method="initialize")), False),
        ((client(id=1, method="initialize"),), False),
        ((client(method="notifications/initialized"),), False),
    ],
)
def test_probe_is_a_session_that_only_discovers(steps: tuple[Step, ...], is_probe: bool) -> None:  # noqa: FBT001 - a column
    assert state_after(*steps).is_probe == is_probe


def test_legacy_identity_is_of_the_handshake() -> None:
    state = state_after(
        client(
            id=0,
            method="initialize",
            params={"protocolVersion": "2025-11-25", "clientInfo": {"name": "mcp", "version": "0.1.0"}},
        ),
        server(
            id=0,
            result={"protocolVersion": "2025-06-18", "serverInfo": {"name": "memory", "version": "2", "icons": []}},
        ),
    )

    assert state.client == Implementation("mcp", "0.1.0")
    assert state.server == Implementation("memory", "2")
    assert state.protocol_version == "2025-06-18"


def test_refused_handshake_sets_no_version() -> None:
    state = state_after(
        client(id=0, method="initialize", params={"protocolVersion": "9", "clientInfo": {"name": "mcp"}}),
        server(id=0, error={"code": -32602}),
    )

    assert (state.client, state.protocol_version) == (Implementation("mcp"), None)


def test_modern_identity_is_of_each_message() -> None:
    meta = modern(protocolVersion=MODERN, clientInfo={"name": "a", "version": "1"})
    other = modern(protocolVersion=MODERN, clientInfo={"name": "b", "version": "2"})
    named = modern(serverInfo={"name": "memory", "version": "3"})

    events = record(
        call(1, _meta=meta), server(id=1, result={"_meta": named}), call(2, _meta=other), server(id=2, result={})
    )

    assert [event.client for event in events] == [Implementation("a", "1"), None, Implementation("b", "2"), None]
    assert [event.server for event in events] == [None, Implementation("memory", "3"), None, None]
    assert [event.protocol_version for event in events] == [MODERN, None, MODERN, None]


def test_both_eras_in_one_session_are_told_apart_by_request() -> None:
    meta = modern(protocolVersion=MODERN, clientInfo={"name": "new"})
    steps = [
        client(id=1, method="initialize", params={"clientInfo": {"name": "old"}}),
        server(id=1, result={"protocolVersion": "2025-11-25"}),
        call(2, _meta=meta),
        call(3),
    ]

    events = record(*steps)

    assert [event.protocol_version for event in events] == [None, None, MODERN, None]
    assert state_after(*steps).protocol_version == MODERN
    assert state_after(*steps[:2]).protocol_version == "2025-11-25"


@pytest.mark.parametrize("meta", [modern(protocolVersion=5, clientInfo=[]), modern(clientInfo={"name": "a"}), 5, None])
def test_identity_of_another_type_says_nothing(meta: Any) -> None:
    (event,) = record(call(1, _meta=meta))

    assert (event.client, event.protocol_version) == (None, None)


def test_trace_id_is_of_the_message() -> None:
    trace_id = "4bf92f3577b34da6a3ce929d0e0e4736"
    meta = {"traceparent": f"00-{trace_id}-00f067aa0ba902b7-01"}

    events = record(call(1, _meta=meta), client(method="notifications/x", params={"_meta": meta}), call(2))

    assert [event.trace_id for event in events] == [trace_id, trace_id, None]


def test_long_texts_are_cut() -> None:
    long = "x" * 100_000
    state = state_after(client(id=1, method="initialize"), server(id=1, result={"protocolVersion": long}))

    (event,) = record(client(id=long, method=long, params={"_meta": modern(protocolVersion=long)}))

    assert len(state.protocol_version or "") == MAX_TEXT
    assert [len(text or "") for text in (event.method, event.request_id, event.protocol_version)] == [MAX_TEXT] * 3
