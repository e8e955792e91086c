from email.message import Message
from pathlib import Path

import pytest

import licences


def metadata(**fields: str | list[str]) -> Message:
    message = Message()
    for name, values in fields.items():
        for value in [values] if isinstance(values, str) else values:
            message[name.replace("_", "-")] = value
    return message


ALLOWED = [
    metadata(License_Expression="MIT"),
    metadata(License_Expression="MIT OR GPL-3.0-only"),
    metadata(License_Expression="Apache-2.0 AND (BSD-3-Clause OR GPL-2.0-only)"),
    metadata(License="MIT"),
    metadata(License="", Classifier="License :: OSI Approved :: BSD License"),
    metadata(License="UNKNOWN", Classifier=["Typing :: Typed", "License :: OSI Approved :: MIT License"]),
    metadata(License="ISC License", Classifier="License :: OSI Approved"),
    metadata(License="Copyright\nall of it", Classifier="License :: OSI Approved :: Apache Software License"),
    metadata(Classifier="License :: OSI Approved :: GNU Lesser General Public License v3 (LGPLv3)"),
]

REFUSED = [
    metadata(),
    metadata(License="UNKNOWN"),
    metadata(License="Copyright\nall of it"),
    metadata(License="any-OSI"),
    metadata(License_Expression="GPL-3.0-only"),
    metadata(License_Expression="AGPL-3.0-or-later OR LicenseRef-Commercial"),
    metadata(License_Expression="MIT AND GPL-2.0-only"),
    metadata(License_Expression="(MIT OR Apache-2.0) AND GPL-2.0-only"),
    metadata(License_Expression="MIT OR"),
    metadata(License_Expression="GPL-2.0-only WITH Classpath-exception-2.0"),
    metadata(License_Expression="GPL-3.0-only", Classifier="License :: OSI Approved :: MIT License"),
    metadata(License="MIT", Classifier="License :: OSI Approved :: GNU General Public License v3 (GPLv3)"),
    metadata(License="GPL", Classifier="License :: OSI Approved :: MIT License"),
    metadata(Classifier="License :: OSI Approved"),
    metadata(Classifier="License :: Other/Proprietary License"),
]


@pytest.mark.parametrize("fields", ALLOWED)
def test_shippable_licence_is_allowed(fields: Message) -> None:
    assert licences.find_objection("anything", fields) is None


@pytest.mark.parametrize("fields", REFUSED)
def test_other_or_unknown_licence_is_refused_by_name(fields: Message) -> None:
    objection = licences.find_objection("some-package", fields)

    assert objection is not None
    assert objection.startswith("some-package: ")


def test_chosen_licence_holds_for_its_package_only() -> None:
    assert licences.find_objection("apsw", metadata(License="any-OSI")) is None
    assert licences.find_objection("apsw", metadata(License="GPL-3.0-only")) is not None


def test_lock_is_read_without_hashes_comments_and_other_systems() -> None:
    locked = """\
apsw==3.54.1.0 \\
    --hash=sha256:00
    # via kilometers (pyproject.toml)
never-here==1 ; sys_platform == 'no-such-system' \\
    --hash=sha256:00
click==8.5.1
"""

    assert licences.required_packages(locked) == ["apsw", "click"]


def test_package_that_is_not_installed_fails_the_check(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    lock = tmp_path / "requirements.txt"
    lock.write_text("no-such-package-here==1\n")

    assert licences.main(str(lock)) == 1
    assert "no-such-package-here" in capsys.readouterr().err
