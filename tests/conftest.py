"""What every test gets: homes that cannot exist, and the two Hypothesis profiles.

`KM_HYPOTHESIS_PROFILE=deep` searches longer.
"""

import os
from pathlib import Path

from hypothesis import settings

# Below a file, so that not even root can make it: a test that forgets to give its process a home fails.
NO_HOME = str(Path(__file__) / "a-test-forgot-to-set-its-home")

for name in list(os.environ):
    if name.startswith(("KILOMETERS_", "XDG_")):
        del os.environ[name]
for name in ("HOME", "USERPROFILE", "APPDATA", "LOCALAPPDATA", "KILOMETERS_HOME"):
    os.environ[name] = NO_HOME

# No deadline: a busy machine is no bug.
settings.register_profile("fast", deadline=None)
settings.register_profile("deep", deadline=None, max_examples=5000)
settings.load_profile(os.environ.get("KM_HYPOTHESIS_PROFILE", "fast"))
