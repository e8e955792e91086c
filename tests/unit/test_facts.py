import json
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from kilometers.core import facts
from kilometers.core.event import MAX_TEXT, Implementation
from kilometers.core.frames import ABSENT

anything = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(),
    lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
    max_leaves=8,
)
TRACE_ID = "4bf92f3577b34da6a3ce929d0e0e4736"


def raw(value: object) -> msgspec.Raw:
    return msgspec.Raw(json.dumps(value).encode())


@pytest.mark.parametrize(
    ("method", "params", "target"),
    [
        ("tools/call", {"name": "echo", "uri": "x"}, "echo"),
        ("prompts/get", {"name": "greet"}, "greet"),
        ("resources/read", {"uri": "file:///a"}, "file:///a"),
        ("resources/subscribe", {"uri": "file:///a"}, "file:///a"),
        ("resources/unsubscribe", {"uri": "file:///a"}, "file:///a"),
        ("notifications/resources/updated", {"uri": "file:///a"}, "file:///a"),
        ("completion/complete", {"ref": {"type": "ref/prompt", "name": "greet"}}, "greet"),
        ("completion/complete", {"ref": {"type": "ref/resource", "uri": "file:///{path}"}}, "file:///{path}"),
        ("tasks/get", {"taskId": "t1"}, "t1"),
        ("tools/list", {"name": "echo"}, None),
        ("tools/call", {"name": 5}, None),
        ("tools/call", {}, None),
        ("tools/call", {"name": ""}, ""),
        ("tools/call", ["echo"], None),
        ("tools/call", None, None),
        ("tools/call", {"name": "x" * 5000}, "x" * (MAX_TEXT - 1) + "…"),
    ],
)
def test_target_is_what_the_method_is_about(method: str, params: Any, target: str | None) -> None:
    assert facts.target_of(method, facts.read_params(raw(params))) == target


@pytest.mark.parametrize(
    ("error", "code"),
    [
        (b'{"code":-32601,"message":"Method not found"}', -32601),
        (b'{"code":0}', 0),
        (b'{"code":404}', 404),
        (b'{"code":-32601.0}', -32601),
        (b'{"code":1.5}', None),
        (b'{"code":1e400}', None),
        (b'{"code":9223372036854775807}', 9223372036854775807),
        (b'{"code":9223372036854775808}', None),
        (b'{"code":%s}' % (b"9" * 5000), None),
        (b'{"code":"-32601"}', None),
        (b'{"code":null}', None),
        (b'{"code":true}', None),
        (b"{}", None),
        (b"null", None),
        (b'"failed"', None),
    ],
)
def test_error_code_is_an_integer_of_64_bits(error: bytes, code: int | None) -> None:
    assert facts.error_code(msgspec.Raw(error)) == code


@pytest.mark.parametrize(
    ("traceparent", "trace_id"),
    [
        (f"00-{TRACE_ID}-00f067aa0ba902b7-01", TRACE_ID),
        (f"01-{TRACE_ID}-00f067aa0ba902b7-01-later", TRACE_ID),
        (f"00-{TRACE_ID}", None),
        (f"00-{TRACE_ID.upper()}-00f067aa0ba902b7-01", None),
        (f"00-{'0' * 32}-00f067aa0ba902b7-01", None),
        (f"00-{TRACE_ID[:-1]}-00f067aa0ba902b7-01", None),
        ("", None),
        (5, None),
        ({"trace": TRACE_ID}, None),
    ],
)
def test_trace_id_is_of_a_whole_traceparent(traceparent: Any, trace_id: str | None) -> None:
    assert facts.trace_id(facts.read_meta(raw({"traceparent": traceparent}))) == trace_id


@pytest.mark.parametrize(
    ("value", "named"),
    [
        ({"name": "claude", "version": "1.0", "title": "Claude", "icons": []}, Implementation("claude", "1.0")),
        ({"name": "claude"}, Implementation("claude")),
        ({"name": "claude", "version": 2}, Implementation("claude")),
        ({"version": "1.0"}, None),
        ({"name": 5}, None),
        ("claude", None),
        (None, None),
    ],
)
def test_implementation_needs_a_name(value: Any, named: Implementation | None) -> None:
    assert facts.implementation(raw(value)) == named


@pytest.mark.parametrize(
    ("result", "task"),
    [
        ({"taskId": "t1", "status": "working"}, "t1"),
        ({"task": {"taskId": "t1", "status": "working"}}, "t1"),
        ({"task": {"taskId": 5}}, None),
        ({"task": "t1"}, None),
        ({"taskId": 5}, None),
        ({"content": []}, None),
    ],
)
def test_task_is_flat_or_nested(result: Any, task: str | None) -> None:
    assert facts.task_of(facts.read_result(raw(result))) == task


def test_related_task_is_in_meta() -> None:
    meta = facts.read_meta(raw({facts.RELATED_TASK: {"taskId": "t1"}}))

    assert facts.related_task(meta) == "t1"


@pytest.mark.parametrize(("value", "is_true"), [("true", True), ("false", False), ('"true"', False), ("1", False)])
def test_only_the_literal_is_true(value: str, is_true: bool) -> None:  # noqa: FBT001 - a column
    assert facts.is_true(msgspec.Raw(value.encode())) == is_true


@pytest.mark.parametrize(
    ("token", "key"), [(1, "n:1"), ("1", "s:1"), ("", "s:"), (0, "n:0"), (True, ""), (None, ""), (1.5, ""), ([], "")]
)
def test_token_is_a_string_or_an_integer(token: Any, key: str) -> None:
    assert facts.token_key(raw(token)) == key


def test_absent_members_say_nothing() -> None:
    assert facts.token_key(ABSENT) == ""
    assert facts.read_params(ABSENT) == facts.NO_PARAMS
    assert facts.read_meta(ABSENT) == facts.NO_META
    assert facts.implementation(ABSENT) is None
    assert not facts.is_true(ABSENT)


@given(anything, st.sampled_from(["tools/call", "resources/read", "completion/complete", "tasks/get"]))
def test_members_of_any_type_raise_nothing(value: Any, method: str) -> None:
    members = raw(dict.fromkeys(["name", "uri", "ref", "taskId", "task", "_meta", "code", "resultType"], value))

    assert isinstance(facts.target_of(method, facts.read_params(members)), str | None)
    assert isinstance(facts.task_of(facts.read_result(members)), str | None)
    assert isinstance(facts.error_code(members), int | None)
    assert isinstance(facts.implementation(members), Implementation | None)


@pytest.mark.parametrize("read", [facts.read_params, facts.read_result, facts.read_meta])
def test_deep_nesting_is_as_good_as_absent(read: Any) -> None:
    assert read(msgspec.Raw(b'{"name":' + b"[" * 100_000 + b"]" * 100_000 + b"}")) == read(raw(None))
