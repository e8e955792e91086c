"""Unit tests of what only POSIX, or only Linux, has are not collected elsewhere."""

import sys

collect_ignore = []
if sys.platform == "win32":  # names, modes and pipes are POSIX's
    collect_ignore += ["test_child.py", "test_paths.py", "test_relay.py"]
if sys.platform != "linux":  # LD_PRELOAD and /proc/self/fd; files that are unlinked while open
    collect_ignore += ["test_disk_faults.py", "test_journal_writer.py"]
