"""`km sessions`: list sessions, newest first."""

from collections.abc import Iterator

from kilometers import console, tables
from kilometers.commands.reading import open_store, parse_since
from kilometers.core.session_id import short_id
from kilometers.core.summary import SessionSummary

COLUMNS = ("SESSION", "SERVER", "CLIENT", "STARTED", "CALLS", "ERRORS", "GAPS", "EVENTS", "STATUS")
TERMINAL_LIMIT = 50


def run(*, since: str | None, search: str | None, limit: int | None, with_probes: bool, as_json: bool) -> None:
    """Print the sessions."""
    is_page = limit is None and console.is_drawn() and not as_json
    if is_page:
        limit = TERMINAL_LIMIT
    found = open_store().sessions(limit=limit, since_us=parse_since(since), search=search, with_probes=with_probes)
    if as_json:
        for summary in found:
            console.print_json(summary)
        return
    shown = 0

    def rows() -> Iterator[tuple[str, ...]]:
        nonlocal shown
        for summary in found:
            shown += 1
            yield row(summary)

    tables.print_rows(COLUMNS, rows())
    if is_page and shown == limit:
        console.say(f"The newest {limit} sessions; more: --limit N")
    if not shown and console.is_drawn():
        console.say("No such session." if since or search else "No session yet. Probes are shown with --all.")


def row(summary: SessionSummary) -> tuple[str, ...]:
    """Return a session's cells."""
    client = summary.client
    return (
        short_id(summary.session_id),
        summary.name,
        f"{client.name} {client.version}".strip() if client else "",
        console.clock(summary.started_at),
        str(summary.calls),
        str(summary.errors),
        str(summary.gaps),
        str(summary.events),
        session_status(summary),
    )


def session_status(summary: SessionSummary) -> str:
    """Return how a session stands."""
    if summary.ended_at is None:
        return "running"
    if not summary.is_clean:
        return "unclean"
    if summary.signal is not None:
        return f"signal {summary.signal}"
    return f"exit {summary.exit_status}"
