"""The licences of packages, as their metadata states them, and the notices that are drawn of them."""

from email.message import Message
from pathlib import Path

import pytest

from kilometers import licences
from kilometers.errors import KilometersError
from kilometers.licences import Component
from unit.installed import install


@pytest.fixture
def packages(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    folder = tmp_path / "site-packages"
    folder.mkdir()
    monkeypatch.syspath_prepend(folder)
    return folder


def metadata(*fields: tuple[str, str]) -> Message:
    message = Message()
    for name, value in fields:
        message[name] = value
    return message


@pytest.mark.parametrize(
    ("fields", "licence"),
    [
        ([("License-Expression", "MIT OR Apache-2.0")], "MIT OR Apache-2.0"),
        ([("License", "MIT"), ("Classifier", "License :: OSI Approved :: MIT License")], "MIT"),
        (
            [("License", "All\nof it"), ("Classifier", "License :: OSI Approved :: BSD License")],
            "BSD-3-Clause",
        ),
        ([("License", "MIT"), ("Classifier", "License :: OSI Approved :: ISC License (ISCL)")], "ISC AND MIT"),
        ([("License", "Its own")], "Its own"),
        ([], ""),
    ],
)
def test_licence_is_named_as_spdx_does_where_it_is_known(fields: list[tuple[str, str]], licence: str) -> None:
    assert licences.licence_of("anything", metadata(*fields)) == licence


@pytest.mark.parametrize(
    ("fields", "homepage"),
    [
        ([("Home-page", "https://a.example"), ("Project-URL", "Homepage, https://b.example")], "https://a.example"),
        ([("Home-page", "UNKNOWN"), ("Project-URL", "Homepage, https://b.example")], "https://b.example"),
        (
            [("Project-URL", "Changelog, https://a.example"), ("Project-URL", "Source, https://b.example")],
            "https://b.example",
        ),
        ([("Project-URL", "Changelog, https://a.example")], ""),
    ],
)
def test_homepage_is_found_under_its_many_names(fields: list[tuple[str, str]], homepage: str) -> None:
    assert licences.homepage_of(metadata(*fields)) == homepage


def test_what_is_needed_is_found_through_what_needs_it(packages: Path) -> None:
    install(packages, "root", "Requires-Dist: one>=1,<2", "Requires-Dist: not-here ; sys_platform == 'none'")
    install(packages, "one", "Requires-Dist: Two.Two[extra]~=1.0", "Requires-Dist: three; extra == 'more'")
    install(packages, "two-two", "Requires-Dist: one", "Requires-Dist: four; python_version < '3.11'")
    for name in ("three", "four"):
        install(packages, name)

    assert [package.name for package in licences.find_dependencies("root")] == ["one", "two-two"]


def test_texts_are_those_of_all_licence_files_wherever_they_are(packages: Path) -> None:
    files = {
        "{}/licenses/vendored/LICENSE": "3",
        "{}/licenses/NOTICE": "\n2\n\n",
        "{}/COPYING.txt": "1\r\n \r\n1",
        "{}/licenses/README": "no licence",
        "root/LICENSE": "no metadata",
    }
    install(packages, "one", files=files)
    install(packages, "root", "Requires-Dist: one")

    (one,) = licences.find_dependencies("root")

    assert licences.read_component(one).texts == ("1\n\n1", "2", "3")


def test_notices_are_ordered_by_name_and_say_what_is_not_stated() -> None:
    components = [Component(name="B", licence="MIT", texts=("t",)), Component(name="a", version="1", note="n")]

    drawn = licences.draw(components)

    assert drawn.index("\na 1\nLicence: not stated\n\nn\n---") < drawn.index("\nB\nLicence: MIT\n---")
    assert drawn.splitlines()[2:4] == ["  a 1  not stated", "  B    MIT"]
    assert drawn.endswith("\n\nt\n")


def test_notices_that_are_gone_are_said_to_come_with_km(tmp_path: Path) -> None:
    with pytest.raises(KilometersError, match="install it again"):
        licences.read_notices(str(tmp_path))


def test_notices_of_a_native_build_are_the_file_beside_the_program(tmp_path: Path) -> None:
    (tmp_path / "THIRD-PARTY-NOTICES").write_text("Sébastien\n", encoding="utf-8")

    assert licences.read_notices(str(tmp_path)) == "Sébastien\n"
