"""What must stand in the record of a conversation, given what was planned and what the client printed.

Each check asks about one thing; together they account for every event that is no answer to what is asked about.
"""

import json
from collections import Counter
from typing import Any

from e2e.cases import MODERN, Case
from e2e.plan import LISTEN, Line, Request, is_modern_request, protocol_version, tells_of_cancelling

Event = dict[str, Any]
Pair = tuple[Request, Event]

LARGEST_PAYLOAD_BYTES = 1 << 20
SUBSCRIPTION_ID = "io.modelcontextprotocol/subscriptionId"
# SDKs close stdin and send SIGTERM, at once after a probe, else two seconds later: a server may end by either.
ORDERLY_ENDS = {(0, None), (143, 15)}
FAILURES = {"error", "tool_error"}


def select(values: list[dict[str, Any]], **wanted: Any) -> list[dict[str, Any]]:
    return [value for value in values if all(value.get(name) == item for name, item in wanted.items())]


def check_summary(case: Case, lines: list[Line], requests: list[Request], session: dict[str, Any]) -> None:
    """The session says who spoke which version with whom, and how the client's calls ended."""
    [seen] = select(lines, kind="session")
    expected = {
        "name": case.server.name,
        "command": case.server.command(),
        "client": name_and_version(seen["client"]),
        "server": name_and_version(seen["server"]),
        "protocol_version": seen["protocol_version"],
        "calls": len(requests),
        "errors": sum(request.status in FAILURES for request in requests),
        "unanswered": sum(request.status is None for request in requests),
        "gaps": 0,
        "is_probe": False,
        "is_clean": True,
        "capture": "full",
        "continues": None,
    }
    assert {name: session.get(name) for name in expected} == expected
    assert (session.get("exit_status"), session.get("signal")) in ORDERLY_ENDS
    assert seen["protocol_version"] == protocol_version(case)


def check_probe(case: Case, lines: list[Line], session: dict[str, Any], events: list[Event]) -> None:
    """The process in which the client only asked what the server speaks is one call, and says so."""
    seen = lines[-1]
    status, error_code = case.server.discovery
    expected = {"calls": 1, "errors": int(status == "error"), "unanswered": 0, "is_probe": True, "is_clean": True}
    assert {name: session.get(name) for name in expected} == expected
    assert (session["name"], session.get("protocol_version")) == (case.server.name, MODERN)
    assert session.get("client") == name_and_version(seen["client"])
    assert session.get("server") == (name_and_version(seen["server"]) if case.server.is_modern else None)
    assert (session.get("exit_status"), session.get("signal")) in ORDERLY_ENDS
    requests = [Request(method="server/discover", status=status, error_code=error_code)]
    check_endings(pair_requests(requests, events, "client_to_server"), events)


def name_and_version(party: dict[str, Any] | None) -> dict[str, str] | None:
    """Return what km keeps of a client or server, None if it never said who it is."""
    return party and {name: party[name] for name in ("name", "version")}


def check_all_is_there(session: dict[str, Any], events: list[Event], stderr: str) -> None:
    """Nothing is missing, nothing was not understood, and what the server wrote to stderr is there too."""
    assert session["events"] == len(events)
    assert [event["seq"] for event in events] == list(range(len(events)))
    assert {event["session_id"] for event in events} == {session["session_id"]}
    assert {event["kind"] for event in events} <= {"request", "response", "error", "notification", "log"}
    assert [event["payload"] for event in select(events, kind="log")] == stderr.split("\n")[:-1]
    for event in events:
        is_kept = event["size_bytes"] <= LARGEST_PAYLOAD_BYTES
        assert event["payload_state"] in ({"full", "redacted"} if is_kept else {"omitted"})
        assert ("payload" in event, len(event.get("sha256", ""))) == ((True, 0) if is_kept else (False, 64))


def pair_requests(requests: list[Request], events: list[Event], direction: str) -> list[Pair]:
    """Return each planned request with its event: they are as many, in the same order."""
    planned = [request for request in requests if request.direction == direction]
    recorded = select(events, kind="request", direction=direction)
    if direction == "server_to_client":
        recorded.sort(key=lambda event: event["method"])
    told = [(request.method, request.target) for request in planned]
    assert [(event["method"], event.get("target")) for event in recorded] == told
    return list(zip(planned, recorded, strict=True))


def check_endings(pairs: list[Pair], events: list[Event]) -> None:
    """Each request has the one ending that it should have, and that event carries the call's facts."""
    answered = sum(request.status not in {None, "cancelled"} for request, _ in pairs)
    assert len(select(events, kind="response") + select(events, kind="error")) == answered
    for request, event in pairs:
        answers, cancels = find_answers(event, events), find_cancels(event, events)
        endings = answers + cancels
        is_ended = request.status is not None
        assert (len(endings), len(cancels)) == (int(is_ended), int(request.status == "cancelled")), (request, endings)
        for ending in endings:
            assert (ending.get("status"), ending.get("error_code")) == (request.status, request.error_code), request
            assert ending["duration_us"] >= 0
            assert ending.get("target") == request.target
        for answer in answers:
            assert answer["method"] == request.method
            assert answer["kind"] == ("error" if request.status == "error" else "response")


