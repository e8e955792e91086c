"""`km doctor`: checks with a fix for each failure, and the MCP clients of this machine."""


def run(*, as_json: bool) -> int:
    """Print the checks and the clients; return the exit status."""
    from kilometers.commands import doctor_report  # what it imports would delay every other command

    return doctor_report.run(as_json=as_json)
