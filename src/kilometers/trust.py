"""Whom km trusts when it speaks TLS: which certificates of authorities, and where they are.

    SSL_CERT_FILE, SSL_CERT_DIR ──not set──▶ the system's places: core/trust_places.py ──none there──▶ certifi's file

What a variable names is all that is trusted; unlike OpenSSL, km adds nothing to it.  A system's place that is there and
cannot be used is passed over and remembered.  To import this costs what ssl costs: do it where it is needed.
"""

import os
import re
import ssl
import sys
from collections.abc import Iterable, Iterator, Mapping
from itertools import chain

import msgspec

from kilometers.core.trust_places import Place, trust_places
from kilometers.errors import KilometersError

FILE_VARIABLE, FOLDER_VARIABLE = "SSL_CERT_FILE", "SSL_CERT_DIR"  # openssl-env(7)
CERTIFI = "certifi"
HASHED = re.compile(r"[0-9a-f]{8}\.[0-9]+")  # X509_LOOKUP_hash_dir(3)
SERVERS = ssl.Purpose.SERVER_AUTH.oid
PLACES = trust_places(sys.platform)


class NoRoots(OSError):
    """A folder or a store is there, and holds nothing that can be used."""


class PassedOver(msgspec.Struct, frozen=True):
    """A place that cannot be used; *problem* follows its path in a sentence."""

    place: Place
    problem: str


class Found(msgspec.Struct, frozen=True):
    """A place that is used, and how many certificates it holds: 1 or more."""

    place: Place
    count: int


class Roots(msgspec.Struct, frozen=True, kw_only=True):
    """The certificates that are trusted."""

    found: tuple[Found, ...]
    """One; more only where variables name them."""
    passed_over: tuple[PassedOver, ...]


def client_context(roots: Roots) -> ssl.SSLContext:
    """Return what a client speaks TLS 1.3 with: it checks the chain and the host's name against *roots*.

    Not ssl.create_default_context: it adds the places of the machine that built OpenSSL, and from Python 3.13 refuses
    authorities that all else accepts (https://github.com/python/cpython/issues/107361).
    """
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.minimum_version = ssl.TLSVersion.TLSv1_3
    # Who names only an intermediate authority trusts what that one signs.
    context.verify_flags |= ssl.VERIFY_X509_PARTIAL_CHAIN
    for found in roots.found:
        load_roots(context, found.place)
    return context


def find_roots(places: Iterable[Place] = PLACES, environment: Mapping[str, str] = os.environ) -> Roots:
    """Return what is to be trusted.

    Raises KilometersError if what a variable names cannot be used, and if there is nothing anywhere.
    """
    return find_named_roots(environment) or find_first_roots(chain(places, certifi_places()))


def find_named_roots(environment: Mapping[str, str]) -> Roots | None:
    """Return what the variables name; None = they are not set.  Raises KilometersError if one names nothing usable."""
    found: list[Found] = []
    passed_over: list[PassedOver] = []
    for place in named_places(environment):
        try:
            found.append(Found(place, count_roots(place)))
        except OSError as error:
            passed_over.append(PassedOver(place, explain(error)))
    usable = {each.place.source for each in found}
    for passed in passed_over:
        name = passed.place.source
        if name not in usable:
            raise KilometersError(
                f"{name} names {passed.place.path}, which {passed.problem}.",
                f"Name certificates of authorities, or take {name} out of the environment.",
            )
    return Roots(found=tuple(found), passed_over=tuple(passed_over)) if found else None


def named_places(environment: Mapping[str, str]) -> Iterator[Place]:
    """Yield what the variables name."""
    if file := environment.get(FILE_VARIABLE):
        yield Place("file", file, FILE_VARIABLE)
    for folder in environment.get(FOLDER_VARIABLE, "").split(os.pathsep):
        if folder:
            yield Place("folder", folder, FOLDER_VARIABLE)


def find_first_roots(places: Iterable[Place]) -> Roots:
    """Return the first place that holds certificates."""
    passed_over: list[PassedOver] = []
    for place in places:
        try:
            return Roots(found=(Found(place, count_roots(place)),), passed_over=tuple(passed_over))
        except (FileNotFoundError, NotADirectoryError, NoRoots):
            continue  # many a system has the folder, and something else in it
        except OSError as error:
            passed_over.append(PassedOver(place, explain(error)))
    raise KilometersError(
        "Neither this system nor km holds certificates of authorities.",
        f"Install your system's package ca-certificates, or set {FILE_VARIABLE} to a PEM file of them.",
    )


def certifi_places() -> Iterator[Place]:
    """Yield the place of the certificates that km brings; certifi is imported only when it is its turn."""
    import certifi

    yield Place("file", certifi.where(), CERTIFI)


def count_roots(place: Place) -> int:
    """Return how many certificates a place holds, never 0.  Raises OSError."""
    return load_roots(ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT), place)


def load_roots(context: ssl.SSLContext, place: Place) -> int:
    """Make *context* trust what a place holds; return how many certificates, never 0.  Raises OSError."""
    if place.kind == "folder":
        count = sum(bool(HASHED.fullmatch(name)) for name in os.listdir(place.path))
        context.load_verify_locations(capath=place.path)  # OpenSSL reads each when a chain ends in it
    elif place.kind == "file":
        context.load_verify_locations(cafile=place.path)
        count = context.cert_store_stats()["x509"]
    else:
        load_windows_roots(context)
        count = context.cert_store_stats()["x509"]
    if not count:
        raise NoRoots
    return count


def load_windows_roots(context: ssl.SSLContext) -> None:
    """Make *context* trust what Windows trusts for servers.

    Not SSLContext.load_default_certs: it adds the places of the machine that built OpenSSL, folders that here anybody
    might make; and up to Python 3.11 one malformed certificate makes it fail (https://github.com/python/cpython/pull/91740).
    """
    if sys.platform != "win32":
        return
    # Not the store "CA", of intermediate authorities: programs add to it without asking the user.
    for certificate, encoding, purposes in ssl.enum_certificates("ROOT"):
        if encoding == "x509_asn" and (isinstance(purposes, bool) or SERVERS in purposes):
            try:
                context.load_verify_locations(cadata=certificate)
            except ssl.SSLError:
                continue


def explain(error: OSError) -> str:
    """Return what is wrong with a place, to follow its path in a sentence."""
    if isinstance(error, NoRoots) or getattr(error, "reason", None) == "NO_CERTIFICATE_OR_CRL_FOUND":
        return "holds no certificate"
    if isinstance(error, ssl.SSLError):
        return "holds a certificate that cannot be read"
    return f"cannot be read: {error.strerror}"
