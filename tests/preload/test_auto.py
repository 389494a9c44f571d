#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
# Copyright the cuslice authors
#
# mechanism = auto without MPS: where no report covers the GPU the share is kept by time, and where
# one does (a library that is built as if) by a partition for as long as nobody else is there.
# Measures time.
import os
import time

import harness
from harness import client

COVERED = os.environ["PRELOAD_WITH_COVERED"]
TWINS = str(harness.CLIENTS / "libclient_partition_twins.so")
SMS, PART, DUTY = 132, 40, 82.5  # of 25 %: 40 SMs for 82.5 % of the time
BURST_S = 0.3


class Auto(harness.Case):
    settings = {}

    def setUp(self):
        self.machine = harness.Machine(**{"kernel.busy": "200us", "kernel.cuslice_census": "10us"}
                                       | self.settings)
        self.machine.__enter__()
        self.addCleanup(self.machine.__exit__)

    def start(self, *command, share="25%", library=COVERED, **more):
        more = {"MECHANISM": "auto", "LOG": "info"} | more
        process = self.machine.start(client("partition"), *command, libraries=(library,),
                                     limits={"COMPUTE": share} | more, SIMGPU_TWINS=TWINS)
        self.addCleanup(process.communicate)
        self.addCleanup(process.kill)
        return process

    def ways(self, library=COVERED, **more):
        """As (SMs of all ways, what was said)."""
        more = {"COMPUTE": "25%", "MECHANISM": "auto", "LOG": "info"} | more
        done = self.machine.run(client("partition"), "ways", libraries=(library,), limits=more,
                                SIMGPU_TWINS=TWINS)
        self.assertEqual(done.returncode, 0, done.stdout + done.stderr)
        return {int(sms) for sms in harness.fields(done.stdout).values()}, done.stderr

    def busy(self, *more, **limits):
        """A program that is at work, seen to be."""
        process = self.start("busy", "60000", *more, **{"LOG": "warn"} | limits)
        deadline = time.monotonic() + harness.PATIENCE_S
        while self.used_ns(process) == 0:
            self.assertLess(time.monotonic(), deadline)
            time.sleep(0.01)
        return process

    def used_ns(self, process):
        used = {row["pid"]: row["gpu_time_ns"] for row in self.machine.account()["processes"]}
        return used.get(process.pid, 0)

    def use(self, *processes, seconds=1):
        """Of the time, in percent, from a little later on."""
        time.sleep(BURST_S)
        before, began = [self.used_ns(process) for process in processes], time.monotonic()
        time.sleep(seconds)
        span_ns = (time.monotonic() - began) * 1e9
        return [100 * (self.used_ns(process) - ns) / span_ns
                for process, ns in zip(processes, before)]

    def assert_use(self, found, wanted):
        """With room for a computer that has others to serve."""
        for use, percent in zip(found, wanted):
            self.assertLess(use, percent + 3, f"{found}, not {wanted}")
            self.assertGreater(use, 0.8 * percent, f"{found}, not {wanted}")


class Uncovered(Auto):
    def test_share_is_kept_by_time_and_it_is_said_why(self):
        sms, said = self.ways(library=harness.LIBRARY)
        self.assertEqual(sms, {SMS})
        line, = [line for line in said.splitlines() if "kept by" in line]
        self.assertIn("kept by time: no MPS at ", line)
        self.assertIn("; no report shows that partitions hold on this GPU with this driver", line)

    def test_nothing_is_said_at_warn(self):
        self.assertEqual(self.ways(library=harness.LIBRARY, LOG="warn"), ({SMS}, ""))


