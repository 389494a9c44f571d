#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
# Copyright the cuslice authors
#
# fork with and without exec at every moment, and races of first lookups and first calls.
import harness
from harness import client, fields

LIMITS = {"none": {}, "quota": {"MEMORY": "64MiB"}, "share": {"COMPUTE": "90%"},
          "both": {"MEMORY": "64MiB", "COMPUTE": "90%"}}


class Forks(harness.Case):
    def check(self, when, expected):
        for name, limits in LIMITS.items():
            with self.subTest(name), harness.Machine() as machine:
                bare = fields(self.finished(machine.run(client("forks"), when, "0")))
                has_quota = "1" if "MEMORY" in limits else "0"
                done = machine.run(client("forks"), when, has_quota, limits=limits)
                self.assertEqual(bare, expected)
                self.assertEqual(fields(self.finished(done)), expected)

    def test_child_of_a_fork_before_any_cuda_has_a_gpu(self):
        self.check("before", {"child": "0", "parent": "0"})

    def test_child_of_a_fork_after_lookups_has_a_gpu(self):
        self.check("looked_up", {"child": "0", "parent": "0"})

    def test_child_of_an_initialised_process_is_told_so_and_what_it_executes_has_a_gpu(self):
        self.check("initialised", {"child": "0", "vfork": "0", "exec": "0", "parent": "0"})

    def storm(self, limits):
        with harness.Machine(**{"kernel.busy": "100us"}) as machine:
            done = machine.run(client("forks"), "storm", "100", limits=limits)
            self.assertEqual(self.finished(done), "storm 0 0\n")

    def test_children_forked_while_threads_allocate_and_launch_never_hang(self):
        for name, limits in LIMITS.items():
            with self.subTest(name):
                self.storm(limits)


class Races(harness.Case):
    def race(self, program):
        for attempt in range(10):
            limits = {"MEMORY": "64MiB"} | ({"COMPUTE": "50%"} if attempt % 2 else {})
            with harness.Machine() as machine:
                self.assertEqual(self.finished(machine.run(client(program), limits=limits)),
                                 "mistakes 0\n")

    def test_first_lookups_by_many_threads(self):
        self.race("races")

    def test_first_calls_by_many_threads(self):
        self.race("linked_races")


if __name__ == "__main__":
    harness.main()
