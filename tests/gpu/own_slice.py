# SPDX-License-Identifier: Apache-2.0
# Copyright the cuslice authors
#
# The slice of this process, as the library tells it (include/cuslice/cuslice.h).
import ctypes


class Slice(ctypes.Structure):
    """struct cuslice_slice"""
    _fields_ = [("quota_bytes", ctypes.c_uint64), ("used_bytes", ctypes.c_uint64),
                ("gpu_time_ns", ctypes.c_uint64), ("share_ppm", ctypes.c_uint32),
                ("reserved", ctypes.c_uint32)]


def read_slice():
    """None where nothing is preloaded."""
    found = Slice()
    try:
        read = ctypes.CDLL(None).cuslice_read
    except AttributeError:
        return None
    return found if read(0, ctypes.byref(found), ctypes.sizeof(found)) == 0 else None
