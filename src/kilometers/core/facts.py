"""Facts: the few members of params, result and error that km reads; everything else stays as it is.

Members of another type than expected are as good as absent: what is on the wire may be anything.
Source: the MCP schemas of revisions 2024-11-05 … 2026-07-28; W3C Trace Context for traceparent.
"""

from typing import TypeVar

import msgspec

from kilometers.core.event import Implementation, cut_text
from kilometers.core.frames import ABSENT, id_key, text_of

LATEST_LEGACY = "2025-11-25"  # the last revision with an initialize
MODERN = "2026-07-28"
PROTOCOL_VERSION = "io.modelcontextprotocol/protocolVersion"
CLIENT_INFO = "io.modelcontextprotocol/clientInfo"
SERVER_INFO = "io.modelcontextprotocol/serverInfo"
SUBSCRIPTION_ID = "io.modelcontextprotocol/subscriptionId"
RELATED_TASK = "io.modelcontextprotocol/related-task"


class Meta(msgspec.Struct, gc=False):
    """`_meta` of params or result."""

    progress_token: msgspec.Raw = msgspec.field(default=ABSENT, name="progressToken")
    traceparent: msgspec.Raw = ABSENT
    protocol_version: msgspec.Raw = msgspec.field(default=ABSENT, name=PROTOCOL_VERSION)
    client_info: msgspec.Raw = msgspec.field(default=ABSENT, name=CLIENT_INFO)
    server_info: msgspec.Raw = msgspec.field(default=ABSENT, name=SERVER_INFO)
    subscription_id: msgspec.Raw = msgspec.field(default=ABSENT, name=SUBSCRIPTION_ID)
    related_task: msgspec.Raw = msgspec.field(default=ABSENT, name=RELATED_TASK)


class Params(msgspec.Struct, gc=False):
    """`params` of a request or notification."""

    name: msgspec.Raw = ABSENT
    uri: msgspec.Raw = ABSENT
    ref: msgspec.Raw = ABSENT
    task_id: msgspec.Raw = msgspec.field(default=ABSENT, name="taskId")
    request_id: msgspec.Raw = msgspec.field(default=ABSENT, name="requestId")
    progress_token: msgspec.Raw = msgspec.field(default=ABSENT, name="progressToken")
    request_state: msgspec.Raw = msgspec.field(default=ABSENT, name="requestState")
    client_info: msgspec.Raw = msgspec.field(default=ABSENT, name="clientInfo")
    meta: msgspec.Raw = msgspec.field(default=ABSENT, name="_meta")


class Result(msgspec.Struct, gc=False):
    """`result` of a response."""

    is_error: msgspec.Raw = msgspec.field(default=ABSENT, name="isError")
    result_type: msgspec.Raw = msgspec.field(default=ABSENT, name="resultType")
    request_state: msgspec.Raw = msgspec.field(default=ABSENT, name="requestState")
    server_info: msgspec.Raw = msgspec.field(default=ABSENT, name="serverInfo")
    protocol_version: msgspec.Raw = msgspec.field(default=ABSENT, name="protocolVersion")
    task: msgspec.Raw = ABSENT
    task_id: msgspec.Raw = msgspec.field(default=ABSENT, name="taskId")
    meta: msgspec.Raw = msgspec.field(default=ABSENT, name="_meta")


class _Named(msgspec.Struct, gc=False):
    name: msgspec.Raw = ABSENT
    version: msgspec.Raw = ABSENT
    uri: msgspec.Raw = ABSENT
    code: msgspec.Raw = ABSENT
    task_id: msgspec.Raw = msgspec.field(default=ABSENT, name="taskId")


NO_META = Meta()
NO_PARAMS = Params()
NO_RESULT = Result()
_NOT_NAMED = _Named()
_params = msgspec.json.Decoder(Params)
_results = msgspec.json.Decoder(Result)
_metas = msgspec.json.Decoder(Meta)
_named = msgspec.json.Decoder(_Named)
_TARGET_BY_NAME = {"tools/call", "prompts/get"}
_TARGET_BY_URI = {"resources/read", "resources/subscribe", "resources/unsubscribe", "notifications/resources/updated"}
Facts = TypeVar("Facts")
_FAILURES = (msgspec.MsgspecError, UnicodeDecodeError, RecursionError)


def _read(decoder: msgspec.json.Decoder[Facts], raw: msgspec.Raw, nothing: Facts) -> Facts:
    if raw is ABSENT:
        return nothing
    try:
        return decoder.decode(raw)
    except _FAILURES:
        return nothing


def read_params(raw: msgspec.Raw) -> Params:
    """Return what km reads of params."""
    return _read(_params, raw, NO_PARAMS)


def read_result(raw: msgspec.Raw) -> Result:
    """Return what km reads of a result."""
    return _read(_results, raw, NO_RESULT)


def read_meta(raw: msgspec.Raw) -> Meta:
    """Return what km reads of `_meta`."""
    return _read(_metas, raw, NO_META)


def _read_named(raw: msgspec.Raw) -> _Named:
    return _read(_named, raw, _NOT_NAMED)


def target_of(method: str, params: Params) -> str | None:
    """Return the tool's or prompt's name, the resource's URI or the task that a message is about."""
    if method in _TARGET_BY_NAME:
        text = text_of(params.name)
    elif method in _TARGET_BY_URI:
        text = text_of(params.uri)
    elif method == "completion/complete":
        ref = _read_named(params.ref)
        text = text_of(ref.name) if ref.name is not ABSENT else text_of(ref.uri)
    elif method.startswith("tasks/"):
        text = text_of(params.task_id)
    else:
        return None
    return None if text is None else cut_text(text)


def implementation(raw: msgspec.Raw) -> Implementation | None:
    """Return clientInfo or serverInfo, or None where it names nobody."""
    named = _read_named(raw)
    name, version = text_of(named.name), text_of(named.version)
    return None if name is None else Implementation(cut_text(name), cut_text(version or ""))


def token_key(raw: msgspec.Raw) -> str:
    """Return what identifies a progress token, "" where there is none; like an id, but of its own."""
    return "" if raw is ABSENT else id_key(bytes(raw))


def is_true(raw: msgspec.Raw) -> bool:
    """Whether a member is the literal true."""
    return raw is not ABSENT and bytes(raw) == b"true"


def task_of(result: Result) -> str | None:
    """Return the task that a result created: flat in 2026, nested in 2025-11-25."""
    nested = _read_named(result.task).task_id if result.task is not ABSENT else ABSENT
    return text_of(nested) if nested is not ABSENT else text_of(result.task_id)


def related_task(meta: Meta) -> str | None:
    """Return the task that a message says it belongs to."""
    return text_of(_read_named(meta.related_task).task_id)


def error_code(raw: msgspec.Raw) -> int | None:
    """Return the code of a JSON-RPC error, within 64 bits."""
    key = id_key(bytes(_read_named(raw).code))
    if not key.startswith("n:"):
        return None
    number = int(key[2:])
    return number if -(2**63) <= number < 2**63 else None


def trace_id(meta: Meta) -> str | None:
    """Return the trace id of a well-formed traceparent."""
    parts = (text_of(meta.traceparent) or "").split("-")
    is_whole = len(parts) >= 4 and len(parts[1]) == 32 and all(digit in "0123456789abcdef" for digit in parts[1])
    return parts[1] if is_whole and parts[1].strip("0") else None
