"""THIRD-PARTY-NOTICES of a native build: from what a build's report says, with packages that are made up."""

from importlib.metadata import distribution
from pathlib import Path

import pytest

import native_parts
import notices
from build_report import read_report
from unit.installed import MIT_TEXT, binary, install, install_nuitka, module, report, versions

ONE = (module("one", "one"), versions("one"))


@pytest.fixture
def packages(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A site-packages with Nuitka, and with the package "one" under MIT."""
    folder = tmp_path / "site-packages"
    install_nuitka(folder)
    texts = {"{}/licenses/LICENSE": MIT_TEXT, "one/__init__.py": "", "one.libs/libone.so.3": ""}
    install(folder, "one", "License-Expression: MIT", "Project-URL: Homepage, https://one.example", files=texts)
    monkeypatch.syspath_prepend(folder)
    return folder


@pytest.fixture
def build(tmp_path: Path) -> Path:
    """The folder of a build that holds nothing but the program."""
    folder = tmp_path / "build"
    folder.mkdir()
    (folder / "km").touch()
    return folder


def written(build: Path, *elements: str) -> str:
    notices.write_notices(report(build.parent, *elements), build)
    return (build / "THIRD-PARTY-NOTICES").read_text(encoding="utf-8")


def refusal(build: Path, *elements: str) -> str:
    with pytest.raises(notices.CannotShipError) as refused:
        notices.write_notices(report(build.parent, *elements), build)
    assert not (build / "THIRD-PARTY-NOTICES").exists()
    return str(refused.value)


@pytest.mark.usefixtures("packages")
def test_package_in_the_build_is_named_with_licence_home_and_text(build: Path) -> None:
    text = written(build, *ONE)

    assert "one 1.2\nLicence: MIT\nHomepage: https://one.example\n" in text
    assert MIT_TEXT in text


def test_installed_package_that_is_not_in_the_build_is_not_named(packages: Path, build: Path) -> None:
    install(packages, "two", "License-Expression: MIT", files={"{}/LICENSE": "text"})

    assert "two" not in written(build, *ONE)


@pytest.mark.usefixtures("packages")
def test_what_is_no_package_is_named_with_its_text(build: Path) -> None:
    text = written(build, module("_ctypes", kind="PythonExtensionModule"), *ONE)

    assert "PYTHON SOFTWARE FOUNDATION LICENSE" in text
    assert "The exception." in text
    assert "libffi\nLicence: MIT\n" in text
    assert "Anthony Green" in text


@pytest.mark.usefixtures("packages")
def test_compilers_own_licence_is_not_said_to_be_kms(build: Path) -> None:
    assert "The compiler's own." not in written(build, *ONE)


@pytest.mark.usefixtures("packages")
def test_notices_do_not_depend_on_the_order_of_the_report(build: Path) -> None:
    elements = [module("one", "one"), module("_ctypes"), module("_bz2"), versions("one")]

    assert written(build, *elements) == written(build, *reversed(elements))


def test_lgpl_package_comes_with_its_source_and_how_to_replace_it(packages: Path, build: Path) -> None:
    home = "Home-page: https://checks.example"
    install(packages, "checks", "License: LGPLv2.1+", home, files={"{}/COPYING": "GNU LESSER\n"})

    text = written(build, module("checks", "checks"), versions("checks"))

    assert "checks 1.2\nLicence: LGPL-2.1-or-later\nHomepage: https://checks.example\n\nShipped unmodified:" in text
    assert "source code" in text
    assert "replace" in text
    assert "GNU LESSER" in text


@pytest.mark.parametrize(
    ("licence", "note"),
    [("MPL-2.0", "Shipped unmodified: its homepage offers the source code of two 1.2."), ("MIT", "")],
)
def test_source_is_offered_where_the_licence_asks_for_it(packages: Path, licence: str, note: str) -> None:
    install(packages, "two", f"License-Expression: {licence}")

    assert notices.read_package(distribution("two")).note == note


@pytest.mark.usefixtures("packages")
def test_package_of_which_only_a_library_is_in_the_build_is_named(build: Path) -> None:
    (build / "libone.so.3").touch()
    library = binary("included_dll", "libone.so.3", "${sys.prefix}/lib/python3.13/site-packages/one.libs/libone.so.3")

    assert "one 1.2\nLicence: MIT\n" in written(build, library)


@pytest.mark.usefixtures("packages")
def test_library_that_nobody_accounts_for_fails_the_build(build: Path) -> None:
    (build / "libreadline.so.8").touch()

    assert "libreadline.so.8" in refusal(
        build, *ONE, binary("included_dll", "libreadline.so.8", "/lib/libreadline.so.8")
    )


@pytest.mark.usefixtures("packages")
def test_library_that_the_build_left_out_is_no_matter(build: Path) -> None:
    library = binary("included_dll", "libreadline.so.8", "/lib/libreadline.so.8", ignored="yes")

    assert "readline" not in written(build, *ONE, library)


@pytest.mark.usefixtures("packages")
def test_file_that_is_not_in_the_report_fails_the_build(build: Path) -> None:
    (build / "inner").mkdir()
    (build / "inner" / "left.over").touch()

    assert "inner/left.over" in refusal(build, *ONE)


@pytest.mark.usefixtures("packages")
def test_module_that_must_not_be_shipped_fails_the_build(build: Path) -> None:
    assert "module _gdbm" in refusal(build, *ONE, module("_gdbm", kind="PythonExtensionModule"))


def test_readline_is_refused_unless_it_is_libedit() -> None:
    assert native_parts.find_refused(frozenset({"readline"}), editline=True) == []
    assert "GPL" in native_parts.find_refused(frozenset({"readline"}), editline=False)[0]


@pytest.mark.parametrize(
    ("field", "files", "reason"),
    [
        ("License-Expression: GPL-3.0-only", {"{}/LICENSE": "text"}, '"GPL-3.0-only" is not a licence we may ship'),
        ("Summary: says nothing", {"{}/LICENSE": "text"}, "states no licence"),
        ("License-Expression: MIT", {}, "has no licence text"),
        ("License-Expression: MIT", {"{}/LICENSE": "\n"}, "has no licence text"),
        ("License-Expression: MIT", {"two/LICENSE": "text"}, "has no licence text"),
    ],
)
def test_package_that_cannot_be_shipped_fails_the_build(
    packages: Path, build: Path, field: str, files: dict[str, str], reason: str
) -> None:
    install(packages, "two", field, files=files)

    said = refusal(build, module("two", "two"), versions("two"))

    assert said.startswith("two: ")
    assert reason in said


@pytest.mark.usefixtures("packages")
def test_package_that_is_not_installed_fails_the_build(build: Path) -> None:
    assert "three is in the build, but not installed" in refusal(build, module("three", "three"), versions("three"))


@pytest.mark.usefixtures("packages")
def test_build_of_another_python_is_refused(build: Path) -> None:
    path = report(build.parent, *ONE, python="3.2.1")

    with pytest.raises(notices.CannotShipError, match=r"Python 3\.2\.1"):
        notices.write_notices(path, build)


def test_report_of_a_build_that_failed_is_refused(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = report(tmp_path, *ONE, completion="exception")

    assert notices.main(str(path), str(tmp_path)) == 1
    assert "not the report of a build that was completed" in capsys.readouterr().err


def test_windows_paths_of_the_report_are_read(tmp_path: Path) -> None:
    path = report(tmp_path, binary("included_extension", "one\\core.pyd", "C:\\v\\Lib\\site-packages\\one\\core.pyd"))

    (file,) = read_report(path).files

    assert (file.path, file.source) == ("one/core.pyd", "C:/v/Lib/site-packages/one/core.pyd")


@pytest.mark.parametrize(
    ("library", "part"),
    [
        ("libssl.so.3", "OpenSSL"),
        ("libcrypto-3-x64.dll", "OpenSSL"),
        ("libcrypto.3.dylib", "OpenSSL"),
        ("libffi-8.dll", "libffi"),
        ("libffi.so.8", "libffi"),
        ("sqlite3.dll", "SQLite"),
        ("zlib1.dll", "zlib"),
        ("libz.1.dylib", "zlib"),
        ("libncursesw.so.6", "ncurses"),
        ("libtinfo.so.6", "ncurses"),
        ("VCRUNTIME140_1.dll", "Microsoft Visual C++ Runtime"),
    ],
)
def test_library_is_known_by_its_files_names_on_each_system(library: str, part: str) -> None:
    found = native_parts.find_part(library)

    assert found is not None
    assert found.name == part


@pytest.mark.parametrize("library", ["libreadline.so.8", "libzip.so.5", "libgdbm.so.6", "libcrypt.so.1", "libc.so.6"])
def test_other_library_is_not_taken_for_one_that_is_known(library: str) -> None:
    assert native_parts.find_part(library) is None
    assert not native_parts.is_python(library)


def test_each_part_has_a_text_and_each_text_is_a_parts() -> None:
    texts = {path.name: path.read_text(encoding="utf-8") for path in native_parts.TEXTS.iterdir()}

    assert texts.keys() == {part.text for part in native_parts.PARTS}
    assert all(texts.values())


@pytest.mark.usefixtures("packages")
def test_apache_licence_stands_after_its_notice(build: Path) -> None:
    text = written(build, module("_ssl", kind="PythonExtensionModule"), *ONE)

    assert text.index("The OpenSSL Project Authors") < text.index("Apache License\n")
