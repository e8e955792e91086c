"""`km export`: events as JSON lines or CSV."""

from kilometers.queries import EventFilter

FORMATS = ("jsonl", "csv")


def run(session: str | None, wanted: EventFilter, *, form: str, output: str | None) -> None:
    """Write the wanted events of one session, or of all."""
    raise NotImplementedError
