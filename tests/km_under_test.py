"""Which km the tests run: this Python's, or the native program that the variable KM_UNDER_TEST names."""

import os
import shlex
import sys
from pathlib import Path

_NATIVE = os.environ.get("KM_UNDER_TEST")  # an absolute path
IS_NATIVE = _NATIVE is not None

PROGRAM = _NATIVE or str(Path(sys.executable).with_name("km.exe" if os.name == "nt" else "km"))
"""What a client's configuration would name."""

COMMAND = [_NATIVE] if _NATIVE else [sys.executable, "-E", "-P", "-m", "kilometers"]
"""What km starts itself with."""

TYPED = shlex.join([_NATIVE]) if _NATIVE else f"{shlex.quote(sys.executable)} -m kilometers"
"""How km names itself to a user when it is started with COMMAND."""
