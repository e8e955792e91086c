"""Unit tests of what only POSIX, or only Linux, has are not collected elsewhere."""

import sys

collect_ignore = []
if sys.platform == "win32":
    collect_ignore += ["test_child.py", "test_journal_writer.py", "test_paths.py", "test_relay.py"]
if sys.platform != "linux":
    collect_ignore += ["test_disk_faults.py"]
