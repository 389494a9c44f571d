#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
# Copyright the cuslice authors
#
# What the driver takes by itself is counted as the account of the machine has it, with NVML and,
# where it can be, without.
import os
import re
import shutil
import subprocess
import tempfile
import time
import unittest

import harness
from harness import MIB, OUT_OF_MEMORY, SIMGPU, client
from test_memory import Talk

OVER = str(OUT_OF_MEMORY)
CONTEXT, MODULE = 64 * MIB, 5 * MIB
BUSY = 4 * 32 * MIB  # four threads, a block each
SETTINGS = {"context_bytes": str(CONTEXT), "module_bytes": str(2 * MIB), "memory": "8GiB",
            "sm_count": "10"}


def can_unshare():
    if not shutil.which("unshare"):
        return False
    return subprocess.run(["unshare", "-Urpf", "--mount-proc", "true"], capture_output=True,
                          check=False).returncode == 0


class Steps(harness.Case):
    def machine(self, **settings):
        return harness.Machine(**SETTINGS | settings)

    def steps(self, what, quota, expected, uncounted=0, **more):
        """Goes through a client's steps; at each the same is used by both books, but for what is
        not counted."""
        with self.machine() as machine, \
                Talk(machine, what, quota, name="footprint", **more) as talk:
            for key, used in expected:
                self.assertEqual((key, int(talk.until(key))), (key, used), talk.seen)
                self.assertEqual((key, talk.device()["used"]), (key, used + uncounted))
                talk.go_on()
            return talk


