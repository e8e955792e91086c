"""`km monitor`: start the server, and only then import what relays and records."""

import os

from kilometers.core.monitor_options import MonitorOptions
from kilometers.errors import KilometersError


def run(options: MonitorOptions) -> int:
    """Wrap the server; leaves the process with the server's exit status once the server has run.

    Returns only where the server could not be started.
    """
    from kilometers import child

    has_stderr = child.occupy_standard_fds()
    try:
        server = child.start(options.command, share_stderr=options.no_stderr or not has_stderr or os.isatty(2))
    except KilometersError as error:
        os.write(2, f"km: {error}\n".encode(errors="surrogateescape"))
        return error.exit_status
    from kilometers import relay

    return relay.run(options, server)
