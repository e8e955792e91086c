from typing import Any

import pytest

from kilometers.core import journal
from kilometers.core.conversation import MAX_REMEMBERED, Conversation, ConversationState
from kilometers.core.event import CLIENT_TO_SERVER, SERVER_TO_CLIENT, Event
from kilometers.core.frames import Message, read_frame
from kilometers.core.pairing import Pairing
from unit.scripted import (
    Step,
    call,
    cancelled,
    client,
    links,
    listen,
    make_record,
    modern,
    play,
    progress,
    record,
    server,
    start,
)


def asking(id: int, **members: Any) -> Step:
    return server(id=id, result={"resultType": "input_required", "inputRequests": {"a": {}}, **members})


def test_rounds_of_one_call_are_linked_by_their_state() -> None:
    events = record(
        call(1), asking(1, requestState="one"),
        call(2, inputResponses={"a": {}}, requestState="one"), asking(2, requestState="two"),
        call(3, inputResponses={"a": {}}, requestState="two"), server(id=3, result={"resultType": "complete"}),
    )  # fmt: skip

    assert links(events) == [None, 0, 0, 0, 0, 0]
    assert [event.status for event in events if event.status] == ["input_required", "input_required", "ok"]


def test_time_between_rounds_counts_to_none() -> None:
    events = record(call(1), asking(1, requestState="s"), call(9), call(2, requestState="s"), server(id=2, result={}))

    assert [event.duration_us for event in events if event.duration_us] == [1000, 1000]


def test_state_is_compared_by_its_value() -> None:
    escaped = rb'{"id":1,"result":{"resultType":"input_required","requestState":"a\/b\u00e9"}}' + b"\n"

    events = record(call(1), server(escaped), call(2, requestState="a/bé"))

    assert events[2].call_seq == 0


@pytest.mark.parametrize(
    "step",
    [
        call(2, inputResponses={"a": {}}),
        call(2, requestState="other"),
        call(2, "other tool", requestState="s"),
        client(id=2, method="prompts/get", params={"name": "echo", "requestState": "s"}),
    ],
)
def test_other_request_is_no_round(step: Step) -> None:
    assert record(call(1), asking(1, requestState="s"), step)[2].call_seq is None


def test_state_brings_back_one_round() -> None:
    events = record(call(1), asking(1, requestState="s"), call(2, requestState="s"), call(3, requestState="s"))

    assert links(events) == [None, 0, 0, None]


@pytest.mark.parametrize("created", [{"resultType": "task", "taskId": "t1"}, {"task": {"taskId": "t1"}}])
def test_task_continues_its_call(created: dict[str, Any]) -> None:
    events = record(
        call(1), server(id=1, result=created),
        client(id=2, method="tasks/get", params={"taskId": "t1"}), server(id=2, result={"taskId": "t1"}),
        server(method="notifications/tasks/status", params={"taskId": "t1", "status": "working"}),
        client(id=3, method="tasks/get", params={"taskId": "t2"}),
    )  # fmt: skip

    assert links(events) == [None, 0, 0, 0, 0, None]
    assert events[2].target == "t1"


def test_message_related_to_a_task_reports_on_its_call() -> None:
    meta = {"io.modelcontextprotocol/related-task": {"taskId": "t1"}}
    created = {"task": {"taskId": "t1", "status": "working"}}

    events = record(
        call(1),
        server(id=1, result=created),
        server(method="notifications/message", params={"level": "info", "data": "x", "_meta": meta}),
    )

    assert events[2].call_seq == 0


def test_progress_token_lives_as_long_as_its_task() -> None:
    created = {"task": {"taskId": "t1", "status": "working"}}

    events = record(
        call(1, _meta={"progressToken": 5}),
        server(id=1, result=created),
        server(**progress(5)),
        client(**progress(5)),
    )

    assert links(events) == [None, 0, 0, None]


def test_task_on_a_subscription_reports_on_its_call() -> None:
    meta = modern(subscriptionId=1)

    events = record(
        listen(1),
        call(2),
        server(id=2, result={"resultType": "task", "taskId": "t1"}),
        server(method="notifications/tasks", params={"taskId": "t1", "_meta": meta}),
        server(method="notifications/tasks", params={"taskId": "t2", "_meta": meta}),
    )

    assert links(events)[3:] == [1, 0]


def test_notification_of_a_subscription_reports_on_its_listen() -> None:
    def delivered(id: Any) -> Step:
        return server(method="notifications/tools/list_changed", params={"_meta": modern(subscriptionId=id)})

    events = record(listen("l"), call(1), delivered("l"), delivered(1), delivered(None))

    assert links(events) == [None, None, 0, None, None]


@pytest.mark.parametrize(
    "teardown", [client(**cancelled("l")), server(**cancelled("l")), server(id="l", result={"_meta": {}})]
)
def test_listen_is_ended_by_either_side(teardown: Step) -> None:
    events = record(listen("l"), teardown)

    assert events[1].call_seq == 0


def test_listen_that_nobody_ends_is_not_unanswered() -> None:
    session = play([start(), make_record(*listen(1)), make_record(journal.SERVER_TO_CLIENT, b"")])

    session.finish(0)

    assert session.state.unanswered == 0


@pytest.mark.parametrize(
    "result",
    [
        b'{"resultType":"input_required","requestState":"%d"}',
        b'{"resultType":"task","taskId":"%d"}',
        b'{"task":{"taskId":"%d"}}',
    ],
)
def test_rounds_and_tasks_that_nobody_comes_back_to_are_forgotten(result: bytes) -> None:
    conversation = Conversation(ConversationState(), Pairing())

    for number in range(50_000):
        for direction, data in (
            (CLIENT_TO_SERVER, b'{"id":1,"method":"tools/call","params":{"_meta":{"progressToken":%d}}}' % number),
            (SERVER_TO_CLIENT, b'{"id":1,"result":%s}' % (result % number)),
        ):
            message = read_frame(data)
            assert isinstance(message, Message)
            conversation.read(Event("", number, None, ""), direction, message, number)  # type: ignore[arg-type]
    state = conversation.state

    assert max(len(state.rounds), len(state.tasks)) == MAX_REMEMBERED
    assert len(state.task_tokens) <= MAX_REMEMBERED
    assert len(conversation.pairing) == 0
