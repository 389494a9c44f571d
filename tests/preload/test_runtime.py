#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
# Copyright the cuslice authors
#
# The real CUDA runtime, shared and static. It validates the driver, so that on simgpu its first call
# ends with an error; before that it looks everything up and calls cuInit, which is seen here.
import os

import harness
from harness import client

BAD = {"MEMORY": "4 GG"}
NO_DEVICE = "count 100 cudaErrorNoDevice\n"


class Runtime(harness.Case):
    programs = [client(name) for name in os.environ["PRELOAD_RUNTIMES"].split(";")]

    def test_program_ends_as_bare(self):
        for program in self.programs:
            with self.subTest(program), harness.Machine() as machine:
                # The runtime closes the driver at its end, which simgpu's threads do not survive;
                # a second holder keeps it. The preload is one.
                holder = (harness.SIMGPU / "libcuda.so.1",)
                bare = self.finished(machine.run(program, limits={}, libraries=holder))
                self.assertTrue(bare.startswith("count "))
                self.assertNotEqual(bare, NO_DEVICE)
                for limits in ({}, {"MEMORY": "64MiB"}, {"MEMORY": "64MiB", "COMPUTE": "50%"}):
                    self.assertEqual(self.finished(machine.run(program, limits=limits)), bare)

    def test_runtime_reaches_our_cuinit(self):
        for program in self.programs:
            with self.subTest(program), harness.Machine() as machine:
                done = machine.run(program, limits=BAD)
                self.assertEqual((done.returncode, done.stdout), (0, NO_DEVICE))
                self.assertEqual(done.stderr.count('CUSLICE_MEMORY="4 GG"'), 1)


if __name__ == "__main__":
    harness.main()
