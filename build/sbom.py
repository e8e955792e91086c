"""Write the bill of materials of a native build: CycloneDX 1.6, JSON, only what is really in it.

    python build/sbom.py REPORT FOLDER OUTPUT

What build/notices.py finds, each with its licence; the executable and every module and library that is a file, with its
SHA-256; who needs whom, from the packages' metadata.  The same build gives the same bytes: the serial number is a hash
of the content, the time SOURCE_DATE_EPOCH.
"""

import hashlib
import re
import sys
from datetime import UTC, datetime
from importlib.metadata import distribution
from pathlib import Path
from uuid import NAMESPACE_URL, UUID, uuid5

from cyclonedx.model import ExternalReference, ExternalReferenceType, HashAlgorithm, HashType, XsUri
from cyclonedx.model.bom import Bom, BomMetaData
from cyclonedx.model.bom_ref import BomRef
from cyclonedx.model.component import Component as Listed
from cyclonedx.model.component import ComponentType
from cyclonedx.model.dependency import Dependency
from cyclonedx.model.license import LicenseExpression
from cyclonedx.output.json import JsonV1Dot6
from packageurl import PackageURL

import native_parts
from archive import source_date
from build_report import BuildReport, read_report
from kilometers import __version__
from kilometers.licences import Component, normal_name, required_names
from notices import CannotShipError, find_components

KM = "km"
PYTHON = "cpython"
NO_SERIAL = UUID(int=0)


def reference(name: str) -> str:
    """Return by which name a component is referred to."""
    return normal_name(re.sub(r"[^\w.-]+", "-", name).strip("-"))


def list_component(component: Component, *, is_package: bool) -> Listed:
    """Return how something that others wrote is listed."""
    name = reference(component.name)
    homepage = ExternalReference(type=ExternalReferenceType.WEBSITE, url=XsUri(component.homepage))
    return Listed(
        bom_ref=name,
        type=ComponentType.LIBRARY,
        name=component.name,
        version=component.version or None,
        purl=PackageURL("pypi" if is_package else "generic", name=name, version=component.version or None),
        licenses=[LicenseExpression(component.licence)],
        external_references=[homepage] if component.homepage else [],
    )


def list_file(path: Path, folder: Path) -> Listed:
    """Return how a file of the build is listed."""
    name = path.relative_to(folder).as_posix()
    content = HashType(alg=HashAlgorithm.SHA_256, content=hashlib.sha256(path.read_bytes()).hexdigest())
    return Listed(bom_ref=f"file:{name}", type=ComponentType.FILE, name=name, hashes=[content])


def find_binaries(report: BuildReport, folder: Path) -> list[Path]:
    """Return the executable, and all modules and libraries that are files."""
    names = [file.path for file in report.files if file.kind != "data"]
    return [path for path in (folder / name for name in ("km", "km.exe", *names)) if path.exists()]


def find_needs(report: BuildReport, components: list[Component]) -> dict[str, set[str]]:
    """Return which components need which, by their references."""
    listed = {reference(component.name) for component in components}
    packages = {normal_name(name): distribution(name) for name in report.distributions}
    parts = native_parts.find_parts(report, native_parts.built_in_modules())
    needs = {
        name: ({*required_names(package)} & listed) | {reference(part.name) for part in parts if name in part.modules}
        for name, package in packages.items()
    }
    needs[PYTHON] = {reference(part.name) for part in parts if not part.modules & packages.keys()}
    needs[KM] = needs.pop("kilometers", set()) | (listed & {PYTHON, reference(native_parts.NUITKA)})
    return needs


def make_bom(report: BuildReport, components: list[Component], folder: Path, *, at: datetime) -> Bom:
    """Return the bill of materials of the build in *folder*, without its serial number."""
    packages = {normal_name(name) for name in report.distributions}
    km = Listed(
        bom_ref=KM,
        type=ComponentType.APPLICATION,
        name=KM,
        version=__version__,
        purl=PackageURL("generic", name="kilometers", version=__version__),
        licenses=[LicenseExpression("Apache-2.0")],
    )
    listed = [list_component(each, is_package=reference(each.name) in packages) for each in components]
    files = [list_file(path, folder) for path in find_binaries(report, folder)]
    needs = find_needs(report, components)
    return Bom(
        serial_number=NO_SERIAL,
        metadata=BomMetaData(component=km, timestamp=at),
        components=[*listed, *files],
        dependencies=[
            Dependency(BomRef(name), [Dependency(BomRef(needed)) for needed in sorted(needs[name])])
            for name in sorted(needs)
        ],
    )


def draw(bom: Bom) -> str:
    """Return the bill as JSON, with a serial number that is a hash of all the rest."""
    bom.serial_number = uuid5(NAMESPACE_URL, JsonV1Dot6(bom).output_as_string())
    return JsonV1Dot6(bom).output_as_string(indent=2) + "\n"


def write_sbom(report_path: Path, folder: Path, output: Path) -> None:
    """Write the bill of materials of the build in *folder*."""
    report = read_report(report_path)
    at = datetime.fromtimestamp(source_date(), UTC)
    bom = make_bom(report, find_components(report), folder, at=at)
    output.write_bytes(draw(bom).encode())


def main(report: str, folder: str, output: str) -> int:
    """Write the bill; return the exit status."""
    try:
        write_sbom(Path(report), Path(folder), Path(output))
    except CannotShipError as error:
        print(f"sbom: {error}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
