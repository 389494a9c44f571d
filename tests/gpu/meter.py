# SPDX-License-Identifier: Apache-2.0
# Copyright the cuslice authors
#
# How much of a GPU's time was used, told by somebody else than the library: NVML on a real machine,
# the machine itself on simgpu. Counts all processes, so the GPU has to be ours. As a program,
# `meter.py UUID` answers each line of its input with the bytes that are used of the device.
import ctypes
import json
import sys
import time

GPM_GRAPHICS_UTIL = 1     # NVML_GPM_METRIC_GRAPHICS_UTIL: part of the time in which it was active
UTILIZATION_SAMPLES = 1   # NVML_GPU_UTILIZATION_SAMPLES
CLOCK_SM = 1              # NVML_CLOCK_SM


class GpmMetric(ctypes.Structure):
    """nvmlGpmMetric_t"""
    _fields_ = [("id", ctypes.c_uint), ("result", ctypes.c_int), ("value", ctypes.c_double),
                ("short_name", ctypes.c_char_p), ("long_name", ctypes.c_char_p),
                ("unit", ctypes.c_char_p)]


class GpmMetricsGet(ctypes.Structure):
    """nvmlGpmMetricsGet_t, version 1. NVMLs differ in how many metrics there may be; only `count`
    are looked at."""
    _fields_ = [("version", ctypes.c_uint), ("count", ctypes.c_uint),
                ("first", ctypes.c_void_p), ("second", ctypes.c_void_p),
                ("metrics", GpmMetric * 512)]


class GpmSupport(ctypes.Structure):
    """nvmlGpmSupport_t"""
    _fields_ = [("version", ctypes.c_uint), ("is_supported", ctypes.c_uint)]


class Sample(ctypes.Structure):
    """nvmlSample_t; the union's largest members have 8 bytes."""
    _fields_ = [("time_us", ctypes.c_ulonglong), ("value", ctypes.c_ulonglong)]


class Memory(ctypes.Structure):
    """nvmlMemory_t"""
    _fields_ = [("total", ctypes.c_ulonglong), ("free", ctypes.c_ulonglong),
                ("used", ctypes.c_ulonglong)]


class ProcessInfo(ctypes.Structure):
    """nvmlProcessInfo_t of nvmlDeviceGetComputeRunningProcesses_v3"""
    _fields_ = [("pid", ctypes.c_uint), ("used", ctypes.c_ulonglong),
                ("gpu_instance", ctypes.c_uint), ("compute_instance", ctypes.c_uint)]


class NvmlError(Exception):
    pass


class Nvml:
    """The device `uuid`; raises NvmlError, also where there is no NVML or an old one."""

    def __init__(self, uuid, library="libnvidia-ml.so.1"):
        try:
            self.library = ctypes.CDLL(library)
        except OSError as error:
            raise NvmlError(str(error)) from error
        self.call("nvmlInit_v2")
        self.device = ctypes.c_void_p()
        self.call("nvmlDeviceGetHandleByUUID", uuid.encode(), ctypes.byref(self.device))

    def call(self, name, *arguments):
        try:
            function = getattr(self.library, name)
        except AttributeError as error:
            raise NvmlError(f"there is no {name}") from error
        result = function(*arguments)
        if result != 0:
            raise NvmlError(f"{name}: {result}")

    def used_bytes(self):
        memory = Memory()
        self.call("nvmlDeviceGetMemoryInfo", self.device, ctypes.byref(memory))
        return memory.used

    def processes(self):
        """{pid: bytes or None}; of processes in another PID namespace the pids mean nothing."""
        count, room = ctypes.c_uint(64), (ProcessInfo * 64)()
        self.call("nvmlDeviceGetComputeRunningProcesses_v3", self.device, ctypes.byref(count),
                  room)
        return {one.pid: one.used if one.used < 1 << 60 else None for one in room[:count.value]}

    def clock_mhz(self):
        clock = ctypes.c_uint()
        self.call("nvmlDeviceGetClockInfo", self.device, CLOCK_SM, ctypes.byref(clock))
        return clock.value

    def has_gpm(self):
        support = GpmSupport(version=1)
        try:
            self.call("nvmlGpmQueryDeviceSupport", self.device, ctypes.byref(support))
        except NvmlError:
            return False
        return support.is_supported != 0

    def new_gpm_sample(self):
        sample = ctypes.c_void_p()
        self.call("nvmlGpmSampleAlloc", ctypes.byref(sample))
        return sample

    def take_gpm_sample(self, sample):
        self.call("nvmlGpmSampleGet", self.device, sample)

    def gpm_percent(self, first, second):
        request = GpmMetricsGet(version=1, count=1, first=first, second=second)
        request.metrics[0].id = GPM_GRAPHICS_UTIL
        self.call("nvmlGpmMetricsGet", ctypes.byref(request))
        if request.metrics[0].result != 0:
            raise NvmlError(f"the metric: {request.metrics[0].result}")
        return request.metrics[0].value

    def utilization_since(self, time_us):
        """[(microseconds since 1970, percent)] of the driver's own samples."""
        kind, count = ctypes.c_int(), ctypes.c_uint(1024)
        samples = (Sample * 1024)()
        try:
            self.call("nvmlDeviceGetSamples", self.device, UTILIZATION_SAMPLES,
                      ctypes.c_ulonglong(time_us), ctypes.byref(kind), ctypes.byref(count),
                      samples)
        except NvmlError as error:
            if error.args[0].endswith(": 6"):  # NVML_ERROR_NOT_FOUND: no newer ones
                return []
            raise
        return [(one.time_us, one.value & 0xffffffff) for one in samples[:count.value]]