class Covered(Auto):
    def test_program_that_is_alone_is_confined(self):
        sms, said = self.ways()
        self.assertEqual(sms, {PART})
        self.assertIn("GPU 0: the compute share is kept by both: no MPS at ", said)
        self.assertIn(f"GPU 0: {PART} of {SMS} SMs, {DUTY} % of the time", said)

    def test_share_to_which_the_whole_device_comes_next_is_kept_by_time(self):
        for mechanism in ("auto", "sm", "both"):
            with self.subTest(mechanism):
                sms, said = self.ways(COMPUTE="99%", MECHANISM=mechanism)
                self.assertEqual(sms, {SMS})
                self.assertIn(f"GPU 0: none, for the size next to the share is all {SMS} SMs; time "
                              "keeps it", said)

    def test_alone_it_has_its_partition_for_a_part_of_the_time(self):
        self.assert_use(self.use(self.busy()), [DUTY])

    def test_who_comes_later_gets_what_is_due(self):
        first = self.busy()
        self.assert_use(self.use(first), [DUTY])
        second = self.busy(share="50%", library=harness.LIBRARY, LOG="warn")
        self.assert_use(self.use(first, second), [25, 50])
        second.kill()
        second.communicate()
        self.assert_use(self.use(first), [DUTY])

    def test_program_that_comes_later_is_not_confined(self):
        first = self.busy(share="50%", library=harness.LIBRARY, LOG="warn")
        sms, said = self.ways()
        self.assertEqual(sms, {SMS})
        self.assertIn(f"no partition of {PART} SMs: ", said)
        self.assertIn("others are at it; the compute share is kept by time", said)
        second = self.busy(LOG="warn")
        self.assert_use(self.use(first, second), [50, 25])
        self.assertEqual(second.poll(), None)

    def test_of_two_that_begin_at_once_at_most_one_is_confined(self):
        for _ in range(5):
            both = [self.start("reset", "wait", LOG="warn") for _ in range(2)]
            sms = [int(process.stdout.readline().split()[1]) for process in both]
            self.assertIn(sorted(sms), ([PART, SMS], [SMS, SMS]))
            for process in both:
                process.communicate("go\n")

    def test_it_is_looked_at_again_after_a_reset(self):
        first = self.busy(share="50%", library=harness.LIBRARY, LOG="warn")
        second = self.start("reset", "wait", LOG="warn")
        self.assertEqual(second.stdout.readline(), f"before {SMS}\n")
        first.kill()
        first.communicate()
        time.sleep(BURST_S)  # until it has been reaped
        self.assertEqual(second.communicate("go\n")[0], f"after {PART}\n")

    def test_those_who_have_just_died_are_nobody(self):
        for _ in range(3):
            dead = [self.busy(share="10%", library=harness.LIBRARY, LOG="warn") for _ in range(4)]
            for process in dead:
                process.kill()
            for process in dead:
                process.communicate()
            self.assertEqual(self.ways(LOG="warn"), ({PART}, ""))

    def test_others_cannot_be_seen(self):
        """A folder for devices that is nobody's to write."""
        path = os.path.join(self.machine.folder.name, "open")
        os.mkdir(path)
        os.chmod(path, 0o777)
        sms, _ = self.ways(GROUP=os.path.join(path, "a.group"), ON_ERROR="warn")
        self.assertEqual(sms, {SMS})

    def test_children_are_each_for_themselves(self):
        done = self.machine.run(client("partition_life"), "fork", libraries=(COVERED,),
                                limits={"COMPUTE": "25%", "LOG": "warn"}, SIMGPU_TWINS=TWINS)
        found = harness.fields(self.finished(done))
        # Each is alone while it works, but for the program that a child executes.
        self.assertEqual(found, {"forked": str(PART), "parent": str(PART), "executed": str(SMS),
                                 "after": str(PART)})


class Older(Auto):
    settings = {"driver_version": "12020"}

    def test_driver_without_green_contexts(self):
        sms, said = self.ways()
        self.assertEqual(sms, {SMS})
        line, = [line for line in said.splitlines() if "kept by" in line]
        self.assertIn("; a partition of its SMs needs a driver for CUDA 12.5 or later", line)


class Newer(Auto):
    settings = {"driver_version": "13010"}

    def test_driver_that_no_report_knows(self):
        sms, said = self.ways()
        self.assertEqual(sms, {SMS})
        self.assertIn("no report shows", said)


class Leaking(Auto):
    settings = {"leak": "graph"}

    def test_partition_that_does_not_hold(self):
        sms, said = self.ways(LOG="warn")
        self.assertIn(SMS, sms)
        self.assertEqual(said.count("cuslice["), 1, said)
        self.assertIn("the compute share is kept by time alone", said)
        self.assert_use(self.use(self.busy(LOG="error")), [25])


class Mps(Auto):
    settings = {"mps": "1"}

    def test_mps_is_for_choice_where_it_is(self):
        done = self.machine.run(client("partition"), "ways", libraries=(COVERED,),
                                limits={"COMPUTE": "30%", "LOG": "info"}, SIMGPU_TWINS=TWINS,
                                CUDA_MPS_PIPE_DIRECTORY=self.machine.folder.name)
        seen = harness.fields(done.stdout)
        self.assertEqual((seen["told"], seen["null"]), ("40", "40"))
        self.assertIn("GPU 0: the compute share is kept by mps", done.stderr)
        self.assertNotIn("partition", done.stderr)


if __name__ == "__main__":
    harness.main()