def find_answers(request: Event, events: list[Event]) -> list[Event]:
    """Return what answers a request by JSON-RPC's own rules."""
    return [
        event
        for event in select(events[request["seq"] :], request_id=request["request_id"])
        if event["direction"] != request["direction"] and event["kind"] in {"response", "error"}
    ]


def find_cancels(request: Event, events: list[Event]) -> list[Event]:
    named = json.loads(request["request_id"])
    return [
        event
        for event in select(events, method="notifications/cancelled", direction=request["direction"])
        if event["payload"]["params"]["requestId"] == named
    ]


def check_links(pairs: list[Pair], events: list[Event]) -> None:
    """All events of a call name its first request: its end, and its later rounds where the server sent a state."""
    first_seq = -1
    for request, event in pairs:
        is_linked = request.round > 1 and not request.step.get("keeps_no_state")
        first_seq = first_seq if is_linked else event["seq"]
        assert event.get("call_seq") == (first_seq if is_linked else None), request
        for ending in find_answers(event, events) + find_cancels(event, events):
            assert ending.get("call_seq") == first_seq, request


def check_questions(pairs: list[Pair], events: list[Event]) -> None:
    """What the server wanted to know is what the client was asked, and the next round brings an answer to each."""
    asked: list[str] = []
    wanted: set[str] = set()
    for request, event in pairs:
        params = event["payload"].get("params", {})
        assert set(params.get("inputResponses", {})) == wanted, request
        asked = asked if request.round > 1 else []
        wanted = set()
        if request.status == "input_required":
            [answer] = find_answers(event, events)
            questions = answer["payload"]["result"]["inputRequests"]
            wanted = set(questions)
            asked += [question["method"] for question in questions.values()]
        else:
            assert sorted(asked) == [method for method, _ in request.line.get("asked", [])], request


def check_era(case: Case, pairs: list[Pair], lines: list[Line], events: list[Event]) -> None:
    """Modern messages say themselves who speaks which version; in the handshake eras none does."""
    [seen] = select(lines, kind="session")
    client, server = name_and_version(seen["client"]), name_and_version(seen["server"])
    for request, event in pairs:
        is_modern = is_modern_request(case, request)
        expected = (MODERN, client) if is_modern else (None, None)
        assert (event.get("protocol_version"), event.get("client")) == expected, request
        for answer in find_answers(event, events):
            names_itself = is_modern and case.server.is_modern and answer["kind"] == "response"
            assert answer.get("server") == (server if names_itself else None), request
    unexpected = [event for event in events if event["kind"] != "request" and "protocol_version" in event]
    assert unexpected == []


def check_trace(pairs: list[Pair]) -> None:
    """A request's trace id is the one that the client gave it."""
    for request, event in pairs:
        traceparent = request.step.get("params", {}).get("_meta", {}).get("traceparent", "--")
        assert event.get("trace_id", "") == traceparent.split("-")[1], request


def check_progress(pairs: list[Pair], events: list[Event]) -> None:
    """Progress belongs to the call whose token it carries, after the call was cancelled, too."""
    reported = select(events, method="notifications/progress")
    for request, event in pairs:
        of_call = select(reported, call_seq=event["seq"])
        steps = range(1, request.step.get("progress", 0) + 1)
        assert [report["payload"]["params"]["progress"] for report in of_call] == list(steps), request
        token = event["payload"].get("params", {}).get("_meta", {}).get("progressToken")
        assert {report["payload"]["params"]["progressToken"] for report in of_call} <= {token}, request
        assert {report.get("target") for report in of_call} <= {request.target}, request
    assert len(reported) == sum(request.step.get("progress", 0) for request, _ in pairs if request.round == 1)


def check_subscriptions(pairs: list[Pair], events: list[Event]) -> None:
    """What came because it was listened to names the request that asked for it; nothing else names one."""
    told = select(events, kind="notification", direction="server_to_client")
    others = [event for event in told if event["method"] != "notifications/progress"]
    for request, event in pairs:
        if request.method != LISTEN:
            continue
        heard = select(others, call_seq=event["seq"])
        assert len(heard) == 1 + request.step["hears"]
        assert heard[0]["method"] == "notifications/subscriptions/acknowledged"
        for notification in heard:
            subscription = notification["payload"]["params"]["_meta"][SUBSCRIPTION_ID]
            assert json.dumps(subscription) == event["request_id"]
            others.remove(notification)
    assert [event for event in others if "call_seq" in event] == []


def check_notifications(case: Case, lines: list[Line], pairs: list[Pair], events: list[Event]) -> None:
    """Each notification that either side was told is recorded as often."""
    told = Counter({line["method"]: len(line["result"]) for line in select(lines, kind="notification")})
    told["notifications/progress"] = len(select(events, method="notifications/progress"))  # see check_progress
    told["notifications/subscriptions/acknowledged"] = sum(request.method == LISTEN for request, _ in pairs)
    assert count_notifications(events, "server_to_client") == +told

    statuses = Counter(line.get("status") for line in lines)
    said = Counter({"notifications/initialized": int(not case.is_modern)})
    said["notifications/cancelled"] = statuses["cancelled"] if tells_of_cancelling(case) else 0
    assert count_notifications(events, "client_to_server") == +said


def count_notifications(events: list[Event], direction: str) -> Counter[str]:
    return Counter(event["method"] for event in select(events, kind="notification", direction=direction))
