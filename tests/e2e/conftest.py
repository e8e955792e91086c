"""Homes for tests that run the real km, and no recorder left behind in them."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from relay.wrapped import home_in

pytest.register_assert_rewrite("e2e.checks")  # so that a failing check shows its values


@pytest.fixture
def kilometers_home(tmp_path: Path) -> Iterator[Path]:
    with home_in(tmp_path) as home:
        yield home
