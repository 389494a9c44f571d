#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
# Copyright the cuslice authors
#
# usage: test_config_program.py CUSLICE LIBRARY SIMGPU [BUSY]
#
# What settings from files do to a program, on a simulated machine: quotas as the program sees them
# in cuDeviceTotalMem, and whether cuInit gives it a GPU. The policy is put over /etc in a mount
# namespace of the program's own; where that is not allowed these tests are skipped. With BUSY, the
# example program, it is only the burst, which is measured in real time.
import os
import pathlib
import shutil
import subprocess
import sys
import tempfile
import unittest

CUSLICE, LIBRARY, SIMGPU = map(pathlib.Path, sys.argv[1:4])
BUSY = sys.argv[4] if len(sys.argv) > 4 else None
NO_DEVICE = 100
GIB = 1 << 30
UUID = "12345678-9abc-4ef0-8234-56789abcdef0"  # of the second device
PROGRAM = """
import ctypes
cuda = ctypes.CDLL("libcuda.so.1")
print(cuda.cuInit(0))
for device in range(2):
    size = ctypes.c_size_t()
    cuda.cuDeviceTotalMem_v2(ctypes.byref(size), device)
    print(size.value)
"""
IN_NAMESPACE = 'mount --bind "$1" /etc && shift && exec "$@"'


def may_mount():
    return subprocess.run(["unshare", "-rm", "sh", "-c", "mount --bind /tmp /etc"],
                          capture_output=True, check=False).returncode == 0


class Tree(unittest.TestCase):
    def setUp(self):
        holder = tempfile.TemporaryDirectory()
        self.addCleanup(holder.cleanup)
        self.root = pathlib.Path(holder.name)
        self.etc = self.root / "etc"
        (self.etc / "cuslice").mkdir(parents=True)
        for name in ("ld.so.cache", "passwd"):
            if os.path.exists(f"/etc/{name}"):
                shutil.copy(f"/etc/{name}", self.etc / name)

    def run_program(self, *wrapper, preload=True, **environment):
        """Tells what cuInit answers, and the memory of two devices of 16 GiB."""
        base = {"PATH": os.environ["PATH"], "HOME": str(self.root), "CUSLICE_GROUP": "none"}
        if preload:
            base["LD_PRELOAD"] = str(LIBRARY)
        words = [f"{name}={value}" for name, value in (base | environment).items()]
        return subprocess.run(
            [SIMGPU / "simgpu", "run", "-s", "memory=16GiB", "-s", "devices=2",
             "-s", "device.1.uuid=" + UUID.replace("-", ""), "--", *wrapper,
             "env", *words, f"LD_LIBRARY_PATH={SIMGPU}", sys.executable, "-c", PROGRAM],
            capture_output=True, text=True, check=False, timeout=60)

    def sizes(self, *wrapper, **environment):
        """The memory of the two devices in GiB."""
        done = self.run_program(*wrapper, **environment)
        self.assertEqual((done.returncode, done.stderr), (0, ""))
        result, *sizes = map(int, done.stdout.split())
        self.assertEqual(result, 0)
        return [size / GIB for size in sizes]

    def write(self, name, text):
        path = self.root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
        return path


