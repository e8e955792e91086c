"""The entry of `km`: two fast paths, then Click.

`km monitor` must have the server running before anything heavy is imported, and `km recorder` lowers its priority
before it does anything else; so both are recognised here by hand.  Every other command line goes to cli.py.
"""

import os
import sys


def main() -> int:
    """Run the command line in sys.argv and return its exit status."""
    if "__compiled__" in globals():
        take_back_hidden_variables()
    arguments = sys.argv[1:]
    if arguments == ["recorder"] and sys.platform != "win32":
        os.nice(19)
        if os.fork():  # out of the relay's process tree: some clients kill that whole
            os._exit(0)
    if arguments[:1] == ["monitor"]:
        from kilometers.commands import monitor
        from kilometers.core import monitor_options

        options = monitor_options.parse(arguments[1:])
        if options is not None:
            return monitor.run(options)
    if arguments == ["recorder"]:
        from kilometers import recorder

        return recorder.run()
    if arguments in (["--version"], ["-V"]):
        from kilometers import __version__

        try:
            os.write(1, f"km {__version__}\n".encode())
            return 0
        except OSError:
            pass  # Click's way says what is wrong
    from kilometers import cli

    return cli.run(arguments)


def take_back_hidden_variables() -> None:
    """Give PYTHON* variables their names again, which build/environment.c took from a native km's own Python."""
    for name in [name for name in os.environ if name.startswith("_KM_PYTHON")]:
        os.environ[name.removeprefix("_KM_")] = os.environ.pop(name)


if __name__ == "__main__":
    sys.exit(main())
