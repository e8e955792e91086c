"""Refuse a run-time dependency whose licence does not allow us to ship it.

    python build/licences.py requirements.txt

What a package states counts (kilometers.licences); one that states nothing that is known is refused.
"""

import re
import sys
from importlib.metadata import PackageNotFoundError, metadata
from pathlib import Path

from packaging.requirements import Requirement

from kilometers.licences import CHOSEN, OLD_NAMES, Metadata, stated_licences

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
    "Zlib",
}


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
