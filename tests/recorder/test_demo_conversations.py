"""`km demo`: what its two conversations leave in the store."""

import subprocess
import sys
from collections.abc import Iterator

import pytest

from kilometers.core.event import Event
from recorder.sessions import Recorded, Sessions
from relay.wrapped import home_in

HOLD_CONVERSATIONS = "from kilometers.commands import demo; demo.hold_conversations()"


@pytest.fixture(scope="module")
def conversations(tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, Recorded]]:
    """Both conversations of the demo, as the store has them, by the server's name."""
    command = [sys.executable, "-E", "-P", "-c", HOLD_CONVERSATIONS]
    with home_in(tmp_path_factory.mktemp("conversations")) as home:
        sessions = Sessions(home)
        subprocess.run(command, env=sessions.environment, timeout=60, check=True)
        recorded = sessions.wait_until_recorded()
        yield {one.summary["name"]: one for one in recorded.values()}


def one_event(recorded: Recorded, kind: str, target: str) -> Event:
    """Return the only event of this kind about this target."""
    (found,) = [event for event in recorded.events if (event.kind, event.target) == (kind, target)]
    return found


def endings(recorded: Recorded) -> list[tuple[str | None, str | None, str | None, int | None]]:
    """Return (method, target, status, error code) of all that ends a call, without what every client asks first."""
    return sorted(
        (event.method, event.target, event.status, event.error_code)
        for event in recorded.events
        if event.status is not None and event.target is not None
    )


def test_conversations_are_one_of_each_era(conversations: dict[str, Recorded]) -> None:
    versions = {name: one.summary["protocol_version"] for name, one in conversations.items()}
    methods = {name: {event.method for event in one.events} for name, one in conversations.items()}

    assert versions == {"notes": "2025-11-25", "calendar": "2026-07-28"}
    assert methods["notes"] >= {"initialize", "notifications/initialized"}
    assert not methods["calendar"] & {"initialize", "notifications/initialized"}


@pytest.mark.parametrize("name", ["notes", "calendar"])
def test_conversation_is_recorded_whole(conversations: dict[str, Recorded], name: str) -> None:
    recorded = conversations[name]
    kinds = {event.kind for event in recorded.events}

    recorded.check()
    assert recorded.summary["is_clean"]
    assert recorded.summary["exit_status"] == 0
    assert recorded.summary["unanswered"] == 0
    assert kinds == {"request", "response", "error", "notification", "log"}
    assert {event.payload_state for event in recorded.events} == {"full"}


def test_legacy_calls_end_in_every_way(conversations: dict[str, Recorded]) -> None:
    assert endings(conversations["notes"]) == [
        ("notifications/cancelled", "sync", "cancelled", None),
        ("resources/read", "notes://recipes/haggis", "error", -32002),
        ("tools/call", "add", "ok", None),
        ("tools/call", "delete", "tool_error", None),
        ("tools/call", "digest", "ok", None),
        ("tools/call", "export", "ok", None),
        ("tools/call", "import", "ok", None),
        ("tools/call", "search", "ok", None),
    ]


def test_modern_calls_end_in_every_way(conversations: dict[str, Recorded]) -> None:
    assert endings(conversations["calendar"]) == [
        ("notifications/cancelled", "invite", "cancelled", None),
        ("tools/call", "book", "tool_error", None),
        ("tools/call", "brew_tea", "error", -32602),
        ("tools/call", "move", "input_required", None),
        ("tools/call", "move", "ok", None),
        ("tools/call", "propose", "ok", None),
        ("tools/call", "today", "ok", None),
    ]


@pytest.mark.parametrize(("name", "tool", "ticks"), [("notes", "import", 4), ("calendar", "propose", 3)])
def test_slow_call_reports_its_progress(conversations: dict[str, Recorded], name: str, tool: str, ticks: int) -> None:
    recorded = conversations[name]
    call = one_event(recorded, "request", tool)
    progress = [event for event in recorded.events if event.method == "notifications/progress"]

    assert len([event for event in progress if event.call_seq == call.seq]) == ticks


@pytest.mark.parametrize(("name", "slow", "quick"), [("notes", "import", "search"), ("calendar", "propose", "invite")])
def test_calls_overlap(conversations: dict[str, Recorded], name: str, slow: str, quick: str) -> None:
    recorded = conversations[name]
    begin, end = one_event(recorded, "request", slow).seq, one_event(recorded, "response", slow).seq
    about_quick = [event.seq for event in recorded.events if event.target == quick]

    assert len(about_quick) >= 2
    assert all(begin < seq < end for seq in about_quick)


def test_big_answer_is_kept_whole(conversations: dict[str, Recorded]) -> None:
    answer = one_event(conversations["notes"], "response", "export")

    assert (answer.size_bytes or 0) > 180_000
    assert len(bytes(answer.payload or b"")) > 180_000


def test_legacy_server_asks_logs_and_notifies(conversations: dict[str, Recorded]) -> None:
    events = conversations["notes"].events
    from_server = {event.method for event in events if event.direction == "server_to_client"}
    (sampled,) = [event for event in events if event.kind == "response" and event.method == "sampling/createMessage"]

    assert from_server >= {"sampling/createMessage", "notifications/message"}
    assert (sampled.direction, sampled.status) == ("client_to_server", "ok")
    assert [bytes(event.payload or b"") for event in events if event.kind == "log"] == [b'"notes: ready, 2 resources"']


def test_modern_requests_say_all_of_themselves(conversations: dict[str, Recorded]) -> None:
    recorded = conversations["calendar"]
    requests = [event for event in recorded.events if event.kind == "request"]
    responses = [event for event in recorded.events if event.kind == "response"]

    assert {event.direction for event in requests} == {"client_to_server"}
    assert {event.protocol_version for event in requests} == {"2026-07-28"}
    assert {event.client.name for event in requests if event.client} == {"km-demo-client"}
    assert {event.server.name for event in responses if event.server} == {"km-demo-calendar"}


def test_input_required_round_trip_is_one_call(conversations: dict[str, Recorded]) -> None:
    events = [event for event in conversations["calendar"].events if event.target == "move"]
    asked, needed, retried, moved = events

    assert (asked.kind, needed.status, retried.kind, moved.status) == ("request", "input_required", "request", "ok")
    assert asked.request_id != retried.request_id
    assert {event.call_seq for event in (needed, retried, moved)} == {asked.seq}


def test_subscription_delivers_and_is_cancelled(conversations: dict[str, Recorded]) -> None:
    events = conversations["calendar"].events
    (listening,) = [event for event in events if event.method == "subscriptions/listen"]
    about_it = [event.method for event in events if event.call_seq == listening.seq]

    assert about_it == [
        "notifications/subscriptions/acknowledged",
        "notifications/resources/updated",
        "notifications/cancelled",
    ]
