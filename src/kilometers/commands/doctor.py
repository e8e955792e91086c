"""`km doctor`: checks with a fix for each failure, and the MCP clients of this machine."""


def run(*, as_json: bool) -> int:
    """Print the checks and the clients; return the exit status."""
    raise NotImplementedError
