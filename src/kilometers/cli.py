"""The Click commands: options in, one call per command out; the only error funnel."""

import errno
import io
import os
import sys
from collections.abc import Callable
from typing import Any

import click

from kilometers import __version__
from kilometers.commands import demo, events, monitor, sessions, show, status, version
from kilometers.core import monitor_options
from kilometers.core.event import STATUSES
from kilometers.errors import EXIT_FAILED, EXIT_INTERRUPTED, EXIT_OK, EXIT_OUR_BUG, EXIT_USAGE, KilometersError

CONTEXT = {"help_option_names": ["-h", "--help"], "max_content_width": 100}
JSON = click.option("--json", "as_json", is_flag=True, help="Print JSON: one value, or one per line for lists.")
ALL = click.option("--all", "with_all", is_flag=True, help="Probe sessions too.")
LIMIT = click.option("--limit", type=click.IntRange(min=1), metavar="N", help="At most N.")
SINCE = click.option("--since", metavar="WHEN", help="Not older than: 90s, 10m, 2h, 7d, or a date.")


@click.group(
    context_settings=CONTEXT,
    help="Kilometers: a flight recorder for MCP.\n\n"
    "\b\n"
    "Try it:            km demo\n"
    "Wrap a server:     km monitor -- COMMAND\n"
    "See what happened: km sessions, km events, km show",
)
@click.version_option(__version__, "-V", "--version", prog_name="km", message="%(prog)s %(version)s")
def km() -> None:
    """Hold the commands."""


def monitor_command() -> click.Command:
    """Return `km monitor`, made from the table that the fast path's parser reads too."""

    def call(command: tuple[str, ...], **values: Any) -> int:  # noqa: ANN401  # what the table's options hold
        return monitor.run(monitor_options.MonitorOptions(list(command), **values))

    parameters: list[click.Parameter] = [
        click.Option(
            [*option.flags],
            is_flag=option.is_flag or None,  # given as False, it would make the value optional
            metavar=option.metavar or None,
            type=click.Choice(option.choices) if option.choices else None,
            help=option.help,
        )
        for option in monitor_options.OPTIONS
    ]
    parameters.append(
        click.Argument(["command"], nargs=-1, required=True, type=click.UNPROCESSED, metavar="[--] CMD...")
    )
    return click.Command(
        "monitor",
        params=parameters,
        callback=call,
        context_settings={**CONTEXT, "allow_interspersed_args": False},
        help="Wrap the stdio MCP server that CMD starts: bytes pass through untouched and are recorded.\n\n"
        "\b\nExample: km monitor -- npx -y @modelcontextprotocol/server-everything\n\n"
        "Exits with the server's own status; 125 if km could not begin, 126 and 127 as a shell does.",
    )


km.add_command(monitor_command())


@km.command("sessions", help="List sessions, newest first.\n\n\b\nExample: km sessions --since 2h")
@SINCE
@click.option("--search", metavar="TEXT", help="Only those whose name, command or identity contains TEXT.")
@LIMIT
@ALL
@JSON
def _sessions(since: str | None, search: str | None, limit: int | None, with_all: bool, as_json: bool) -> None:
    sessions.run(since=since, search=search, limit=limit, with_probes=with_all, as_json=as_json)


@km.command(
    "events",
    help="List the events of SESSION, in their order.\n\n"
    "SESSION is an id, the last digits of one, or a server's name (its latest session); default: the latest.\n\n"
    "\b\nExample: km events server-everything --tool 'get-*' --status tool_error",
)
@click.argument("session", required=False)
@click.option("--method", metavar="GLOB", help="Only this method, e.g. 'tools/*'.")
@click.option("--tool", metavar="GLOB", help="Only calls of this tool.")
@click.option(
    "--status",
    type=click.Choice(STATUSES),
    metavar="STATUS",
    help=f"Only answers with: {', '.join(STATUSES)}.",
)
@SINCE
@click.option(
    "--search", metavar="TEXT", help="Only events whose JSON contains TEXT (any ASCII case); newest first, as found."
)
@LIMIT
@click.option("--all", "with_all", is_flag=True, help="Of all sessions, probes included.")
@JSON
def _events(  # noqa: PLR0917  # one parameter per option
    session: str | None,
    method: str | None,
    tool: str | None,
    status: str | None,
    since: str | None,
    search: str | None,
    limit: int | None,
    with_all: bool,
    as_json: bool,
) -> None:
    wanted = events.Wanted(method=method, tool=tool, status=status, since=since, search=search, limit=limit)
    events.run(session, wanted, with_all=with_all, as_json=as_json)


