"""Servers that end in different ways, as small programs.  Each says `ready` once it is."""

from relay.wrapped import SERVER_PYTHON

HEAD = "import os, signal, sys, time\ndef say(text): os.write(1, text + b'\\n')\n"


def server(body: str) -> list[str]:
    """Return the command of a Python server."""
    return [*SERVER_PYTHON, HEAD + body]


# Ends with the last of the client's words, like most.
ENDS_ON_EOF = server("say(b'ready')\nwhile os.read(0, 65536): pass\nos._exit(7)")
# A launcher or a server with a timer: only a signal ends it.
ENDS_ON_TERM = server(
    "signal.signal(signal.SIGTERM, lambda *_: os._exit(5))\nsay(b'ready')\nwhile True: signal.pause()"
)
ENDS_ON_KILL = server("signal.signal(signal.SIGTERM, signal.SIG_IGN)\nsay(b'ready')\nwhile True: signal.pause()")
# As real Python servers do: 0.35 to 0.5 s.
ENDS_SLOWLY = server("say(b'ready')\nwhile os.read(0, 65536): pass\ntime.sleep(0.4)\nos._exit(7)")
ENDS_FIRST = server("say(b'ready')\nos._exit(3)")
CLOSES_STDOUT = server("say(b'ready')\nos.close(1)\nwhile os.read(0, 65536): pass\nos._exit(7)")
LEAVES_GRANDCHILD = server(
    "if os.fork() == 0: time.sleep(30); os._exit(0)\nsay(b'ready')\nwhile os.read(0, 65536): pass\nos._exit(7)"
)
ANSWERS_AFTER_EOF = server(
    "say(b'ready')\nwhile os.read(0, 65536): pass\ntime.sleep(0.1)\nsay(b'goodbye')\nos._exit(7)"
)
