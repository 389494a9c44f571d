#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
# Copyright the cuslice authors
#
# First calls at moments at which the loader's lock is taken, or the thread about to end; and
# processes with more than one libcuda, or more than one of us.
import harness
from harness import CLIENTS, client, fields

# By nvidia-smi's number, for which NVML is opened.
LIMITS = ({}, {"MEMORY": "64MiB"}, {"MEMORY_0": "64MiB", "COMPUTE": "50%"})


class Loader(harness.Case):
    def seen(self, *command, limits, **more):
        with harness.Machine() as machine:
            done = machine.run(client("loader"), *command, limits=limits, **more)
        return fields(self.finished(done))

    def test_first_call_beside_a_constructor_that_calls(self):
        for limits in LIMITS:
            seen = self.seen("during_constructor", CLIENTS / "libclient_loader_plugin.so",
                             limits=limits)
            self.assertEqual(seen, {"init": "0", "constructor": "answered"})

    def test_first_lookup_by_a_cancelled_thread(self):
        for limits in LIMITS:
            seen = self.seen("cancelled", limits=limits)
            self.assertEqual((seen["again"], seen["init"]), ("found", "0"))


if __name__ == "__main__":
    harness.main()
