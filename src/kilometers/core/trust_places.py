"""Where systems keep the certificates of the authorities that they trust, as their makers say it.

    Linux, other Unix   https://go.dev/src/crypto/x509/root_linux.go, root_bsd.go and root_solaris.go beside it, and
                        https://github.com/alexcrichton/openssl-probe/blob/master/src/lib.rs
    Termux              https://github.com/termux/termux-packages, package ca-certificates
    macOS               /etc/ssl/cert.pem comes with it; Homebrew's ca-certificates adds what the keychain trusts
    Windows             no file: https://docs.python.org/3/library/ssl.html#ssl.enum_certificates

A native km carries an OpenSSL whose own places are those of the machine that built it: they are never asked.
Pure: trust.py looks which of the places are there.
"""

from typing import Literal

import msgspec

SYSTEM = "system"
WINDOWS_STORE = "the Windows certificate store"


class Place(msgspec.Struct, frozen=True):
    """Where certificates may be."""

    kind: Literal["file", "folder", "store"]
    """A PEM file; a folder of PEM files named by the hash of their subject (openssl-rehash(1)); Windows' own store."""
    path: str
    source: str = SYSTEM
    """Who says so: `system`, the name of a variable, `certifi`."""


UNIX_FILES = (
    "/etc/ssl/certs/ca-certificates.crt",  # Debian, Ubuntu, Arch, Gentoo, Alpine, Void, NixOS, OpenWrt, SmartOS
    "/etc/pki/tls/certs/ca-bundle.crt",  # Fedora, RHEL
    "/etc/ssl/ca-bundle.pem",  # SUSE
    "/etc/pki/tls/cacert.pem",  # OpenELEC
    "/etc/pki/ca-trust/extracted/pem/tls-ca-bundle.pem",  # Fedora, RHEL from 7
    "/etc/ssl/cert.pem",  # Alpine, OpenBSD, FreeBSD
    "/usr/local/etc/ssl/cert.pem",  # FreeBSD's ports
    "/usr/local/share/certs/ca-root-nss.crt",  # the same, DragonFly
    "/etc/openssl/certs/ca-certificates.crt",  # NetBSD
    "/etc/certs/ca-certificates.crt",  # Solaris
    "/etc/ssl/cacert.pem",  # OmniOS
    "/data/data/com.termux/files/usr/etc/tls/cert.pem",  # Termux
)
UNIX_FOLDERS = (
    "/etc/ssl/certs",  # most; FreeBSD from 12.2
    "/etc/pki/tls/certs",  # Fedora, RHEL
    "/etc/openssl/certs",  # NetBSD, Solaris
)
MACOS_FILES = (
    "/etc/ssl/cert.pem",
    "/private/etc/ssl/cert.pem",
    "/opt/homebrew/etc/ca-certificates/cert.pem",  # Homebrew on Arm
    "/usr/local/etc/ca-certificates/cert.pem",  # on Intel
    "/opt/local/share/curl/curl-ca-bundle.crt",  # MacPorts
)


def trust_places(platform: str) -> tuple[Place, ...]:
    """Return where to look on a *platform* (sys.platform); the first that holds certificates counts."""
    if platform == "win32":
        return (Place("store", WINDOWS_STORE),)
    if platform == "darwin":
        return tuple(Place("file", path) for path in MACOS_FILES)
    files = tuple(Place("file", path) for path in UNIX_FILES)
    return files + tuple(Place("folder", path) for path in UNIX_FOLDERS)
