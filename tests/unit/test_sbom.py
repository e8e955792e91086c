"""The bill of materials of a native build."""

import hashlib
import json
from pathlib import Path
from typing import Any

import pytest
from cyclonedx.schema import SchemaVersion
from cyclonedx.validation.json import JsonStrictValidator

import sbom
from unit.installed import binary, install, install_nuitka, module, report, versions

TEXT = {"{}/LICENSE": "text"}


@pytest.fixture
def build(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The folder of a build of km, which needs one, which needs two and, elsewhere, three."""
    packages = tmp_path / "site-packages"
    install_nuitka(packages)
    install(packages, "kilometers", "Requires-Dist: one>=1")
    install(
        packages, "one", "License: MIT", "Requires-Dist: Two-Two; extra != 'x'", "Requires-Dist: two_two", files=TEXT
    )
    install(packages, "Two.Two", "License-Expression: MIT OR Apache-2.0", "Home-page: https://two.example", files=TEXT)
    monkeypatch.syspath_prepend(packages)
    monkeypatch.setenv("SOURCE_DATE_EPOCH", "1790000000")
    folder = tmp_path / "build"
    (folder / "one").mkdir(parents=True)
    for name in ("km", "libffi.so.8", "one/core.so"):
        (folder / name).write_text(name)
    return folder


def written(build: Path, *elements: str) -> bytes:
    path = report(
        build.parent,
        module("kilometers", "kilometers"),
        module("one.core", "one", kind="PythonExtensionModule"),
        module("two", "Two.Two"),
        module("_ctypes", kind="PythonExtensionModule"),
        binary("included_extension", "one/core.so", "/site-packages/one/core.so"),
        binary("included_dll", "libffi.so.8", "/lib/libffi.so.8"),
        versions("kilometers", "one", "Two.Two"),
        *elements,
    )
    output = build.parent / "km.cdx.json"
    assert sbom.main(str(path), str(build), str(output)) == 0
    return output.read_bytes()


def components(bill: bytes) -> dict[str, dict[str, Any]]:
    return {each["bom-ref"]: each for each in json.loads(bill)["components"]}


def needs(bill: bytes) -> dict[str, list[str]]:
    return {each["ref"]: each.get("dependsOn", []) for each in json.loads(bill)["dependencies"]}


def test_bill_is_valid_cyclonedx_1_6(build: Path) -> None:
    problem = JsonStrictValidator(SchemaVersion.V1_6).validate_str(written(build).decode())

    assert problem is None


def test_package_is_listed_with_its_url_version_and_licence(build: Path) -> None:
    two = components(written(build))["two-two"]

    assert (two["name"], two["version"], two["purl"]) == ("Two.Two", "1.2", "pkg:pypi/two-two@1.2")
    assert two["licenses"] == [{"expression": "MIT OR Apache-2.0"}]
    assert two["externalReferences"] == [{"type": "website", "url": "https://two.example"}]


def test_only_what_is_in_the_build_is_listed(build: Path) -> None:
    listed = components(written(build)).keys()

    assert {"one", "two-two", "cpython", "libffi", "nuitka-run-time-code"} <= listed
    assert not {"kilometers", "pytest", "tcl"} & listed


def test_each_program_and_library_is_listed_with_its_hash(build: Path) -> None:
    files = {name: each for name, each in components(written(build)).items() if each["type"] == "file"}

    assert files.keys() == {"file:km", "file:libffi.so.8", "file:one/core.so"}
    assert files["file:one/core.so"]["hashes"] == [
        {"alg": "SHA-256", "content": hashlib.sha256(b"one/core.so").hexdigest()}
    ]


def test_who_needs_whom_is_said(build: Path) -> None:
    graph = needs(written(build))

    assert graph["km"] == ["cpython", "nuitka-run-time-code", "one"]
    assert graph["one"] == ["two-two"]
    assert "libffi" in graph["cpython"]


def test_sqlite_is_needed_by_the_package_that_brings_it(build: Path) -> None:
    install(build.parent / "site-packages", "apsw", "License: any-OSI", files=TEXT)
    elements = module("apsw", "apsw"), versions("apsw")

    graph = needs(written(build, *elements))

    assert graph["apsw"] == ["sqlite"]


def test_same_build_gives_the_same_bytes(build: Path) -> None:
    assert written(build) == written(build)


def test_serial_number_follows_from_the_content(build: Path) -> None:
    before = json.loads(written(build))
    (build / "km").write_text("another")

    after = json.loads(written(build))

    assert before["serialNumber"] != after["serialNumber"]
    assert before["metadata"]["timestamp"] == after["metadata"]["timestamp"] == "2026-09-21T14:13:20+00:00"


def test_build_that_cannot_be_shipped_gets_no_bill(build: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = report(build.parent, module("nowhere", "nowhere"), versions("nowhere"))

    assert sbom.main(str(path), str(build), str(build / "out.json")) == 1
    assert "nowhere" in capsys.readouterr().err
    assert not (build / "out.json").exists()
