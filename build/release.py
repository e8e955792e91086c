"""What a release asks of the repository, and what it says.

python build/release.py check TAG      the tag is v<version>, and CHANGELOG.md has its section
python build/release.py notes          prints that section
"""

import re
import sys
from pathlib import Path

from targets import ROOT, TARGETS, read_version, release_name

CHANGELOG = ROOT / "CHANGELOG.md"


def find_notes(changelog: str, version: str) -> str | None:
    """Return what the changelog says of a version; None: it has no section, or an empty one."""
    section = rf"^## \[{re.escape(version)}\][^\n]*\n(.*?)(?=^## \[|^\[[^\]]+\]: |\Z)"
    found = re.search(section, changelog, re.MULTILINE | re.DOTALL)
    return (found[1].strip() or None) if found else None


def find_objection(tag: str, version: str, changelog: str) -> str | None:
    """Return why there can be no release under this tag, or None."""
    if tag != f"v{version}":
        return f"the tag is {tag}, but src/kilometers/__init__.py says {version}: the tag has to be v{version}"
    if find_notes(changelog, version) is None:
        return f"CHANGELOG.md has no section [{version}]: give what is under [Unreleased] that name and a date"
    return None


def expected_files(version: str) -> set[str]:
    """Return the names of all files of a release but the checksums."""
    files = set()
    for target in TARGETS:
        name = release_name(version, target)
        endings = (".zip", ".exe") if target.startswith("windows-") else (".tar.gz", "")
        files |= {f"{name}{ending}" for ending in (*endings, ".cdx.json")}
    return files


def find_wrong_files(present: set[str], version: str) -> list[str]:
    """Return which files of a release are missing, and which are there and should not be."""
    expected = expected_files(version)
    missing = [f"{name} is missing" for name in sorted(expected - present)]
    return missing + [f"{name} is no file of this release" for name in sorted(present - expected)]


def find_objections(command: str, argument: str) -> list[str]:
    """Return what is wrong with the tag or the folder that *argument* is."""
    if command == "complete":
        return find_wrong_files({path.name for path in Path(argument).iterdir()}, read_version())
    objection = find_objection(argument, read_version(), CHANGELOG.read_text(encoding="utf-8"))
    return [objection] if objection else []


def main(command: str, argument: str = "") -> int:
    """Check, or print the notes; return the exit status."""
    if command == "notes":
        version = read_version()
        print(find_notes(CHANGELOG.read_text(encoding="utf-8"), version) or f"km {version}")
        return 0
    objections = find_objections(command, argument)
    for objection in objections:
        print(f"release: {objection}", file=sys.stderr)
    return 1 if objections else 0


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