class Program(Tree):
    def test_defaults_below_the_home_hold(self):
        self.assertEqual(self.sizes(), [16, 16])
        self.write(".config/cuslice/cuslice.ini", "[slice]\nmemory = 25%\n")
        self.assertEqual(self.sizes(), [4, 4])
        self.assertEqual(self.sizes(CUSLICE_MEMORY="8GiB"), [8, 8])
        self.assertEqual(self.sizes(CUSLICE_MEMORY_1="8GiB"), [4, 8])

    def test_devices_go_by_number_and_by_uuid(self):
        file = self.write("my.ini", "[device 0]\nmemory = 2GiB\n"
                                    f"[device GPU-{UUID}]\nmemory = 3GiB\n")
        self.assertEqual(self.sizes(CUSLICE_CONFIG=str(file)), [2, 3])
        name = "CUSLICE_MEMORY_GPU_" + UUID.replace("-", "_")
        self.assertEqual(self.sizes(**{name: "5GiB"}), [16, 5])
        self.write("my.ini", "[device 1]\nmemory = 1GiB\n"
                             f"[device GPU-{UUID}]\nmemory = 3GiB\n")
        self.assertEqual(self.sizes(CUSLICE_CONFIG=str(file)), [16, 3])

    def test_mistake_in_a_file_is_quoted_with_its_line_and_takes_the_gpu_away(self):
        file = self.write("my.ini", "[slice]\n\nmemory = 4G\n")
        done = self.run_program(CUSLICE_CONFIG=str(file))
        self.assertEqual(done.stdout.splitlines()[0], str(NO_DEVICE))
        self.assertIn(f'config: {file}:3: memory = "4G": the unit is ambiguous', done.stderr)
        self.assertIn("no GPU for this program", done.stderr)

    def test_disable_turns_all_off(self):
        self.assertEqual(self.sizes(CUSLICE_MEMORY="1GiB", CUSLICE_DISABLE="1"), [16, 16])
        self.assertEqual(self.sizes(CUSLICE_NONSENSE="1", CUSLICE_DISABLE="1"), [16, 16])

    def test_run_sets_what_the_library_reads(self):
        file = self.write("my.ini", "[slice]\nmemory = 2GiB\n")
        run = (CUSLICE, "run", "--config", file, "-i", "1", "-m", "3GiB", "-b", "5ms", "--")
        self.assertEqual(self.sizes(*run, preload=False), [2, 3])


class Policy(Tree):
    @classmethod
    def setUpClass(cls):
        if not may_mount():
            raise unittest.SkipTest("no mount namespace can be made here")

    def setUp(self):
        super().setUp()
        self.wrapper = ("unshare", "-rm", "sh", "-c", IN_NAMESPACE, "sh", str(self.etc))

    def policy(self, text):
        self.write("etc/cuslice/site.ini", text)

    def test_policy_and_variable_are_compared_on_the_device(self):
        self.policy("[slice]\nmemory = 50%\n")
        self.assertEqual(self.sizes(*self.wrapper), [8, 8])
        self.assertEqual(self.sizes(*self.wrapper, CUSLICE_MEMORY="4GiB"), [4, 4])
        self.assertEqual(self.sizes(*self.wrapper, CUSLICE_MEMORY="12GiB"), [8, 8])

    def test_policy_holds_against_disable_and_warn(self):
        self.policy("[slice]\nmemory = 2GiB\n")
        self.assertEqual(self.sizes(*self.wrapper, CUSLICE_DISABLE="1"), [2, 2])
        self.policy("[slice]\nmemory = 2G\n")
        for name, value in (("CUSLICE_DISABLE", "1"), ("CUSLICE_ON_ERROR", "warn")):
            done = self.run_program(*self.wrapper, **{name: value})
            self.assertEqual(done.stdout.splitlines()[0], str(NO_DEVICE))
            self.assertIn("/etc/cuslice/site.ini:2", done.stderr)

    def test_program_without_cuda_never_looks_at_the_policy(self):
        self.policy("nonsense\n")
        done = subprocess.run([*self.wrapper, "env", f"LD_PRELOAD={LIBRARY}", "true"],
                              capture_output=True, text=True, check=False, timeout=60)
        self.assertEqual((done.returncode, done.stdout, done.stderr), (0, "", ""))


class Burst(Tree):
    def test_burst_of_a_file_is_what_may_be_used_at_once(self):
        """5 % of a second are 50 kernels of a millisecond; the burst comes on top."""
        rates = []
        for burst in ("1ms", "500ms"):
            file = self.write("my.ini", f"[slice]\ncompute = 5%\nburst = {burst}\n")
            done = subprocess.run(
                [SIMGPU / "simgpu", "run", "-s", "kernel.*=1ms", "--", CUSLICE, "run", "--config",
                 file, "env", f"LD_LIBRARY_PATH={SIMGPU}", BUSY, "--seconds", "1"],
                capture_output=True, text=True, check=True, timeout=60)
            rates.append(float(done.stdout.rpartition("rate=")[2]))
        self.assertLess(rates[0], 150)
        self.assertGreater(rates[1], 300)
        self.assertLess(rates[1], 700)


if __name__ == "__main__":
    unittest.main(argv=[sys.argv[0], *(["Burst"] if BUSY else ["Program", "Policy"])], verbosity=2)
