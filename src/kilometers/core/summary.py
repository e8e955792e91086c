"""A session as `km sessions --json` prints it, made from its state."""

from datetime import datetime

import msgspec

from kilometers.core.event import Implementation, at_time
from kilometers.core.journal import read_number
from kilometers.core.session import SessionState


class SessionSummary(msgspec.Struct, omit_defaults=True, kw_only=True):
    """What is known of a session; absent = not (yet) known.

    *is_clean* is False once it ended without its relay's word.
    """

    session_id: str
    name: str
    command: list[str]
    started_at: datetime | None = None
    ended_at: datetime | None = None
    exit_status: int | None = None
    signal: int | None = None
    is_clean: bool | None = None
    client: Implementation | None = None
    server: Implementation | None = None
    protocol_version: str | None = None
    host: str = ""
    user: str = ""
    capture: str = ""
    events: int
    gaps: int
    calls: int
    errors: int
    unanswered: int
    is_probe: bool
    continues: str | None = None
    shipped_through: int | None = None


def summarize(state: SessionState, *, is_ended: bool) -> SessionSummary:
    """Return a session's summary; while it lives nothing is said of its end."""

    def first(name: str) -> str:
        return state.fields.get(name, [""])[0]

    summary = SessionSummary(
        session_id=state.session_id,
        name=first("name"),
        command=state.fields.get("argv", []),
        started_at=at_time(state.started_ns) if state.started_ns else None,
        client=state.conversation.client,
        server=state.conversation.server,
        protocol_version=state.conversation.protocol_version,
        host=first("host"),
        user=first("user"),
        capture=first("capture"),
        events=state.next_seq,
        gaps=state.gaps,
        calls=state.conversation.calls,
        errors=state.conversation.errors,
        unanswered=state.unanswered,
        is_probe=is_ended and state.conversation.is_probe,
    )
    if is_ended:
        summary.ended_at = at_time(state.ended_ns)
        summary.is_clean = state.is_clean
        summary.exit_status = read_number(state.end_fields, "exit_status")
        summary.signal = read_number(state.end_fields, "signal")
    return summary
