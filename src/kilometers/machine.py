"""Which machine, boot and container this is: who can see whose journal."""

import os
import sys

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
    """Return what changes with every boot of this machine; "" where the OS has no such thing (Windows)."""
    if sys.platform == "darwin":
        return system_value("kern.bootsessionuuid")
    if sys.platform == "win32":
        return ""
    try:
        with open("/proc/sys/kernel/random/boot_id", encoding="ascii") as file:
            return file.read().strip()
    except OSError:
        return ""


def machine_id() -> str:
    """Return what tells this machine from another; "" where the OS has no such thing."""
    if sys.platform == "win32":
        return machine_guid()
    if sys.platform == "darwin":
        return host_uuid()
    for path in ("/etc/machine-id", "/var/lib/dbus/machine-id"):
        try:
            with open(path, encoding="ascii") as file:
                return file.read().strip()
        except OSError:
            continue
    return ""


if sys.platform == "win32":

    def machine_guid() -> str:
        """Return the id that Windows' installation gave this machine."""
        import winreg

        try:
            with winreg.OpenKey(winreg.HKEY_LOCAL_MACHINE, "SOFTWARE\\Microsoft\\Cryptography") as key:
                return str(winreg.QueryValueEx(key, "MachineGuid")[0])
        except OSError:
            return ""


if sys.platform == "darwin":

    def system_value(name: str) -> str:
        """Return a text of sysctl(3); "" where there is none of this name."""
        import ctypes

        answer = ctypes.create_string_buffer(256)
        size = ctypes.c_size_t(len(answer))
        if ctypes.CDLL(None).sysctlbyname(name.encode(), answer, ctypes.byref(size), None, ctypes.c_size_t(0)) != 0:
            return ""
        return answer.value.decode("ascii", "replace")

    def host_uuid() -> str:
        """Return the id of this machine's hardware: gethostuuid(2)."""
        import ctypes

        answer = ctypes.create_string_buffer(16)
        no_wait = bytes(16)  # struct timespec
        return answer.raw.hex() if ctypes.CDLL(None).gethostuuid(answer, no_wait) == 0 else ""