class Footprint(Steps):
    def test_contexts_are_counted_and_given_back(self):
        one, two = ("first", CONTEXT), ("second", 2 * CONTEXT)
        self.steps("contexts", 1024 * MIB,
                   [one, two, two, two, one, two, two, one, one, ("none", 0)])

    def test_context_beyond_the_quota_is_refused_once_its_size_is_known(self):
        one = ("one", CONTEXT)
        talk = self.steps("refused_context", CONTEXT * 3 // 2, [one, one])
        self.assertEqual(talk.seen["second"], [OVER])
        self.assertEqual(talk.seen["primary"], [OVER, "0"])
        self.assertEqual(talk.seen["output"], ["untouched"])
        self.assertEqual(talk.seen["again"], ["0"])

    def test_first_context_beyond_the_quota_denies_growth(self):
        talk = self.steps("large_context", CONTEXT // 2, [("one", CONTEXT)])
        self.assertEqual(talk.seen["over"], [OVER])
        self.assertEqual(talk.seen["info"], [f"0 {CONTEXT // 2}"])

    def test_context_that_the_driver_refuses_costs_nothing(self):
        with self.machine() as machine:
            machine.simgpu("fail", "cuCtxCreate_v2", "2", "1")
            done = machine.run(client("footprint"), "large_context", str(1024 * MIB),
                               limits={"MEMORY": "1GiB"})
            self.assertEqual((done.returncode, done.stdout), (3, "failed cuCtxCreate: 2\n"))

    def test_context_made_without_a_hook_is_seen(self):
        seen = ("seen", CONTEXT + MIB)
        talk = self.steps("unhooked", 1024 * MIB,
                          [seen, seen, ("none", 0), ("shown", CONTEXT)])
        self.assertEqual(talk.seen["info"], [f"{1024 * MIB - CONTEXT} {1024 * MIB}"])

    @harness.needs_nvml
    def test_context_that_was_charged_as_other_is_not_charged_twice(self):
        self.steps("unhooked_first", 1024 * MIB,
                   [("two", 2 * CONTEXT), ("named", 2 * CONTEXT + MIB)])

    def test_modules_are_counted_and_given_back(self):
        none, one, two = (("none", CONTEXT), ("one", CONTEXT + MODULE),
                          ("two", CONTEXT + 2 * MODULE))
        with tempfile.TemporaryDirectory() as folder:
            before = os.getcwd()
            os.chdir(folder)
            try:
                talk = self.steps("modules", 512 * MIB, [two, two, one, none] * 4 + [
                    none, ("two_contexts", 2 * CONTEXT + 2 * MODULE), one])
            finally:
                os.chdir(before)
        self.assertEqual(talk.seen["large"], [f"{OVER} untouched"] * 4)
        self.assertEqual((talk.seen["wrong"], talk.seen["bad"]), (["400"], ["218"]))

    def test_libraries_are_counted_in_each_context(self):
        none, one, two = (("none", CONTEXT), ("one", CONTEXT + MODULE),
                          ("two", CONTEXT + 2 * MODULE))
        both = ("two_contexts", 2 * CONTEXT + 3 * MODULE)
        talk = self.steps("libraries", 512 * MIB,
                          [none, one, one, two, both, two, one, ("no_context", 0), one, none])
        self.assertEqual(talk.seen["wrong"], ["400"])

    def test_what_streams_give_back_is_not_taken_off_what_is_measured(self):
        stack = 1024 * 2048 * 10  # for each thread of the 10 SMs
        loaded, grown = CONTEXT + MODULE, CONTEXT + MODULE + stack
        self.steps("behind_frees", 512 * MIB,
                   [("loaded", loaded), ("grown", grown), ("second", grown + CONTEXT),
                    ("first", CONTEXT)])

    @harness.needs_nvml
    def test_neighbours_are_not_charged_to_a_module_while_streams_give_back(self):
        """The driver has given back already what the ledger still counts, so its figure for this
        process is less than the ledger's, and tells nothing of what a neighbour took."""
        freed, loaded = CONTEXT + 18 * MIB, CONTEXT + 4 * MIB + 512
        with self.machine(**{"kernel.busy": "200ms"}) as machine, \
                Talk(machine, "", 512 * MIB, name="unseen_free") as talk, \
                Talk(machine, "contexts", 512 * MIB, name="footprint") as neighbour:
            neighbour.until("first")
            self.assertEqual(int(talk.until("freed")), freed)
            self.assertEqual(talk.device()["used"], freed - 16 * MIB + CONTEXT)
            machine.simgpu("set", "memory_answer_us=1000000000")
            talk.go_on()
            time.sleep(0.5)  # the module is being loaded by now
            neighbour.go_on()
            neighbour.until("second")
            machine.simgpu("set", "memory_answer_us=0")
            self.assertEqual(int(talk.until("loaded")), loaded)
            self.assertEqual(talk.device()["used"], loaded + 2 * CONTEXT)

    def test_imports_are_not_taken_off_what_is_measured(self):
        imported = 2 * MIB
        self.steps("beside_imports", 512 * MIB,
                   [("imported", CONTEXT + imported), ("loaded", CONTEXT + MODULE + imported),
                    ("second", 2 * CONTEXT + MODULE + imported)], uncounted=-imported)

    def test_heaps_are_counted_and_given_back(self):
        none, grown = ("none", CONTEXT), ("grown", CONTEXT + 50 * MIB)
        talk = self.steps("heaps", 512 * MIB,
                          [none, grown, grown, ("shrunk", CONTEXT + 40 * MIB), none,
                           ("no_context", 0)])
        self.assertEqual((talk.seen["malloc"], talk.seen["stack"]), ([OVER], [OVER]))
        self.assertEqual(talk.seen["malloc_size"], [str(28 * MIB)])
        self.assertEqual(talk.seen["stack_size"], ["2048"])
        self.assertEqual(talk.seen["unknown"], ["1"])

    @harness.needs_nvml
    def test_what_no_hook_sees_is_reconciled(self):
        quota = 512 * MIB
        talk = self.steps("other", quota, [("one", CONTEXT + MODULE), ("none", CONTEXT)])
        self.assertEqual(talk.seen["over"], [OVER])
        self.assertEqual(talk.seen["info"][0], f"{quota - CONTEXT - MODULE} {quota}")
        self.assertEqual(talk.seen["info"][2], f"{quota - CONTEXT} {quota}")

    @harness.needs_nvml
    def test_all_at_a_time_leaves_the_books_right(self):
        self.steps("together", 300 * MIB, [("at_rest", CONTEXT + MIB)])

    def loads_beside_allocations(self, quota, **more):
        with self.machine() as machine:
            done = machine.run(client("footprint"), "loads_beside_allocations", str(quota),
                               limits={"MEMORY": str(quota)}, **more)
        self.assertEqual(self.finished(done), "refused 0\n")

    def test_modules_are_not_refused_for_what_other_threads_allocate(self):
        # One module may be charged by its name, and the one before as other still.
        self.loads_beside_allocations(CONTEXT + BUSY + 3 * MODULE)

    def test_contexts_are_not_charged_what_other_threads_load(self):
        with self.machine() as machine:
            done = machine.run(client("footprint"), "contexts_beside_loads", str(1024 * MIB),
                               limits={"MEMORY": "1GiB", "LOG": "info"})
        self.assertEqual((done.returncode, done.stdout), (0, ""))
        self.assertIn("contexts 640.00 MiB", done.stderr)

    @harness.needs_nvml
    def test_refusal_reads_only_what_could_change_it(self):
        with self.machine() as machine:
            done = machine.run(client("footprint"), "refusal_readings", str(512 * MIB),
                               limits={"MEMORY": "512MiB"})
        seen = harness.fields(self.finished(done))
        self.assertEqual(int(seen["unread"]), CONTEXT + MIB)
        self.assertEqual(int(seen["read"]), CONTEXT + MIB + MODULE)
        # A fall counts once two readings agree.
        self.assertIn(f"all {OUT_OF_MEMORY}\nall 0\n", done.stdout)

    def test_refusals_are_counted_and_told_once_a_second(self):
        with self.machine() as machine:
            done = machine.run(client("footprint"), "refusals", str(512 * MIB),
                               limits={"MEMORY": "512MiB", "LOG": "info"})
        self.assertEqual(done.stdout, "refused 1001\n")
        first, last = (line.partition(": ")[2] for line in done.stderr.splitlines())
        told = ("refused 512.00 MiB on GPU 0: 65.00 MiB of 512.00 MiB used "
                "(linear 1.00 MiB, contexts 64.00 MiB)")
        self.assertEqual(first, told)
        self.assertEqual(last, told + "; 999 more refused since the last line")

    @harness.needs_nvml
    @unittest.skipUnless(can_unshare(), "no namespaces here")
    def test_process_in_a_pid_namespace_finds_itself_in_the_list_of_the_host(self):
        self.steps("other", 512 * MIB, [("one", CONTEXT + MODULE), ("none", CONTEXT)],
                   prefix=("unshare", "-Urpf", "--mount-proc"))


class WithoutNvml(Steps):
    """Nothing tells what was free before the first context, so it is not measured."""

    def setUp(self):
        folder = tempfile.TemporaryDirectory()
        self.addCleanup(folder.cleanup)
        os.symlink(SIMGPU / "libcuda.so.1", f"{folder.name}/libcuda.so.1")
        self.more = {"uncounted": CONTEXT, "LD_LIBRARY_PATH": folder.name}

    def test_heaps_are_counted_and_given_back(self):
        none, grown = ("none", 0), ("grown", 50 * MIB)
        self.steps("heaps", 512 * MIB, [none, grown, grown, ("shrunk", 40 * MIB), none],
                   **self.more)

    def test_modules_are_not_refused_for_what_other_threads_allocate(self):
        Footprint.loads_beside_allocations(self, BUSY + MODULE,
                                           LD_LIBRARY_PATH=self.more["LD_LIBRARY_PATH"])

    def test_libraries_are_counted_in_each_context(self):
        both = ("two_contexts", CONTEXT + 3 * MODULE)
        one, two = ("one", MODULE), ("two", 2 * MODULE)
        self.steps("libraries", 512 * MIB, [("none", 0), one, one, two, both, two, one],
                   **self.more)


if __name__ == "__main__":
    harness.main()
