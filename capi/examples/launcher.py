#!/usr/bin/env python3
# SPDX-License-Identifier: MIT OR Apache-2.0
"""Runs a program confined, by ctypes, and prints how it ended and what runs meanwhile.

    launcher.py LIBRARY HELPER USER PROGRAM [ARGUMENT...]
"""

import ctypes
import json
import os
import sys

Strings = ctypes.POINTER(ctypes.c_char_p)


class LaunchOptions(ctypes.Structure):
    """struct xr_launch_options: the size says how much of it there is."""

    _fields_ = [
        ("size", ctypes.c_size_t),
        ("domid", ctypes.c_uint32),
        ("devices", ctypes.c_uint32),
        ("flags", ctypes.c_uint32),
        ("grant_quota", ctypes.c_uint32),
        ("program", ctypes.c_char_p),
        ("arguments", Strings),
        ("instance", ctypes.c_char_p),
        ("profile", ctypes.c_char_p),
        ("without", Strings),
        ("require", Strings),
        ("user", ctypes.c_char_p),
        ("read_only", Strings),
        ("read_write", Strings),
        ("environment", Strings),
        ("limits", Strings),
        ("cgroup_limits", Strings),
        ("fds", ctypes.c_void_p),
        ("fd_count", ctypes.c_size_t),
        ("tmp", ctypes.c_uint64),
        ("seal_after", ctypes.c_int64),
        ("helper", ctypes.c_char_p),
    ]


class Ended(ctypes.Structure):
    """struct xr_ended."""

    _fields_ = [("status", ctypes.c_int), ("signal", ctypes.c_int)]


LINKED = 1


def strings(texts):
    """A list that ends with NULL."""
    return (ctypes.c_char_p * (len(texts) + 1))(*[text.encode() for text in texts], None)


class Library:
    """libxenrestrict: errors are exceptions, with the library's reason."""

    def __init__(self, path):
        self.c = ctypes.CDLL(path)
        self.c.xr_error.restype = ctypes.c_char_p
        self.c.xr_version.restype = ctypes.c_char_p
        self.libc = ctypes.CDLL(None)
        self.libc.free.argtypes = [ctypes.c_void_p]
        if self.c.xr_abi_version() != 1:
            raise RuntimeError("another version of the ABI")

    def __getattr__(self, name):
        def call(*arguments):
            result = getattr(self.c, "xr_" + name)(*arguments)
            if result < 0:
                raise OSError(-result, self.c.xr_error().decode())
            return result

        return call

    def running(self):
        """What was started confined, and runs now."""
        text = ctypes.c_void_p()
        self.list(ctypes.byref(text))
        try:
            return json.loads(ctypes.string_at(text.value))
        finally:
            self.libc.free(text)


def main(path, helper, user, program, *arguments):
    library = Library(path)
    options = LaunchOptions(
        size=ctypes.sizeof(LaunchOptions),
        flags=LINKED,
        program=program.encode(),
        arguments=strings(arguments),
        instance=f"python-{os.getpid()}".encode(),
        without=strings(["cgroup"]),
        user=user.encode(),
        helper=helper.encode(),
    )
    handle = ctypes.c_void_p()
    library.launch(ctypes.byref(options), ctypes.byref(handle))
    pid = library.program_pid(handle)
    names = [record["instance"] for record in library.running() if record["pid"] == pid]
    library.program_signal(handle, 15)
    ended = Ended()
    library.program_wait(handle, 1, ctypes.byref(ended))
    library.close(handle)
    try:
        library.close(handle)
    except OSError as error:
        print(f"closed twice: {error.strerror}")
    print(f"{' '.join(names)} ended: status {ended.status}, signal {ended.signal}")


if __name__ == "__main__":
    main(*sys.argv[1:])
