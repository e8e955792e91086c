import ast
from pathlib import Path

import pytest

import nuitka_options
from targets import ROOT


def flags(platform: str = "linux", *installed: str) -> list[str]:
    return list(nuitka_options.nuitka_options(platform, version="1.2.3", installed=set(installed)))


def test_each_option_has_a_reason_and_stands_once() -> None:
    options = [*nuitka_options.OPTIONS, *nuitka_options.WINDOWS]

    assert all(option.reason for option in options)
    assert len({option.flag for option in options}) == len(options)


def test_data_of_a_package_is_in_as_soon_as_km_has_it() -> None:
    with_them = flags("linux", "stdnum", "phonenumbers", "certifi")

    assert not [flag for flag in flags() if "stdnum" in flag or "phonenumbers" in flag or "certifi" in flag]
    assert {"--include-package-data=certifi", "--include-package-data=stdnum", "--include-package=stdnum"} <= set(
        with_them
    )
    for name in ("carrierdata", "geodata", "tzdata"):
        assert f"--nofollow-import-to=phonenumbers.{name}" in with_them


def test_docstrings_and_asserts_stay() -> None:
    assert not [flag for flag in flags() if "no_docstrings" in flag or "no_asserts" in flag]


@pytest.mark.parametrize(
    ("platform", "mode"), [("linux", "standalone"), ("darwin", "standalone"), ("win32", "onefile")]
)
def test_one_mode_for_each_system(platform: str, mode: str) -> None:
    assert [flag for flag in flags(platform) if flag.startswith("--mode=")] == [f"--mode={mode}"]


def test_windows_gets_version_info() -> None:
    assert {"--file-version=1.2.3", "--product-version=1.2.3"} <= set(flags("win32"))


def test_nothing_is_left_out_that_km_imports() -> None:
    left_out = {flag.removeprefix("--nofollow-import-to=") for flag in flags() if "nofollow" in flag}
    imported = set()
    for file in (ROOT / "src" / "kilometers").rglob("*.py"):
        for node in ast.walk(ast.parse(file.read_text(encoding="utf-8"))):
            if isinstance(node, ast.Import):
                imported |= {alias.name for alias in node.names}
            elif isinstance(node, ast.ImportFrom) and node.module:
                imported |= {node.module, *(f"{node.module}.{alias.name}" for alias in node.names)}

    assert imported & left_out == set()


def test_launcher_is_at_most_150_lines() -> None:
    launcher = Path(nuitka_options.__file__).with_name("launcher.c")

    assert len(launcher.read_text(encoding="utf-8").splitlines()) <= 150
