#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
# Copyright the cuslice authors
#
# Partitions through the life of programs: children, contexts that come and go, several devices and
# threads, and that nothing else of the program changes: its memory, its mistakes, its order.
from test_partition import FULL, TWINS, Case, client, harness, limits, machine


class Lives(Case):
    def start(self, machine, *command, limits=None):
        return machine.run(client("partition_life"), *map(str, command), limits=limits,
                           SIMGPU_TWINS=TWINS)

    def live(self, machine, *command, limits=None):
        return harness.fields(self.finished(self.start(machine, *command, limits=limits)))


class Confined(Lives):
    def test_children_are_confined_too(self):
        with machine() as one:
            self.assertEqual(self.live(one, "fork", limits=limits("25%")),
                             {"forked": "32", "parent": "32", "executed": "32", "after": "32"})

    def test_primary_context_that_is_released_and_retained_again(self):
        with machine() as one:
            self.assertEqual(self.live(one, "release", limits=limits("25%")),
                             {"before": "32", "after_0": "32", "after_1": "32", "after_2": "32"})

    def test_each_device_has_its_own(self):
        with machine(devices="2") as one:
            said = self.live(one, "devices", limits={"COMPUTE_0": "25%", "COMPUTE_1": "50%",
                                                     "MECHANISM": "sm"})
        self.assertEqual(said, {f"sms_{device}_{turn}": sms for device, sms in ((0, "32"), (1, "64"))
                                for turn in range(3)} | {"told_0": "32", "told_1": "64"})

    def test_told_share_is_that_of_the_device(self):
        for mechanism, share in (("sm", 32 * 10**6 // 132), ("both", 250000), ("time", 250000)):
            with self.subTest(mechanism), machine() as one:
                said = self.live(one, "share", limits=limits("25%", mechanism))
                self.assertEqual(int(said["before"]), share)
                self.assertEqual(int(said["at_work"]), share)
                self.assertAlmostEqual(int(said["tightened"]), 100000, delta=1)

    def test_one_thread_prepares_and_others_launch(self):
        with machine() as one:
            self.assertEqual(self.live(one, "threads", limits=limits("25%")), {"sms": "32"})

    def test_more_streams_and_threads_than_anybody_has(self):
        count = 1000 if FULL else 300
        with machine() as one:
            self.assertEqual(self.live(one, "many", count, limits=limits("25%")),
                             {"marked": str(count), "streams": "32", "threads": "32"})


class Documented(Lives):
    """Ways out that docs/partition.md tells of: whoever closes one changes both."""

    def test_dynamic_parallelism_adds_two_sms(self):
        with machine(leak="cdp") as one:
            self.assertEqual(self.live(one, "dynamic_late", limits=limits("25%")),
                             {"before": "32", "after": "34"})

    def test_dynamic_parallelism_that_was_there_before_is_noticed(self):
        with machine(leak="cdp") as one:
            done = self.start(one, "dynamic_early", limits=limits("25%"))
        self.assertEqual(done.returncode, 0, done.stderr)
        self.assertEqual(done.stderr.count("cuslice["), 1, done.stderr)
        self.assertIn("work of the default stream runs on other SMs too", done.stderr)
        self.assertEqual(harness.fields(done.stdout), {"before": "132", "after": "132"})


class Unchanged(Lives):
    def test_memory_is_accounted_as_without(self):
        """Each context takes 64 MiB; a green one takes nothing, and is not charged."""
        seen = {}
        for mechanism in ("time", "sm", "both"):
            with machine(context_bytes="64MiB") as one:
                seen[mechanism] = self.live(one, "memory",
                                            limits=limits("25%", mechanism, MEMORY="512MiB"))
        self.assertEqual(seen["time"].pop("sms"), "132")
        self.assertEqual(seen["sm"].pop("sms"), "32")
        self.assertEqual(seen["both"].pop("sms"), "40")
        self.assertIn("refused", seen["time"])
        self.assertEqual(seen["sm"], seen["time"])
        self.assertEqual(seen["both"], seen["time"])

    def test_mistakes_are_answered_as_by_the_driver(self):
        with machine(**{"kernel.busy": "200ms"}) as one:
            bare = self.finished(self.start(one, "errors")).splitlines()
            confined = self.finished(self.start(one, "errors", limits=limits("25%"))).splitlines()
        self.assertGreater(len({line.split()[-1] for line in bare}), 3)
        self.assertEqual(confined, bare)

    def test_calls_wait_for_what_they_do_where_the_program_asks_for_that(self):
        with machine(fill_mib_per_ms="1", d2d_mib_per_ms="1") as one:
            bare = self.live(one, "synchronous")
            confined = self.live(one, "synchronous", limits=limits("25%"))
        self.assertEqual({key for key, query in bare.items() if query == "600"},
                         {"copied", "filled", "filled_other"})
        self.assertEqual(set(bare.values()), {"0", "600"})
        self.assertEqual(confined, bare)

    def test_threads_that_launch_at_once_are_ordered_afterwards(self):
        rounds = 20000 if FULL else 1000 if harness.SANITIZER else 4000
        with machine(**{"kernel.mark_short": "200us"}) as one:
            self.assertEqual(self.live(one, "races", rounds // 4, limits=limits("25%")),
                             {"late": "0"})


if __name__ == "__main__":
    harness.main()