class AccountMeter:
    """simgpu's own account: exact."""
    name = "simgpu's account"

    def __init__(self, fleet):
        self.fleet = fleet

    def busy_ns(self):
        return json.loads(self.fleet.account())["devices"][0]["busy_ns"]

    def start(self):
        self.busy_at_start_ns, self.start_ns = self.busy_ns(), time.monotonic_ns()

    def stop(self):
        busy_ns = self.busy_ns() - self.busy_at_start_ns
        return {"percent": 100 * busy_ns / (time.monotonic_ns() - self.start_ns)}


class GpmMeter:
    """Counters of the GPU itself, over just the time between start and stop."""
    name = "NVML's GPM, graphics utilisation"

    def __init__(self, nvml):
        self.nvml, self.samples = nvml, [nvml.new_gpm_sample() for _ in range(2)]

    def start(self):
        self.nvml.take_gpm_sample(self.samples[0])

    def stop(self):
        self.nvml.take_gpm_sample(self.samples[1])
        return {"percent": self.nvml.gpm_percent(*self.samples)}


class SamplesMeter:
    """The mean of the driver's samples of utilisation: whole percents, several a second. Those at
    both ends may look back to before the start, so they are left out."""
    name = "NVML's utilisation samples"

    def __init__(self, nvml):
        self.nvml = nvml

    def start(self):
        self.start_us = int(time.time() * 1e6)

    def stop(self):
        values = [percent for _, percent in self.nvml.utilization_since(self.start_us)][1:]
        return {"percent": sum(values) / len(values), "samples": len(values)} if values else {}


class NoMeter:
    name = "none"

    def start(self):
        pass

    def stop(self):
        return {}


def works(meter):
    """A meter that fails, or sees nothing, is none."""
    try:
        meter.start()
        time.sleep(0.5)
        return "percent" in meter.stop()
    except (NvmlError, OSError, ValueError):
        return False


def meters_of(fleet, uuid):
    """(the best that there is, all that there are besides)"""
    if fleet.simulated:
        return AccountMeter(fleet), []
    try:
        nvml = Nvml(uuid)
    except NvmlError:
        return NoMeter(), []
    found = [GpmMeter(nvml)] if nvml.has_gpm() else []
    found = [meter for meter in [*found, SamplesMeter(nvml)] if works(meter)]
    return (found[0], found[1:]) if found else (NoMeter(), [])


def answer_each_line(uuid):
    try:
        nvml = Nvml(uuid)
        for _ in sys.stdin:
            print(nvml.used_bytes(), flush=True)
    except NvmlError as error:
        sys.exit(f"NVML: {error}")


if __name__ == "__main__":
    answer_each_line(sys.argv[1])
