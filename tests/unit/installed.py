"""Packages that are installed as far as their metadata goes, and builds that Nuitka would have reported."""

import platform
from pathlib import Path

MIT_TEXT = "Copyright (c) 2026 Somebody\n\nPermission is hereby granted to everybody.\n"


def install(folder: Path, name: str, *fields: str, files: dict[str, str] | None = None) -> Path:
    """Write a package's metadata and files below *folder*, as pip would; return *folder*."""
    information = f"{name.replace('-', '_')}-1.2.dist-info"
    metadata = "\n".join(["Metadata-Version: 2.4", f"Name: {name}", "Version: 1.2", *fields]) + "\n"
    content = {
        f"{information}/METADATA": metadata,
        **{path.format(information): text for path, text in (files or {}).items()},
    }
    for path, text in content.items():
        (folder / path).parent.mkdir(parents=True, exist_ok=True)
        (folder / path).write_text(text, encoding="utf-8")
    record = "".join(f"{path},,\n" for path in [*content, f"{information}/RECORD"])
    (folder / information / "RECORD").write_text(record)
    return folder


def install_nuitka(folder: Path) -> None:
    """Install what the notices say of Nuitka's run-time code."""
    texts = {"{}/licenses/LICENSE-RUNTIME.txt": "The exception.\n", "{}/licenses/LICENSE.txt": "The compiler's own.\n"}
    install(folder, "nuitka", "License: GNU Affero General Public License v3", files=texts)


def report(folder: Path, *elements: str, python: str = "", completion: str = "yes") -> Path:
    """Write Nuitka's report of a build with these elements; return its path."""
    path = folder / "report.xml"
    path.write_text(
        f'<nuitka-compilation-report nuitka_version="4.3.3" mode="standalone" completion="{completion}">'
        + "".join(elements)
        + f'<python python_version="{python or platform.python_version()}" /></nuitka-compilation-report>'
    )
    return path


def module(name: str, distribution: str = "", kind: str = "CompiledPythonModule") -> str:
    """Return a module's element."""
    return f'<module name="{name}" kind="{kind}" distribution="{distribution}" />'


def versions(*names: str) -> str:
    """Return the element that holds the versions of all packages."""
    return (
        "<distributions>"
        + "".join(f'<distribution name="{name}" version="1.2" />' for name in names)
        + "</distributions>"
    )


def binary(tag: str, path: str, source: str, *, ignored: str = "no") -> str:
    """Return the element of a module or library that is a file; *tag* is included_dll or included_extension."""
    return f'<{tag} dest_path="{path}" source_path="{source}" ignored="{ignored}" />'
