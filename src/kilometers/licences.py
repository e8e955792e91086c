"""The licences of what km is made of, and `THIRD-PARTY-NOTICES`, which holds their texts.

    notices := preamble · list · section*
    section := rule · name version · "Licence: …" · "Homepage: …" · note · thin rule · text*

A native build carries the file: build/notices.py makes it of what is really in the build.  From a Python package the
same is made of the metadata of the packages that km needs and that are installed.
"""

import os
import re
import sys
from collections.abc import Iterator
from importlib.metadata import Distribution, PackageNotFoundError, distribution
from typing import Protocol

import msgspec

from kilometers.errors import KilometersError

FILE = "THIRD-PARTY-NOTICES"
WIDTH = 80
NOT_STATED = "not stated"
PREAMBLE = "km is licensed under the Apache License 2.0.  It is made with the following, each under its own licence."

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
# (package, what it states) → the licence under which we ship it.
CHOSEN = {
    # Its LICENSE: zlib's terms, or "any OSI approved open source license" instead.  Its SQLite is public domain.
    ("apsw", "any-OSI"): "Zlib",
}
LICENCE_FILE = re.compile(
    r"[^/]+\.dist-info/(licenses/(.*/)?)?(licen[cs]e|copying|copyright|notice|authors)[^/]*", re.IGNORECASE
)
HOMEPAGE_LABELS = ("homepage", "home", "source", "source code", "repository", "github", "code", "documentation")


class Metadata(Protocol):
    """The part of a package's metadata that is read here."""

    def get_all(self, name: str, failobj: list[str]) -> list[str] | None:
        """Return all values of the field *name*, or *failobj* where there is none."""


class Component(msgspec.Struct, frozen=True, kw_only=True):
    """Something that others wrote."""

    name: str
    version: str = ""
    licence: str = ""
    """An SPDX expression; empty where nobody says."""
    homepage: str = ""
    note: str = ""
    texts: tuple[str, ...] = ()


def stated_licences(fields: Metadata) -> list[str]:
    """Return every licence that a package states; all of them hold.

    In this order: `License-Expression`; else every licence classifier and a `License` field that is a name and not a
    whole text.
    """
    expressions = fields.get_all("License-Expression", []) or []
    if expressions:
        return expressions
    classifiers = fields.get_all("Classifier", []) or []
    licences = [name.split(" :: ")[-1] for name in classifiers if name.startswith("License :: ")]
    old_fields = fields.get_all("License", []) or []
    names = [text for text in old_fields if text and text != "UNKNOWN" and "\n" not in text]
    # "OSI Approved" alone is the heading of the list of classifiers and names no licence.
    return [name for name in licences + names if name != "OSI Approved"]


def licence_of(package: str, fields: Metadata) -> str:
    """Return the licence under which km uses *package*, in SPDX's words where they are known; empty: it states none."""
    stated = [CHOSEN.get((package, name), name) for name in stated_licences(fields)]
    names = sorted({OLD_NAMES.get(name.lower(), name) for name in stated})
    return names[0] if len(names) == 1 else " AND ".join(f"({name})" if " OR " in name else name for name in names)


def homepage_of(fields: Metadata) -> str:
    """Return where a package says it is at home; empty where it does not."""
    old_fields = [url for url in fields.get_all("Home-page", []) or [] if url != "UNKNOWN"]
    if old_fields:
        return old_fields[0]
    pairs = [line.partition(",") for line in fields.get_all("Project-URL", []) or []]
    urls = {label.strip().lower(): url.strip() for label, _, url in pairs}
    return next((urls[label] for label in HOMEPAGE_LABELS if label in urls), "")


def read_component(package: Distribution) -> Component:
    """Return what an installed package says of itself."""
    name, fields = package.name, package.metadata
    return Component(
        name=name,
        version=package.version,
        licence=licence_of(name, fields),
        homepage=homepage_of(fields),
        texts=tuple(read_texts(package)),
    )


def read_texts(package: Distribution) -> Iterator[str]:
    """Yield the texts of a package's licence files, in the order of their names."""
    for path in sorted(package.files or [], key=str):
        if LICENCE_FILE.fullmatch(path.as_posix()):
            yield plain_text(path.read_binary())


def plain_text(content: bytes) -> str:
    """Return a text without what differs from one system to the next: line ends, spaces that nobody sees."""
    return "\n".join(line.rstrip() for line in content.decode("utf-8", "replace").splitlines()).strip("\n")


def normal_name(name: str) -> str:
    """Return a package's name as all its spellings are compared (PEP 503)."""
    return re.sub(r"[-_.]+", "-", name).lower()


def is_for_us(marker: str) -> bool:
    """Whether a requirement is neither an extra's nor one of older Pythons; whether of another system nobody asks."""
    older = re.search(r"python_version\s*<\s*['\"]3\.(\d+)", marker)
    return "extra" not in marker and not (older and sys.version_info >= (3, int(older[1])))


def required_names(package: Distribution) -> list[str]:
    """Return which packages one needs; some may be for other systems."""
    requirements = [line.partition(";") for line in package.requires or []]
    wanted = [name for name, _, marker in requirements if is_for_us(marker)]
    return [normal_name(re.split(r"[^\w.-]", name.strip(), maxsplit=1)[0]) for name in wanted]


def find_dependencies(root: str) -> list[Distribution]:
    """Return the installed packages that *root* needs, and all that they need, by name."""
    found: dict[str, Distribution] = {}
    wanted = [normal_name(root)]
    while wanted:
        name = wanted.pop()
        if name not in found:
            try:
                found[name] = distribution(name)
            except PackageNotFoundError:
                continue  # for another system
            wanted += required_names(found[name])
    found.pop(normal_name(root), None)
    return [found[name] for name in sorted(found)]


def draw_section(component: Component) -> str:
    """Return one component's part of the notices."""
    head = [
        "=" * WIDTH,
        f"{component.name} {component.version}".rstrip(),
        f"Licence: {component.licence or NOT_STATED}",
        *([f"Homepage: {component.homepage}"] if component.homepage else []),
        *(["", component.note] if component.note else []),
        "-" * WIDTH,
    ]
    return "\n".join(head) + "\n\n" + "\n\n".join(component.texts)


def draw(components: list[Component]) -> str:
    """Return the notices, ordered by name."""
    ordered = sorted(components, key=lambda component: component.name.lower())
    titles = [f"{component.name} {component.version}".rstrip() for component in ordered]
    width = max(map(len, titles), default=0)
    lines = [f"  {title:{width}}  {each.licence or NOT_STATED}" for title, each in zip(titles, ordered, strict=True)]
    return "\n\n".join([PREAMBLE, "\n".join(lines), *map(draw_section, ordered)]) + "\n"


def installed_notices() -> str:
    """Return the notices for km as a Python package."""
    return draw([read_component(package) for package in find_dependencies("kilometers")])


def read_notices(folder: str) -> str:
    """Return the notices of the native build in *folder*."""
    path = os.path.join(folder, FILE)
    try:
        with open(path, encoding="utf-8") as file:
            return file.read()
    except OSError as error:
        raise KilometersError(
            f"cannot read {path}: {error.strerror}.", "The file comes with km: install it again."
        ) from error
