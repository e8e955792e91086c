"""The only error funnel: whatever goes wrong in a command becomes one message and an exit status here."""

import errno
import io
import os
import sys
from collections.abc import Callable

import click
import msgspec

from kilometers import console
from kilometers.errors import EXIT_FAILED, EXIT_INTERRUPTED, EXIT_OK, EXIT_OUR_BUG, EXIT_USAGE, KilometersError


class ClosedPipe(BaseException):
    """Whoever read our output has seen enough; no error, but Click would make exit status 1 of a BrokenPipeError."""


def run(command: Callable[[], object]) -> int:
    """Run a command and return its exit status; every error ends here."""
    if sys.stdout is None:  # started without one
        os.dup2(os.open(os.devnull, os.O_WRONLY), 1)
        sys.stdout = open(1, "w", encoding="utf-8", closefd=False)  # noqa: SIM115  # open for the process's life
    if sys.stderr is None:
        sys.stderr = open(os.devnull, "w", encoding="utf-8")  # noqa: SIM115  # open for the process's life
    if isinstance(sys.stdout, io.TextIOWrapper):
        sys.stdout.reconfigure(errors="backslashreplace")  # a table's lines on a terminal that has none
    try:
        status = _guarded(command)
        sys.stdout.flush()
    except (ClosedPipe, BrokenPipeError):
        # Nothing may be flushed into the closed pipe at exit.
        os.dup2(os.open(os.devnull, os.O_WRONLY), 1)
        return EXIT_OK
    except OSError as error:
        os.dup2(os.open(os.devnull, os.O_WRONLY), 1)
        sys.stderr.write(f"km: cannot write the output: {error.strerror}.\n")
        return EXIT_FAILED
    return status


def _guarded(command: Callable[[], object]) -> int:
    try:
        result = command()
    except KilometersError as error:
        say(str(error))
        return error.exit_status
    except click.exceptions.Exit as error:
        return error.exit_code
    except click.UsageError as error:
        place = error.ctx.command_path if error.ctx else "km"
        say(f"{' '.join(error.format_message().split())}\nSee: {place} --help")
        return EXIT_USAGE
    except UnicodeEncodeError as error:
        say(f"{error.object!r} is no valid text.")
        return EXIT_USAGE
    except msgspec.MsgspecError as error:  # nothing else that commands read is decoded unguarded
        say(f"the store is damaged: {error}. See: km doctor")
        return EXIT_FAILED
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
    say(f"this is a bug in km: {type(error).__name__}: {error} (details: {place})")
    return EXIT_OUR_BUG


def say(message: str) -> None:
    """Print a message, without what would move a terminal's cursor: it may quote what came from the wire."""
    console.say("\n".join(map(console.printable, f"km: {message}".split("\n"))))
