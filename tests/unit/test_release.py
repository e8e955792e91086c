"""What a tag has to agree with, and what a release says."""

from pathlib import Path

import pytest

import release
import targets

CHANGELOG = """# Changelog

## [Unreleased]

### Added

- Not yet.

## [1.2.0] - 2026-11-23

### Added

- Everything.

## [1.1.0] - 2026-10-01

## [1.0.0] - 2026-09-01

- The first.

[1.0.0]: https://example.com
"""


def test_notes_are_the_section_of_the_version() -> None:
    assert release.find_notes(CHANGELOG, "1.2.0") == "### Added\n\n- Everything."


def test_links_at_the_end_are_no_notes() -> None:
    assert release.find_notes(CHANGELOG, "1.0.0") == "- The first."


@pytest.mark.parametrize("version", ["1.1.0", "1.2", "1.3.0", "1.2.00"])
def test_version_without_notes_has_none(version: str) -> None:
    assert release.find_notes(CHANGELOG, version) is None


def test_version_is_no_pattern() -> None:
    assert release.find_notes("## [1x2]\n\n- Another's.\n", "1.2") is None


def test_tag_of_the_version_with_notes_is_released() -> None:
    assert release.find_objection("v1.2.0", "1.2.0", CHANGELOG) is None


@pytest.mark.parametrize(
    ("tag", "version", "reason"),
    [("v1.2.1", "1.2.0", "has to be v1.2.0"), ("1.2.0", "1.2.0", "v1.2.0"), ("v1.1.0", "1.1.0", "no section")],
)
def test_other_tag_is_refused_with_what_to_do(tag: str, version: str, reason: str) -> None:
    assert reason in (release.find_objection(tag, version, CHANGELOG) or "")


def test_tag_of_another_version_than_this_trees_fails_the_check(capsys: pytest.CaptureFixture[str]) -> None:
    assert release.main("check", "v0.0.0") == 1
    assert f"v{targets.read_version()}" in capsys.readouterr().err


def test_dry_run_has_notes_before_the_changelog_has(capsys: pytest.CaptureFixture[str]) -> None:
    assert release.main("notes") == 0
    assert capsys.readouterr().out.strip()


def test_release_has_an_archive_a_single_file_and_a_bill_for_each_target() -> None:
    files = release.expected_files("1.2")

    assert len(files) == 3 * len(targets.TARGETS)
    assert {"km-1.2-linux-arm64.tar.gz", "km-1.2-linux-arm64", "km-1.2-linux-arm64.cdx.json"} <= files
    assert {"km-1.2-windows-x64.zip", "km-1.2-windows-x64.exe", "km-1.2-windows-x64.cdx.json"} <= files


def test_release_that_is_complete_passes_and_any_other_does_not(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for name in release.expected_files(targets.read_version()):
        (tmp_path / name).touch()

    complete = release.main("complete", str(tmp_path))
    (tmp_path / f"km-{targets.read_version()}-macos-x64").rename(tmp_path / "km-macos")
    incomplete = release.main("complete", str(tmp_path))

    assert (complete, incomplete) == (0, 1)
    assert capsys.readouterr().err.splitlines() == [
        f"release: km-{targets.read_version()}-macos-x64 is missing",
        "release: km-macos is no file of this release",
    ]
