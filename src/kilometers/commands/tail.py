"""`km tail`: follow what happens."""

from kilometers.queries import EventFilter


def run(session: str | None, wanted: EventFilter, *, limit: int | None, as_json: bool) -> None:
    """Print the last events, then each new one as it is recorded, until ^C or *limit* events."""
    raise NotImplementedError
