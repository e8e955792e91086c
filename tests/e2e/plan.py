"""What is planned: how each step ends for the client of a case, and which requests cross for it.

Made from tests/sdk/conversations.json, the case, and what the client printed; never from what km recorded.
"""

import json
from dataclasses import dataclass, field
from typing import Any

from e2e.cases import MODERN, PYTHONS, SDK_FOLDER, Case, Ending

CONVERSATIONS = json.loads((SDK_FOLDER / "conversations.json").read_text("utf-8"))
LISTEN = "subscriptions/listen"
# By the time server on mcp 1: ts2 does not ask for what is not offered.
NOT_OFFERED = {"prompts/list", "resources/list"}
EMPTY_RESULTS = {"ping", "logging/setLevel", "resources/subscribe", "resources/unsubscribe"}

Step = dict[str, Any]
Line = dict[str, Any]


@dataclass(frozen=True, kw_only=True)
class Request:
    """A request that crosses, and how it ends there: *status* None if it is never answered.

    *round*: from 1, of the requests that one call takes.  *step*: what the client was about, empty if it was the SDK.
    *line*: what the client printed of it.
    """

    method: str
    status: str | None
    direction: str = "client_to_server"
    target: str | None = None
    error_code: int | None = None
    round: int = 1
    step: Step = field(default_factory=dict)
    line: Line = field(default_factory=dict)


def plan_steps(case: Case) -> list[tuple[Step, str]]:
    """Return the steps in the order in which they are begun, each with the status that it has for the client."""
    steps = next(steps for server, steps in CONVERSATIONS.items() if server in " ".join(case.server.command()))
    taken = [step for step in steps if step.get("server", case.server.id) == case.server.id]
    flat = [inner for step in taken for inner in (step, *step.get("meanwhile", []))]
    return [(step, plan_status(case, step)) for step in flat if is_possible(case, step)]


def is_possible(case: Case, step: Step) -> bool:
    """Whether the client can take *step*: client_mcp1.py says why 1.x cannot."""
    leaves_open = "cancel_after_progress" in step and case.server.id == "dual_era_server.py"
    return case.client != "mcp1" or not (leaves_open or "is_abandoned" in step)


def plan_status(case: Case, step: Step) -> str:
    if step["method"] == LISTEN:
        status = "ok" if step.get("ended_by_server") else "cancelled"
        return status if case.is_modern else "unsupported"
    if "is_abandoned" in step:
        return "abandoned"
    if "cancel_after_progress" in step:
        return "cancelled"
    if case.is_mismatched:
        return plan_status_of_mismatch(case, step)
    if case.client == "ts2" and case.server.id == "time-on-mcp1" and step["method"] in NOT_OFFERED:
        return "unsupported"
    ends = step.get("ends", "ok")
    if isinstance(ends, str):
        return ends
    era = "modern" if case.is_modern else "legacy"
    return str(ends.get(f"{case.server.id} {era}") or ends.get(case.server.id, "ok"))


def plan_status_of_mismatch(case: Case, step: Step) -> str:
    """1.x in Node answers as it always did, whoever asks; 1.x in Python refuses all that comes before initialize."""
    if case.server.tool in PYTHONS.values() or step.get("ends") == "error":
        return "error"
    return "ok" if step["method"] in EMPTY_RESULTS else "unreadable"


def plan_requests(case: Case, lines: list[Line]) -> list[Request]:
    """Return what the client must have sent, in its order: *lines* are those of its requests."""
    requests = [Request(method=method, status=status, error_code=code) for method, (status, code) in case.handshake]
    for (step, status), line in zip(plan_steps(case), lines, strict=True):
        if status != "unsupported":
            requests += plan_rounds(case, step, line)
        if line is lines[0] and lists_tools_unasked(case, line):
            requests.append(Request(method="tools/list", status="ok"))
    return requests


def lists_tools_unasked(case: Case, line: Line) -> bool:
    """The Python SDKs do, as soon as they have an answer of a tool whose output schema they do not know."""
    return case.client in PYTHONS and line["method"] == "tools/call" and line["status"] == "ok"


def plan_rounds(case: Case, step: Step, line: Line) -> list[Request]:
    rounds = step.get("rounds", 1) if case.is_modern else 1
    status, error_code = plan_ending(case, line)
    endings: list[Ending] = [("input_required", None)] * (rounds - 1) + [(status, error_code)]
    return [
        Request(
            method=line["method"],
            target=line["target"],
            status=status,
            error_code=error_code,
            round=number,
            step=step,
            line=line,
        )
        for number, (status, error_code) in enumerate(endings, start=1)
    ]


def plan_ending(case: Case, line: Line) -> Ending:
    """Return how a call ended on the wire that ended for the client as *line* says."""
    match line["status"]:
        case "abandoned":
            return case.server.left_open
        case "cancelled" if not tells_of_cancelling(case):
            return case.server.left_open
        case "unreadable":
            return ("tool_error" if line["result"]["answer"].get("isError") else "ok"), None
        case "error":
            return "error", line["result"]["code"]
        case status:
            return status, None


def tells_of_cancelling(case: Case) -> bool:
    return case.client != "mcp1"


def plan_answers(lines: list[Line]) -> list[Request]:
    """Return what the server must have asked the client, sorted: its timers decide when."""
    return [
        Request(method=line["method"], status="ok", direction="server_to_client", line=line)
        for line in lines
        if line["direction"] == "server_to_client"
    ]


def is_modern_request(case: Case, request: Request) -> bool:
    """Whether it says itself which version it is of: discovering is modern whatever comes of it."""
    return request.method == "server/discover" or (case.is_modern and request.method != "initialize")


def protocol_version(case: Case) -> str:
    return MODERN if case.is_modern else "2025-11-25"
