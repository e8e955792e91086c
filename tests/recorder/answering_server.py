"""An MCP-like server: answers every request line with its id; `die` kills its parent before it reads on.

Run by path, with the standard library only.  With a file as argument it writes down how many bytes it has read.
"""

import os
import re
import signal
import sys

ID = re.compile(rb'"id":(\d+)')


def main() -> None:
    fd = os.open(sys.argv[1], os.O_WRONLY | os.O_CREAT, 0o600) if len(sys.argv) > 1 else -1
    read_bytes = 0
    while line := sys.stdin.buffer.readline():
        read_bytes += len(line)
        if fd >= 0:
            os.pwrite(fd, b"%20d" % read_bytes, 0)
        if b'"method":"die"' in line:
            os.kill(os.getppid(), signal.SIGKILL)
        found = ID.search(line)
        if found:
            answer = b'{"result":{},"jsonrpc":"2.0","id":%b}\n' % found.group(1)
            sys.stdout.buffer.write(answer)
            sys.stdout.buffer.flush()


main()
