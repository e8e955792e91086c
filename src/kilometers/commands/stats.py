"""`km stats`: calls, errors, latencies and bytes, by tool, server, client or method."""

GROUPINGS = ("tool", "server", "client", "method")


def run(by: str, *, since: str | None, server: str | None, as_json: bool) -> None:
    """Print the statistics."""
    raise NotImplementedError
