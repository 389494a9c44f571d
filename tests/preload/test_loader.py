#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
# Copyright the cuslice authors
#
# First calls at moments at which the loader's lock is taken, or the thread about to end; and
# processes with more than one libcuda, or more than one of us.
import pathlib
import shutil
import tempfile

import harness
from harness import CLIENTS, LIBRARY, OUT_OF_MEMORY, SIMGPU, client, fields
from test_kinds import under_quota

STUB = CLIENTS.parent / "stub" / "libcuda.so.1"

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

    def test_linked_calls_stay_with_their_driver_whatever_is_opened_first(self):
        for limits, total in ((None, "1024"), ({}, "1024"), ({"MEMORY": "64MiB"}, "64")):
            seen = self.seen("stub_first", STUB, limits=limits)
            self.assertEqual(seen, {"init": "0", "total": f"0 {total}"})

    def test_opened_late_it_finds_libc_and_the_driver(self):
        seen = self.seen("open_late", LIBRARY, limits=None, CUSLICE_MEMORY="64MiB")
        self.assertEqual(seen, {"malloc": "found", "total": "0 64"})


class Copies(harness.Case):
    def setUp(self):
        folder = tempfile.TemporaryDirectory(prefix="cuslice-")
        self.addCleanup(folder.cleanup)
        self.folder = pathlib.Path(folder.name)

    def copy(self, library, name):
        return shutil.copy(library, self.folder / name)

    def test_two_of_us_keep_one_quota(self):
        copy = self.copy(LIBRARY, "libcuslice.so")
        with harness.Machine() as machine:
            done = machine.run(client("loader"), "both_ways", limits={"MEMORY": "64MiB"},
                               libraries=(LIBRARY, copy))
        seen = fields(self.finished(done))
        self.assertEqual(seen, {"linked": "0", "looked_up": str(OUT_OF_MEMORY)})

    def test_driver_of_another_file_name_is_known_by_its_soname(self):
        driver = self.copy(SIMGPU / "libcuda.so.1", "libdriver.so")
        with harness.Machine() as machine:
            bare = fields(self.finished(machine.run(client("linked"))))
            for limits, expected in (({}, bare), ({"MEMORY": "64MiB"}, under_quota(bare))):
                done = machine.run(client("linked"), limits=limits, libraries=(LIBRARY, driver),
                                   LD_LIBRARY_PATH="")
                self.assertEqual(fields(self.finished(done)), expected)

    def test_a_machine_without_nvml_leaves_no_error_text(self):
        self.copy(SIMGPU / "libcuda.so.1", "libcuda.so.1")
        with harness.Machine() as machine:
            done = machine.run(client("loader"), "error_text", limits={"MEMORY_0": "64MiB"},
                               LD_LIBRARY_PATH=str(self.folder))
        self.assertEqual(fields(self.finished(done)), {"init": "0", "error": "none"})


if __name__ == "__main__":
    harness.main()