@km.command(
    "show",
    help="Show a session's timeline, or one event with its payload.\n\n\b\nExample: km show server-everything:12",
)
@click.argument("session", required=False, metavar="[SESSION[:SEQ]]")
@JSON
def _show(session: str | None, as_json: bool) -> None:
    show.run(session, as_json=as_json)


@km.command("status", help="Say what is being recorded, by whom, and what is missing.\n\n\b\nExample: km status --json")
@JSON
def _status(as_json: bool) -> None:
    status.run(as_json=as_json)


@km.command(
    "demo",
    help="Run a real MCP client and server through km monitor, then show what was captured.\n\n\b\nExample: km demo",
)
def _demo() -> int:
    return demo.run()


@km.command("version", help="Print km's version and what it runs on.\n\n\b\nExample: km version --json")
@JSON
def _version(as_json: bool) -> None:
    version.run(as_json=as_json)


@km.command(
    "recorder",
    help="Record until nothing is left to record; started by km itself.\n\n\b\nExample: km recorder",
    hidden=True,
)
def _recorder() -> int:
    from kilometers import recorder

    return recorder.run()


def run(arguments: list[str]) -> int:
    """Run a command line and return its exit status; every error ends here."""
    if sys.stdout is None:  # started without one
        os.dup2(os.open(os.devnull, os.O_WRONLY), 1)
        sys.stdout = open(1, "w", encoding="utf-8", closefd=False)  # noqa: SIM115  # open for the process's life
    if isinstance(sys.stdout, io.TextIOWrapper):
        sys.stdout.reconfigure(errors="backslashreplace")  # a table's lines on a terminal that has none
    try:
        status = _guarded(lambda: km.main(arguments, prog_name="km", standalone_mode=False))
        sys.stdout.flush()
    except BrokenPipeError:
        # Whoever read our output has seen enough; nothing may be flushed into the closed pipe at exit.
        os.dup2(os.open(os.devnull, os.O_WRONLY), 1)
        return EXIT_OK
    except OSError as error:
        os.dup2(os.open(os.devnull, os.O_WRONLY), 1)
        sys.stderr.write(f"km: cannot write the output: {error.strerror}.\n")
        return EXIT_FAILED
    return status


def _guarded(call: Callable[[], object]) -> int:
    try:
        result = call()
    except KilometersError as error:
        click.echo(f"km: {error}", err=True)
        return error.exit_status
    except click.exceptions.Exit as error:
        return error.exit_code
    except click.UsageError as error:
        error.show()
        return EXIT_USAGE
    except UnicodeEncodeError as error:
        click.echo(f"km: {error.object!r} is no valid text.", err=True)
        return EXIT_USAGE
    except (click.Abort, KeyboardInterrupt):
        return EXIT_INTERRUPTED
    except OSError as error:
        if error.errno in {errno.EPIPE, errno.ENOSPC, errno.EIO}:
            raise  # of the output, most likely; `run` says so
        return _our_bug(error)
    except Exception as error:  # noqa: BLE001  # the funnel: anything that reaches it is our bug
        return _our_bug(error)
    return result if isinstance(result, int) else EXIT_OK


def _our_bug(error: Exception) -> int:
    from kilometers import paths
    from kilometers.log import open_log

    place = paths.find_home().log_file
    try:
        open_log(place).error("command failed", exc_info=error)
    except OSError:
        place = "no log could be written"
    click.echo(f"km: this is a bug in km: {type(error).__name__}: {error} (details: {place})", err=True)
    return EXIT_OUR_BUG
