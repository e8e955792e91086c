"""Refuse a run-time dependency whose licence does not allow us to ship it.

    python build/licences.py requirements.txt

What a package states in its metadata counts, in this order: `License-Expression`; else every licence classifier and a
`License` field that is a name and not a whole text.  A package that states nothing that is known here is refused.
"""

import re
import sys
from importlib.metadata import PackageNotFoundError, metadata
from pathlib import Path
from typing import Protocol

from packaging.requirements import Requirement

ALLOWED = {
    "Apache-2.0",
    "BSD-2-Clause",
    "BSD-3-Clause",
    "ISC",
    "LGPL-2.1-only",  # LGPL: as long as the package is shipped unmodified
    "LGPL-2.1-or-later",
    "LGPL-3.0-only",
    "LGPL-3.0-or-later",
    "MIT",
    "MPL-2.0",
    "PSF-2.0",
    "Python-2.0",
}

# Names from before SPDX, in lower case, as classifiers and the old field write them.
OLD_NAMES = {
    "apache 2.0": "Apache-2.0",
    "apache license 2.0": "Apache-2.0",
    "apache license, version 2.0": "Apache-2.0",
    "apache software license": "Apache-2.0",
    "bsd": "BSD-3-Clause",
    "bsd license": "BSD-3-Clause",
    "gnu lesser general public license v2 or later (lgplv2+)": "LGPL-2.1-or-later",
    "gnu lesser general public license v3 (lgplv3)": "LGPL-3.0-only",
    "gnu lesser general public license v3 or later (lgplv3+)": "LGPL-3.0-or-later",
    "gnu library or lesser general public license (lgpl)": "LGPL-2.1-or-later",
    "isc license": "ISC",
    "isc license (iscl)": "ISC",
    "lgplv2.1+": "LGPL-2.1-or-later",
    "lgplv3": "LGPL-3.0-only",
    "mit license": "MIT",
    "mozilla public license 2.0 (mpl 2.0)": "MPL-2.0",
    "psf": "PSF-2.0",
    "python software foundation license": "PSF-2.0",
}

# (package, what it states) → the licence under which we ship it.  Should it state something else, it is refused.
CHOSEN = {
    # Its LICENSE: zlib's terms, or "any OSI approved open source license" instead.  Its SQLite is public domain.
    ("apsw", "any-OSI"): "MIT",
}


class Metadata(Protocol):
    """The part of a package's metadata that is read here."""

    def get_all(self, name: str, failobj: list[str]) -> list[str] | None:
        """Return all values of the field *name*, or *failobj* where there is none."""


def stated_licences(fields: Metadata) -> list[str]:
    """Return every licence that a package states; all of them have to be allowed."""
    expressions = fields.get_all("License-Expression", []) or []
    if expressions:
        return expressions
    classifiers = fields.get_all("Classifier", []) or []
    licences = [name.split(" :: ")[-1] for name in classifiers if name.startswith("License :: ")]
    old_fields = fields.get_all("License", []) or []
    names = [text for text in old_fields if text and text != "UNKNOWN" and "\n" not in text]
    # "OSI Approved" alone is the heading of the list of classifiers and names no licence.
    return [name for name in licences + names if name != "OSI Approved"]


def is_allowed(expression: str) -> bool:
    """Say whether an SPDX expression or an old name leaves us a licence that is allowed.

    AND binds tighter than OR; whatever cannot be read is not allowed.
    """
    if expression in ALLOWED or expression.lower() in OLD_NAMES:
        return True
    innermost = re.search(r"\(([^()]*)\)", expression)
    if innermost:
        value = "MIT" if is_allowed(innermost[1]) else "refused"
        return is_allowed(expression[: innermost.start()] + value + expression[innermost.end() :])
    for operator, decide in ((" OR ", any), (" AND ", all)):
        if operator in expression:
            return decide(is_allowed(part.strip()) for part in expression.split(operator))
    return False


def find_objection(package: str, fields: Metadata) -> str | None:
    """Return why *package* must not be shipped, or None."""
    stated = stated_licences(fields)
    if not stated:
        return f"{package}: states no licence that is known here"
    refused = [name for name in stated if not is_allowed(CHOSEN.get((package, name), name))]
    if refused:
        return f'{package}: "{refused[0]}" is not a licence we may ship'
    return None


def required_packages(locked: str) -> list[str]:
    """Return the packages of a requirements.txt that are for this system."""
    starts = [line.rstrip(" \\") for line in locked.splitlines() if re.match(r"\w", line)]
    requirements = [Requirement(line) for line in starts]
    return [each.name for each in requirements if each.marker is None or each.marker.evaluate()]


def main(path: str) -> int:
    """Check every package in the file at *path*; return the exit status."""
    packages = required_packages(Path(path).read_text(encoding="utf-8"))
    objections = []
    for package in packages:
        try:
            objection = find_objection(package, metadata(package))
        except PackageNotFoundError:
            objection = f"{package}: is not installed, so its licence cannot be read"
        if objection:
            objections.append(objection)
    for objection in objections:
        print(f"licences: {objection}", file=sys.stderr)
    if objections:
        print(f"licences: allowed are {', '.join(sorted(ALLOWED))}", file=sys.stderr)
        return 1
    print(f"licences: all {len(packages)} packages of {path} may be shipped")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1]))
