# SPDX-License-Identifier: Apache-2.0
# Copyright the cuslice authors
#
# On how many SMs work runs that goes to the streams of a framework: a kernel beside its own, by the
# driver, in the context that is current. As a program it tells the same of streams of its own.
import ctypes
import os

from framework import say

WORDS = 128
IMAGE = os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "..", "src", "partition",
                     "census.fatbin")
SM_COUNT = 16  # CU_DEVICE_ATTRIBUTE_MULTIPROCESSOR_COUNT
NON_BLOCKING = 1
CYCLES = 20000


class Census:
    """The library's own kernel that notes its SMs."""

    def __init__(self):
        self.driver = ctypes.CDLL("libcuda.so.1")
        module, self.kernel = ctypes.c_void_p(), ctypes.c_void_p()
        self.seen, sms = ctypes.c_uint64(), ctypes.c_int()
        with open(IMAGE, "rb") as file:
            image = file.read()
        self.call("cuDeviceGetAttribute", ctypes.byref(sms), SM_COUNT, 0)
        self.call("cuModuleLoadData", ctypes.byref(module), image)
        self.call("cuModuleGetFunction", ctypes.byref(self.kernel), module, b"cuslice_census")
        self.call("cuMemAlloc_v2", ctypes.byref(self.seen), ctypes.c_size_t(4 * WORDS))
        self.call("cuMemsetD8_v2", self.seen, ctypes.c_ubyte(0), ctypes.c_size_t(4 * WORDS))
        self.call("cuCtxSynchronize")
        self.sms = sms.value

    def call(self, name, *arguments):
        result = getattr(self.driver, name)(*arguments)
        if result != 0:
            raise RuntimeError(f"{name}: {result}")

    def bring(self, stream):
        """stream: its handle as a number; 0 is the default stream."""
        cycles = ctypes.c_uint(CYCLES)
        params = (ctypes.c_void_p * 2)(ctypes.addressof(self.seen), ctypes.addressof(cycles))
        self.call("cuLaunchKernel", self.kernel, 8 * self.sms, 1, 1, 1024, 1, 1, 0,
                  ctypes.c_void_p(stream), params, None)

    def bring_by_new_stream(self):
        stream = ctypes.c_void_p()
        self.call("cuStreamCreate", ctypes.byref(stream), NON_BLOCKING)
        self.bring(stream.value)
        self.call("cuStreamSynchronize", stream)
        self.call("cuStreamDestroy_v2", stream)

    def tell(self):
        words = (ctypes.c_uint32 * WORDS)()
        self.call("cuCtxSynchronize")
        self.call("cuMemcpyDtoH_v2", words, self.seen, ctypes.c_size_t(4 * WORDS))
        say("told", self.sms)
        say("ran_on", sum(bin(word).count("1") for word in words))


def enter_primary_context():
    driver, context = ctypes.CDLL("libcuda.so.1"), ctypes.c_void_p()
    for result in (driver.cuInit(0), driver.cuDevicePrimaryCtxRetain(ctypes.byref(context), 0),
                   driver.cuCtxSetCurrent(context)):
        if result != 0:
            raise RuntimeError(f"the primary context: {result}")


def tell_own():
    enter_primary_context()
    census = Census()
    census.bring(0)
    census.bring_by_new_stream()
    census.tell()


if __name__ == "__main__":
    tell_own()
