"""Write THIRD-PARTY-NOTICES for a native build: the licences of what is really in it.

    python build/notices.py REPORT FOLDER

REPORT is Nuitka's compilation report, FOLDER the folder it made; run by the Python that ran Nuitka.  Nothing is written
if the folder holds what nobody accounts for, what we must not ship, or what has no text.
"""

import platform
import sys
from importlib.metadata import Distribution, PackageNotFoundError, distribution, distributions
from pathlib import Path

import msgspec

import native_parts
from build_report import BuildReport, File, read_report
from kilometers import licences
from kilometers.licences import Component
from licences import find_objection

# What build/ itself puts into the folder.
OURS = {"LICENSE", "README.md", licences.FILE, "km", "km.exe"}
SOURCE_NOTE = "Shipped unmodified: its homepage offers the source code of {name} {version}."
# What licences ask us to say, by what is in their names.
NOTES = {
    "LGPL": f"{SOURCE_NOTE}\n"
    "You may use a modified one instead: km's own source code and the scripts that build it are published, and build\n"
    "km with the version that is installed; where the folder of a native build holds it as files, replace those.",
    "MPL": SOURCE_NOTE,
}


class CannotShipError(Exception):
    """A build that must not be passed on: why, one reason a line."""


def find_components(report: BuildReport) -> list[Component]:
    """Return everything in the build that others wrote; CannotShipError where something must not be in it."""
    packages = find_packages(report)
    problems = [*find_strange_libraries(report, packages), *find_refused_packages(packages)]
    modules = report.modules | native_parts.built_in_modules()
    problems += native_parts.find_refused(modules, editline=native_parts.has_editline())
    components = [
        *map(read_package, packages),
        *map(native_parts.read_part, native_parts.find_parts(report, native_parts.built_in_modules())),
        native_parts.read_python(),
        native_parts.read_nuitka(),
    ]
    problems += [f"{component.name}: has no licence text" for component in components if not any(component.texts)]
    if problems:
        raise CannotShipError("\n".join(problems))
    return components


def find_packages(report: BuildReport) -> list[Distribution]:
    """Return the installed packages of which a module or a file is in the build, without km itself."""
    owners = {owner.name for owner in distributions() for file in report.files if owns(owner, file)}
    names = (owners | report.distributions.keys()) - {"kilometers"}
    try:
        return [distribution(name) for name in sorted(names, key=str.lower)]
    except PackageNotFoundError as error:
        raise CannotShipError(f"{error.name} is in the build, but not installed here") from error


def owns(package: Distribution, file: File) -> bool:
    """Whether a file of the build was taken from a package."""
    inside = file.source.rpartition("/site-packages/")[2]
    return inside != file.source and any(path.as_posix() == inside for path in package.files or [])


def find_strange_libraries(report: BuildReport, packages: list[Distribution]) -> list[str]:
    """Return why shared libraries must not be shipped: nobody says what they are."""
    libraries = [
        file for file in report.files if file.kind == "library" and not any(owns(each, file) for each in packages)
    ]
    names = [file.path.rpartition("/")[2] for file in libraries]
    return [
        f"{name}: a library that is not in build/native_parts.py"
        for name in names
        if not native_parts.find_part(name) and not native_parts.is_python(name)
    ]


def find_refused_packages(packages: list[Distribution]) -> list[str]:
    """Return why packages must not be shipped."""
    objections = [find_objection(package.name, package.metadata) for package in packages]
    return [objection for objection in objections if objection]


def find_strange_files(report: BuildReport, folder: Path) -> list[str]:
    """Return which files are in the folder of a build, and neither in its report nor ours."""
    known = OURS | {file.path for file in report.files}
    paths = sorted(path.relative_to(folder).as_posix() for path in folder.rglob("*") if not path.is_dir())
    return [f"{path}: in the folder, but not in the build's report" for path in paths if path not in known]


def read_package(package: Distribution) -> Component:
    """Return a package with its texts, and with what its licence asks us to say."""
    component = licences.read_component(package)
    notes = [note for family, note in NOTES.items() if family in component.licence]
    note = "\n".join(notes).format(name=component.name, version=component.version)
    return msgspec.structs.replace(component, note=note)


def write_notices(report_path: Path, folder: Path) -> list[Component]:
    """Write the notices into the folder of a build and return what they name.

    CannotShipError where the build must not be passed on.
    """
    report = read_report(report_path)
    if report.python_version != platform.python_version():
        raise CannotShipError(f"built by Python {report.python_version}, but this is {platform.python_version()}")
    if strange := find_strange_files(report, folder):
        raise CannotShipError("\n".join(strange))
    components = find_components(report)
    (folder / licences.FILE).write_bytes(licences.draw(components).encode())
    return components


def main(report: str, folder: str) -> int:
    """Write the notices; return the exit status."""
    try:
        components = write_notices(Path(report), Path(folder))
    except (CannotShipError, ValueError) as error:
        for line in str(error).splitlines():
            print(f"notices: {line}", file=sys.stderr)
        return 1
    print(f"notices: {len(components)} components in {Path(folder) / licences.FILE}")
    return 0


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
