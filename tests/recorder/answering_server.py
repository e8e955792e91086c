"""An MCP-like server: answers every request line with its id; `die` kills its parent before it reads on.

Run by path, with the standard library only.
"""

import os
import re
import signal
import sys

ID = re.compile(rb'"id":(\d+)')


def main() -> None:
    padding = b"x" * int(sys.argv[1]) if len(sys.argv) > 1 else b""
    while line := sys.stdin.buffer.readline():
        if b'"method":"die"' in line:
            os.kill(os.getppid(), signal.SIGKILL)
        found = ID.search(line)
        if found:
            answer = b'{"result":{"text":"%b"},"jsonrpc":"2.0","id":%b}\n' % (padding, found.group(1))
            sys.stdout.buffer.write(answer)
            sys.stdout.buffer.flush()


main()
