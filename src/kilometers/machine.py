"""Which machine, boot and container this is: who can see whose journal."""

import os

from kilometers.paths import Home


def memory_identity(home: Home) -> str:
    """Return the devices of the RAM folders' file systems: different in every container."""
    devices = []
    for folder in home.ram_folders():
        try:
            devices.append(str(os.stat(os.path.dirname(folder)).st_dev))
        except OSError:
            devices.append("-")
    return ",".join(devices)


def boot_id() -> str:
    """Return what changes with every boot of this machine; "" where the OS has no such thing."""
    try:
        with open("/proc/sys/kernel/random/boot_id") as file:
            return file.read().strip()
    except OSError:
        return ""


def machine_id() -> str:
    """Return what tells this machine from another; "" where the OS has no such thing."""
    for path in ("/etc/machine-id", "/var/lib/dbus/machine-id"):
        try:
            with open(path) as file:
                return file.read().strip()
        except OSError:
            continue
    return ""
