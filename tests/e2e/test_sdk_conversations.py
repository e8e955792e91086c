"""Real SDK clients talk to real servers, directly and through km: the same to the client, and all of it recorded.

The matrix is in cases.py, what is said in tests/sdk/conversations.json, what must come of it in plan.py.
"""

import json
import subprocess
from pathlib import Path
from typing import Any

import pytest

from e2e import checks
from e2e.cases import CASES, Case, converse
from e2e.plan import Line, plan_answers, plan_requests, plan_steps
from e2e.recorded import km_command, km_json, wait_for_ended_sessions

HELD = [case for case in CASES if not case.is_refused]
REFUSED = [case for case in CASES if case.is_refused]


@pytest.mark.parametrize("case", HELD, ids=str)
def test_conversation_through_km_is_the_same_and_is_recorded(case: Case, kilometers_home: Path) -> None:
    lines, stderr = converse_twice(case, kilometers_home)

    session, events = get_session(case, lines, kilometers_home)
    asked = checks.select(lines, kind="request", direction="client_to_server")
    assert [(line["step"], line["status"]) for line in asked] == [
        (step["step"], status) for step, status in plan_steps(case)
    ]
    requests = [*plan_requests(case, asked), *plan_answers(checks.select(lines, kind="request"))]
    checks.check_summary(case, lines, requests, session)
    checks.check_all_is_there(session, events, stderr)
    pairs = checks.pair_requests(requests, events, "client_to_server")
    answers = checks.pair_requests(requests, events, "server_to_client")
    checks.check_endings(pairs + answers, events)
    checks.check_links(pairs + answers, events)
    checks.check_questions(pairs, events)
    checks.check_era(case, pairs, lines, events)
    checks.check_trace(pairs)
    checks.check_progress(pairs, events)
    checks.check_subscriptions(pairs, events)
    checks.check_notifications(case, lines, pairs, events)


@pytest.mark.parametrize("case", REFUSED, ids=str)
def test_refusal_through_km_is_the_same_and_is_recorded_as_a_probe(case: Case, kilometers_home: Path) -> None:
    lines, _ = converse_twice(case, kilometers_home)

    assert [(line["kind"], line["code"]) for line in lines] == [("refused", "ERA_NEGOTIATION_FAILED")]
    [probe] = wait_for_ended_sessions(kilometers_home, count=1)
    checks.check_probe(case, lines, probe, km_json(kilometers_home, "events", probe["session_id"]))
    assert km_json(kilometers_home, "sessions") == []


def converse_twice(case: Case, home: Path) -> tuple[list[Line], str]:
    """Return what the client printed, and stderr: the same directly and through km."""
    direct = converse(case, [], home)
    assert direct.returncode == 0, direct.stderr.decode()
    wrapped = converse(case, [km_command(), "monitor", "--"], home)
    assert read_lines(wrapped) == read_lines(direct)
    assert (wrapped.returncode, wrapped.stderr.decode()) == (direct.returncode, direct.stderr.decode())
    return [json.loads(line) for line in read_lines(direct)], wrapped.stderr.decode()


def read_lines(completed: subprocess.CompletedProcess[bytes]) -> list[str]:
    """Split by line feeds only: a text may hold U+2028."""
    return completed.stdout.decode().split("\n")[:-1]


def get_session(case: Case, lines: list[Line], home: Path) -> tuple[dict[str, Any], list[checks.Event]]:
    """Return the session of the conversation and its events, after a look at the probe that is hidden behind it."""
    sessions = wait_for_ended_sessions(home, count=2 if case.is_probed else 1)
    if case.is_probed:
        [real] = km_json(home, "sessions")
        [probe] = [session for session in sessions if session["session_id"] != real["session_id"]]
        checks.check_probe(case, lines, probe, km_json(home, "events", probe["session_id"]))
        sessions = [real]
    return sessions[0], km_json(home, "events", sessions[0]["session_id"])
