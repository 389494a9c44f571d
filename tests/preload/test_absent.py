#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
# Copyright the cuslice authors
#
# Where there is no CUDA: on a machine without a driver, and in programs that do not use it.
import collections
import pathlib
import subprocess
import time
import unittest

import harness
from harness import CLIENTS, LIBRARY, NO_DEVICE, SANITIZER, client, fields

LIMITS = {"CUSLICE_MEMORY": "1GiB", "CUSLICE_COMPUTE": "25%", "CUSLICE_LOG": "debug"}
NOT_FOUND = 500  # what the interposer says where nobody is behind it
BAD = {"CUSLICE_MEMORY": "4 GG", "CUSLICE_NONSENSE": "1"}


def run(*command, is_preloaded, others=(), **more):
    """On a machine without simgpu."""
    environment = harness.base_environment() | more
    environment.pop("LD_LIBRARY_PATH", None)
    libraries = harness.preload(LIBRARY, *others) if is_preloaded else SANITIZER
    if libraries:
        environment["LD_PRELOAD"] = libraries
    return subprocess.run(command, env=environment, capture_output=True, text=True, check=False,
                          timeout=harness.PATIENCE_S)


class WithoutDriver(harness.Case):
    def setUp(self):
        bare = fields(self.finished(run(client("absent"), is_preloaded=False)))
        if bare["dlopen"] == "found":
            self.skipTest("this machine has a driver")

    def test_probes_find_no_cuda(self):
        bare = self.finished(run(client("absent"), is_preloaded=False))
        for limits in ({}, LIMITS, BAD):
            done = run(client("absent"), is_preloaded=True, **limits)
            self.assertEqual(self.finished(done), bare)
        self.assertIn("probe cuInit null\nerror cuInit text\n", bare)

    def test_weak_caller_gets_no_device_and_nothing_is_said(self):
        bare = fields(self.finished(run(client("absent"), "call", is_preloaded=False)))
        self.assertEqual(bare["weak"], "cuInit null")
        for limits in ({}, LIMITS, BAD):
            done = run(client("absent"), "call", is_preloaded=True, **limits)
            seen = fields(self.finished(done))
            self.assertEqual((seen["init"], seen["alloc"]), (str(NO_DEVICE), f"{NO_DEVICE} 42"))

    def test_weak_caller_gets_to_whoever_else_defines_the_function(self):
        done = run(client("absent"), "call", is_preloaded=True,
                   others=(CLIENTS / "libclient_interposer_alloc_O2.so",))
        seen = fields(self.finished(done))
        self.assertEqual((seen["init"], seen["alloc"]), (str(NO_DEVICE), f"{NOT_FOUND} 42"))


@unittest.skipIf(SANITIZER, "a sanitizer has files of its own, and other programs none of it")
class WithoutCuda(harness.Case):
    def test_program_differs_by_one_mapped_file_only(self):
        bare = self.finished(run(client("idle"), is_preloaded=False)).splitlines()
        for limits in ({}, LIMITS, BAD):
            sliced = self.finished(run(client("idle"), is_preloaded=True, **limits)).splitlines()
            added = collections.Counter(sliced) - collections.Counter(bare)
            removed = collections.Counter(bare) - collections.Counter(sliced)
            self.assertEqual(set(added), {f"map {pathlib.Path(LIBRARY).resolve()}"})
            self.assertEqual(set(removed), set())

    def test_programs_of_the_system_answer_as_bare(self):
        for command in (("sh", "-c", "echo $((6 * 7)); exit 3"), ("python3", "-c", "print(42)"),
                        ("ls", "/"), ("env", "-i", "true")):
            bare = run(*command, is_preloaded=False)
            for limits in (LIMITS, BAD):
                sliced = run(*command, is_preloaded=True, **limits)
                self.assertEqual((sliced.returncode, sliced.stdout, sliced.stderr),
                                 (bare.returncode, bare.stdout, bare.stderr))

    def test_start_costs_little(self):
        """By the fastest of many, in turns: what else the computer does is not counted."""
        least_us = [float("inf")] * 2
        for is_preloaded in 100 * (False, True):
            begin = time.perf_counter()
            run(client("idle"), "only", is_preloaded=is_preloaded)
            took_us = (time.perf_counter() - begin) * 1e6
            least_us[is_preloaded] = min(least_us[is_preloaded], took_us)
        bare_us, preloaded_us = least_us
        print(f"start: {bare_us:.0f} us bare, {preloaded_us - bare_us:+.0f} us preloaded")
        self.assertLess(preloaded_us - bare_us, 5000)


if __name__ == "__main__":
    harness.main()
