import os

import pytest


@pytest.mark.parametrize("name", ["HOME", "KILOMETERS_HOME"])
def test_poisoned_home_cannot_be_made(name: str) -> None:
    with pytest.raises(OSError, match="forgot-to-set-its-home"):
        os.makedirs(os.environ[name])
