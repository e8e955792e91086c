"""Whom km trusts, with authorities that are made here and real TLS handshakes."""

import hashlib
import os
import re
import socket
import ssl
import subprocess
import sys
import threading
from contextlib import suppress
from pathlib import Path

import pytest
import trustme
from cryptography import x509

from kilometers.core.trust_places import Place, trust_places
from kilometers.errors import KilometersError
from kilometers.trust import Found, client_context, find_roots

HOST = "api.example"


@pytest.fixture(scope="module")
def authority() -> trustme.CA:
    return trustme.CA()


@pytest.fixture(scope="module")
def other() -> trustme.CA:
    return trustme.CA()


@pytest.fixture
def certificate(tmp_path: Path, authority: trustme.CA) -> Path:
    return write(tmp_path / "authority.pem", authority)


def write(path: Path, *authorities: trustme.CA) -> Path:
    path.write_bytes(b"".join(each.cert_pem.bytes() for each in authorities))
    return path


def write_hashed(folder: Path, authority: trustme.CA) -> Path:
    """X509_NAME_hash(3): SHA-1 of the subject in lower case, without its outer head."""
    names = x509.load_pem_x509_certificate(authority.cert_pem.bytes()).subject
    canonical = x509.Name([x509.NameAttribute(each.oid, str(each.value).lower()) for each in names]).public_bytes()
    folder.mkdir()
    digest = hashlib.sha1(canonical[2:], usedforsecurity=False).digest()
    write(folder / f"{int.from_bytes(digest[:4], 'little'):08x}.0", authority)
    return folder


def shake_hands(
    context: ssl.SSLContext, authority: trustme.CA, *, name: str = HOST, newest: ssl.TLSVersion = ssl.TLSVersion.TLSv1_3
) -> str | None:
    """Speak to a server whose certificate *authority* signed; return the version of TLS."""
    server = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    server.maximum_version = newest
    authority.issue_cert(HOST).configure_cert(server)
    ours, theirs = socket.socketpair()

    def answer() -> None:
        with theirs, suppress(OSError), server.wrap_socket(theirs, server_side=True) as stream:
            stream.recv(1)

    thread = threading.Thread(target=answer)
    thread.start()
    try:
        with ours, context.wrap_socket(ours, server_hostname=name) as stream:
            return stream.version()
    finally:
        thread.join()


def named(variable: str, path: Path | str) -> ssl.SSLContext:
    return client_context(find_roots([], {variable: str(path)}))


def test_server_of_a_trusted_authority_is_spoken_to(certificate: Path, authority: trustme.CA) -> None:
    assert shake_hands(named("SSL_CERT_FILE", certificate), authority) == "TLSv1.3"


def test_authority_in_a_folder_is_trusted(tmp_path: Path, authority: trustme.CA) -> None:
    folder = write_hashed(tmp_path / "certs", authority)

    assert shake_hands(named("SSL_CERT_DIR", folder), authority) == "TLSv1.3"


def test_intermediate_authority_alone_is_trusted(tmp_path: Path, authority: trustme.CA) -> None:
    intermediate = authority.create_child_ca()

    assert shake_hands(named("SSL_CERT_FILE", write(tmp_path / "one.pem", intermediate)), intermediate) == "TLSv1.3"


def test_server_of_another_authority_is_refused(certificate: Path, other: trustme.CA) -> None:
    context = named("SSL_CERT_FILE", certificate)

    with pytest.raises(ssl.SSLCertVerificationError):
        shake_hands(context, other)


def test_server_of_another_name_is_refused(certificate: Path, authority: trustme.CA) -> None:
    context = named("SSL_CERT_FILE", certificate)

    with pytest.raises(ssl.SSLCertVerificationError, match="Hostname mismatch"):
        shake_hands(context, authority, name="other.example")


def test_server_that_speaks_only_older_tls_is_refused(certificate: Path, authority: trustme.CA) -> None:
    context = named("SSL_CERT_FILE", certificate)

    with pytest.raises(ssl.SSLError):
        shake_hands(context, authority, newest=ssl.TLSVersion.TLSv1_2)


def test_nothing_but_what_was_found_is_trusted(certificate: Path) -> None:
    """Neither the system's certificates nor those of the machine that built OpenSSL."""
    context = client_context(find_roots([Place("file", str(certificate))], {}))

    assert len(context.get_ca_certs()) == 1


def test_variables_go_before_the_system_and_are_both_trusted(
    tmp_path: Path, certificate: Path, other: trustme.CA
) -> None:
    folder = write_hashed(tmp_path / "certs", other)
    system = [Place("file", str(write(tmp_path / "system.pem", trustme.CA())))]

    roots = find_roots(system, {"SSL_CERT_FILE": str(certificate), "SSL_CERT_DIR": str(folder)})

    assert roots.found == (
        Found(Place("file", str(certificate), "SSL_CERT_FILE"), 1),
        Found(Place("folder", str(folder), "SSL_CERT_DIR"), 1),
    )
    assert shake_hands(client_context(roots), other) == "TLSv1.3"


