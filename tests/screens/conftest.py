"""The store of the golden screens, made once."""

import sys
from pathlib import Path

import pytest

from screens.example import make_example

if sys.platform == "win32":  # no pseudo-terminals
    collect_ignore_glob = ["test_*.py"]


@pytest.fixture(scope="session")
def example(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("screens") / "home"
    make_example(folder)
    return folder
