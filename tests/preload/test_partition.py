#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
# Copyright the cuslice authors
#
# A program confined to some of a device's SMs: that no kernel of it gets on others, by the machine's
# account, that it sees what it would have seen without, and what happens where it cannot be had.
import os
import random

import harness
import partition_walk
from harness import client

TWINS = str(harness.CLIENTS / "libclient_partition_twins.so")
WAYS = ("null", "legacy", "per_thread", "ptsz", "blocking", "non_blocking", "priority", "ex_null",
        "ex_stream", "graph", "graph_null", "graph_per_thread", "thread")
FULL = os.environ.get("TESTS_FULL") == "1"
WALK_S = 5 if harness.SANITIZER else 30  # ten minutes: partition_walk_full
DURATIONS = {"kernel.mark_short": "1us", "kernel.mark_middle": "100us", "kernel.mark_long": "1ms",
             "kernel.busy": "100us", "kernel.cuslice_census": "10us",
             "fill_mib_per_ms": "10"}


def machine(**settings):
    return harness.Machine(**DURATIONS | settings)


def limits(share, mechanism="sm", **more):
    return {"COMPUTE": share, "MECHANISM": mechanism} | more


class Case(harness.Case):
    def run_on(self, machine, *command, limits=None, stderr="", twins=TWINS):
        done = machine.run(client("partition"), *map(str, command), limits=limits,
                           SIMGPU_TWINS=twins)
        return harness.fields(self.finished(done, stderr=stderr))

    def sms_used(self, machine):
        return partition_walk.sms_used(machine)


class Confined(Case):
    def test_all_ways_lead_into_the_partition(self):
        for share, sms in (("12%", 16), ("25%", 32), ("32sm", 32), ("50%", 64), ("75%", 96)):
            with self.subTest(share), machine() as one:
                seen = self.run_on(one, "ways", limits=limits(share))
                self.assertEqual(seen, {way: str(sms) for way in ("told", *WAYS)})
                self.assertEqual(len(self.sms_used(one)), sms)

    def test_without_a_partition_they_lead_everywhere(self):
        for settings in (None, limits("50%", "time"), limits("50%", "auto"), limits("100%")):
            with self.subTest(settings), machine() as one:
                seen = self.run_on(one, "ways", limits=settings)
                self.assertEqual(seen, {way: "132" for way in ("told", *WAYS)})
                self.assertEqual(len(self.sms_used(one)), 132)

    def test_both_takes_the_next_size_up(self):
        with machine() as one:
            seen = self.run_on(one, "ways", limits=limits("50%", "both"))
            self.assertEqual(seen["told"], "72")
            self.assertEqual(len(self.sms_used(one)), 72)

    def test_random_calls_of_eight_threads_stay_in(self):
        said, process = partition_walk.walk(random.randrange(1 << 30), WALK_S, 8, "25%", 32)
        self.assertGreater(int(said["nodes"]), 10)
        self.assertGreater(int(said["bodies"]), 10)
        self.assertGreater(int(process["kernels"]), 100)

    def test_without_a_partition_they_do_not(self):
        partition_walk.walk(random.randrange(1 << 30), 1, 8, "none", 132)

    def test_reset_makes_another_partition(self):
        with machine() as one:
            self.assertEqual(self.run_on(one, "reset", limits=limits("25%")),
                             {"before": "32", "after": "32"})


class Order(Case):
    def test_default_streams_and_blocking_ones_wait_for_each_other(self):
        first = random.randrange(1 << 30)
        for seed in range(first, first + (200 if FULL else 8)):
            with self.subTest(seed=seed), machine() as one:
                self.assertEqual(self.run_on(one, "order", seed, limits=limits("50%")),
                                 {"ordered": "240"})

    def test_the_check_holds_without_a_partition(self):
        with machine() as one:
            self.assertEqual(self.run_on(one, "order", 1), {"ordered": "240"})


class Refused(Case):
    """Each says so once, and the governor keeps the share."""

    def refused(self, reason, settings, *command, share="50%", twins=TWINS):
        with machine(**settings) as one:
            done = one.run(client("partition"), *command, limits=limits(share), SIMGPU_TWINS=twins)
        self.assertEqual(done.returncode, 0, done.stdout + done.stderr)
        self.assertEqual(done.stderr.count("cuslice["), 1, done.stderr)
        self.assertIn(reason, done.stderr)
        return harness.fields(done.stdout)

    def test_older_driver_keeps_the_share_by_time(self):
        seen = self.refused("needs a driver for CUDA 12.5 or later", {"driver_version": "12020"},
                            "reset")
        self.assertEqual(seen, {"before": "132", "after": "132"})

    def test_context_of_the_programs_own_is_not_confined(self):
        seen = self.refused("the program has contexts of its own", {}, "own_context")
        self.assertEqual(seen, {"own": "132"})

    def test_way_out_is_told_to_the_program_as_all_of_the_device(self):
        seen = self.refused("work of a graph", {"leak": "graph"}, "ways")
        self.assertEqual(seen["told"], "132")

    def test_kernel_that_notes_nothing_proves_nothing(self):
        with machine() as one:
            done = one.run(client("partition"), "busy", "10", limits=limits("50%"))
        self.assertIn("the self-test's kernel does not run", done.stderr)


if __name__ == "__main__":
    harness.main()