def test_empty_variable_is_not_set(certificate: Path) -> None:
    place = Place("file", str(certificate))

    assert find_roots([place], {"SSL_CERT_FILE": "", "SSL_CERT_DIR": ""}).found == (Found(place, 1),)


@pytest.mark.parametrize("variable", ["SSL_CERT_FILE", "SSL_CERT_DIR"])
@pytest.mark.parametrize(
    ("content", "problem"),
    [
        (None, "cannot be read: No such file or directory"),
        (b"", "holds no certificate"),
        (b"-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n", "holds a certificate that cannot be read"),
    ],
)
def test_variable_that_names_no_certificate_is_an_error(
    tmp_path: Path, certificate: Path, variable: str, content: bytes | None, problem: str
) -> None:
    path = tmp_path / "named"
    if variable == "SSL_CERT_DIR" and content is not None:
        path.mkdir()  # what is in it is read by OpenSSL, when it is needed
        (path / "authority.pem").write_bytes(content)
        (path / "0123abcd.r0").touch()  # a list of certificates that are revoked
        problem = "holds no certificate"
    elif content is not None:
        path.write_bytes(content)

    with pytest.raises(KilometersError) as raised:
        find_roots([Place("file", str(certificate))], {variable: str(path)})

    assert raised.value.message == f"{variable} names {path}, which {problem}."
    assert variable in raised.value.hint


def test_variable_that_names_nothing_is_an_error_beside_one_that_does(tmp_path: Path, authority: trustme.CA) -> None:
    folder = write_hashed(tmp_path / "certs", authority)

    with pytest.raises(KilometersError, match="SSL_CERT_FILE"):
        find_roots([], {"SSL_CERT_FILE": str(tmp_path / "gone.pem"), "SSL_CERT_DIR": str(folder)})


def test_folder_that_is_gone_does_not_spoil_the_others(tmp_path: Path, authority: trustme.CA) -> None:
    folder, gone = write_hashed(tmp_path / "certs", authority), tmp_path / "gone"

    roots = find_roots([], {"SSL_CERT_DIR": os.pathsep.join([str(gone), "", str(folder)])})

    assert [found.place.path for found in roots.found] == [str(folder)]
    assert [passed.place.path for passed in roots.passed_over] == [str(gone)]


def test_first_place_that_holds_certificates_counts(tmp_path: Path, authority: trustme.CA, other: trustme.CA) -> None:
    (tmp_path / "empty").mkdir()
    (tmp_path / "words.pem").write_text("words")
    write(tmp_path / "both.pem", authority, other)
    write(tmp_path / "one.pem", other)
    names = [
        ("file", "gone.pem"),
        ("file", "words.pem/x"),
        ("folder", "empty"),
        ("file", "words.pem"),
        ("file", "empty"),
    ]
    names += [("file", "both.pem"), ("file", "one.pem")]
    places = [Place(kind, str(tmp_path / name)) for kind, name in names]

    roots = find_roots(places, {})

    assert roots.found == (Found(places[5], 2),)
    assert [(passed.place, passed.problem.split(":")[0]) for passed in roots.passed_over] == [
        (places[3], "holds no certificate"),
        (places[4], "cannot be read"),
    ]


def test_certificates_that_km_brings_are_the_last_resort(tmp_path: Path) -> None:
    (found,) = find_roots([Place("file", str(tmp_path / "gone.pem"))], {}).found

    assert found.place.source == "certifi"
    assert found.count > 50


def test_this_system_has_certificates() -> None:
    """On each system that the tests run on: its own places, its own store."""
    roots = find_roots(environment={})

    assert sum(found.count for found in roots.found) > 10
    assert client_context(roots).verify_mode is ssl.CERT_REQUIRED


def test_certifi_is_not_imported_before_its_turn(certificate: Path) -> None:
    program = (
        "import sys\nfrom kilometers.core.trust_places import Place\nfrom kilometers.trust import find_roots\n"
        "find_roots([Place('file', sys.argv[1])], {})\nprint('certifi' in sys.modules)\nfind_roots([], {})\n"
        "print('certifi' in sys.modules)\n"
    )
    command = [sys.executable, "-c", program, str(certificate)]
    ran = subprocess.run(command, capture_output=True, text=True, check=True, timeout=60)

    assert ran.stdout.split() == ["False", "True"]


def test_places_of_unix_are_files_and_then_folders() -> None:
    kinds = [place.kind for place in trust_places("linux")]

    assert kinds == sorted(kinds)
    assert trust_places("linux")[0].path == "/etc/ssl/certs/ca-certificates.crt"
    assert trust_places("freebsd14") == trust_places("linux")


@pytest.mark.parametrize("platform", ["linux", "darwin", "win32"])
def test_places_are_the_system_s_own(platform: str) -> None:
    places = trust_places(platform)

    assert len(set(places)) == len(places)
    assert all(place.kind == "store" or re.match("/(etc|private/etc|usr|opt|data)/", place.path) for place in places)
    assert [place.kind for place in places].count("store") == (platform == "win32")
