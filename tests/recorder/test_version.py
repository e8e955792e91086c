"""`km version`, and the licences of what km is made of."""

import json
import platform

import pytest

from kilometers import __version__
from km_under_test import IS_NATIVE
from recorder.sessions import Sessions

NEEDED = ("apsw", "click", "msgspec", "rich", "structlog")


@pytest.fixture
def sections(sessions: Sessions) -> dict[str, str]:
    """What `km version --licenses` prints, by the name of what it is about."""
    done = sessions.km("version", "--licenses")
    assert (done.returncode, done.stderr) == (0, b"")
    _, *sections = done.stdout.decode().split("=" * 80 + "\n")
    return {section.partition(" ")[0]: section for section in sections}


def test_version_says_what_km_was_installed_as(sessions: Sessions) -> None:
    facts = json.loads(sessions.km("version", "--json").stdout)
    lines = sessions.km("version").stdout.decode().splitlines()

    assert facts["build"] in ({"native folder", "single file"} if IS_NATIVE else {"Python package"})
    assert lines[0] == f"km {__version__}, {facts['build']}"
    assert lines[1].endswith(f"{platform.system()} {platform.machine()}")


@pytest.mark.parametrize("name", NEEDED)
def test_licence_and_text_of_each_package_are_printed(sections: dict[str, str], name: str) -> None:
    head, _, text = sections[name].partition("-" * 80)

    assert "\nLicence: " in head
    assert "not stated" not in head
    assert "copyright" in text.lower()


def test_tools_that_check_km_are_not_in_it(sections: dict[str, str]) -> None:
    assert not {"kilometers", "pytest", "ruff", "mypy"} & sections.keys()


def test_native_build_names_what_is_no_package_too(sections: dict[str, str]) -> None:
    assert ({"CPython", "Nuitka", "SQLite"} <= sections.keys()) == IS_NATIVE


def test_licences_are_a_text_and_not_json(sessions: Sessions) -> None:
    done = sessions.km("version", "--licenses", "--json")

    assert (done.returncode, done.stdout) == (2, b"")
    assert b"SBOM" in done.stderr
