"""Nuitka's compilation report: what is really in a native build.

    <nuitka-compilation-report nuitka_version="4.3.3">
      <module name="msgspec._core" kind="PythonExtensionModule" distribution="msgspec">…
      <data_file name="kilometers/schemas.json" source="…" …>
      <included_extension dest_path="msgspec/_core.so" source_path="…/site-packages/msgspec/…" ignored="no" …>
      <included_dll dest_path="libffi.so.8" source_path="/lib/…" ignored="no" …>
      <distributions><distribution name="msgspec" version="0.22.0" …>
      <python python_version="3.13.9" …>

Written by `--report=FILE`; source: nuitka/reports/Reports.py of Nuitka 4.3.
"""

from pathlib import Path
from typing import Literal
from xml.etree import ElementTree as ET

import msgspec

Kind = Literal["data", "module", "library"]

# The report's elements: what they are, and which of their attributes hold the file's name and where it was taken from.
ELEMENTS: dict[str, tuple[Kind, str, str]] = {
    "data_file": ("data", "name", "source"),
    "data_blob": ("data", "name", "-"),
    "data_file_generated": ("data", "name", "-"),
    "included_extension": ("module", "dest_path", "source_path"),
    "included_shlib": ("library", "dest_path", "source_path"),
    "included_dll": ("library", "dest_path", "source_path"),
}


class File(msgspec.Struct, frozen=True, kw_only=True):
    """A file of the build, beside the executable."""

    path: str
    """In the build's folder, with / between folders."""
    source: str
    """Where it was taken from, with / between folders; empty: made by Nuitka."""
    kind: Kind
    """A library is a shared one that is no Python module."""


class BuildReport(msgspec.Struct, frozen=True, kw_only=True):
    """What the report says."""

    nuitka_version: str
    python_version: str
    modules: frozenset[str]
    """Every module in the build, also those inside of the executable."""
    distributions: dict[str, str]
    """Name and version of every package of which a module is in the build."""
    files: tuple[File, ...]


def read_report(path: Path) -> BuildReport:
    """Read the report at *path*; ValueError: the build did not end, or this is none."""
    root = ET.fromstring(path.read_text(encoding="utf-8"))  # noqa: S314  # our own build has written it
    python = root.find("python")
    if root.tag != "nuitka-compilation-report" or root.get("completion") != "yes" or python is None:
        raise ValueError(f"{path} is not the report of a build that was completed")
    modules = root.findall("module")
    names = {name for module in modules for name in module.get("distribution", "").split(",") if name}
    versions = {each.get("name", ""): each.get("version", "") for each in root.iterfind("distributions/distribution")}
    return BuildReport(
        nuitka_version=root.get("nuitka_version", ""),
        python_version=python.get("python_version", ""),
        modules=frozenset(module.get("name", "") for module in modules),
        distributions={name: versions[name] for name in sorted(names)},
        files=tuple(sorted(read_files(root), key=lambda file: file.path)),
    )


def read_files(root: ET.Element) -> list[File]:
    """Return the files that the report names and that were not left out."""
    files = []
    for tag, (kind, path_key, source_key) in ELEMENTS.items():
        for element in root.iterfind(tag):
            if element.get("ignored") != "yes":
                path, source = (element.get(key, "").replace("\\", "/") for key in (path_key, source_key))
                files.append(File(path=path, source=source, kind=kind))
    return files
