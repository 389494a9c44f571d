#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
# Copyright the cuslice authors
#
# A limit of memory that the driver keeps itself, beside a quota: nothing is enforced twice, whichever
# is less refuses first, and the view shows the less.
import json
import os
import tempfile

import harness
from harness import MIB, OUT_OF_MEMORY, client, fields
from members import GroupCase

EXPLAINER = os.environ.get("PRELOAD_EXPLAINER", "")  # with cgroups that tests can write
QUOTA = 64 * MIB  # of members
AT_ONCE_US = 150_000  # less than what is tried again and again after a death


class Native(GroupCase):
    def machine(self, limit):
        machine = harness.Machine(memory="1GiB", memory_limit=str(limit))
        machine.__enter__()
        self.addCleanup(machine.__exit__)
        return machine

    def test_drivers_limit_that_is_less_refuses_first(self):
        member, = self.start(self.machine(32 * MIB), 1)
        results, took_us = zip(*(member.alloc(40) for _ in range(5)))
        self.assertEqual(set(results), {OUT_OF_MEMORY})
        self.assertLess(min(took_us), AT_ONCE_US)  # one may have been kept from running
        self.assertEqual(self.units_used(), 0)
        self.assertEqual([member.alloc(20)[0], member.alloc(12)[0], member.alloc(1)[0]],
                         [0, 0, OUT_OF_MEMORY])
        self.assertEqual(self.units_used(), 32 * MIB // 512)
        self.assertEqual(member.free_newest(), 0)
        self.assertEqual(self.units_used(), 20 * MIB // 512)
        self.assertEqual(member.alloc(12)[0], 0)

    def test_drivers_limit_is_that_of_all_members(self):
        one, other = self.start(self.machine(32 * MIB), 2)
        self.assertEqual(one.alloc(20)[0], 0)
        self.assertEqual(other.alloc(20)[0], OUT_OF_MEMORY)
        self.assertEqual(other.alloc(12)[0], 0)
        self.assertEqual(self.units_used(), 32 * MIB // 512)

    def test_quota_that_is_less_refuses_first(self):
        machine = self.machine(100 * MIB)
        member, = self.start(machine, 1)
        self.assertEqual(member.alloc(65)[0], OUT_OF_MEMORY)
        self.assertEqual(member.alloc(64)[0], 0)
        self.assertEqual(member.alloc(1)[0], OUT_OF_MEMORY)
        self.assertEqual(machine.account()["processes"][0]["held"], QUOTA)

    def test_view_shows_the_less(self):
        for quota, limit in ((64 * MIB, 32 * MIB), (32 * MIB, 64 * MIB), (64 * MIB, 64 * MIB)):
            with self.subTest(quota=quota, limit=limit):
                done = self.machine(limit).run(client("views"), "story",
                                               limits={"MEMORY": str(quota)})
                seen = fields(self.finished(done))
                self.assertEqual(seen["info"], f"{min(quota, limit)} {min(quota, limit)}")

    def explain(self, machine, **variables):
        with tempfile.TemporaryDirectory() as folder:
            with open(os.path.join(folder, "proc_cgroup"), "w", encoding="ascii") as file:
                file.write("0::/\n")
            os.chdir(folder)
            try:
                done = machine.run(EXPLAINER, "explain", "--json", **variables)
            finally:
                os.chdir("/")
        return json.loads(self.finished(done))["driver_limits"]

    @harness.needs_nvml
    def test_explain_shows_what_nvml_tells(self):
        if not EXPLAINER:
            self.skipTest("no cmocka: the program with cgroups of the test's is not built")
        machine = self.machine(32 * MIB)
        member, = self.start(machine, 1)
        self.assertEqual(member.alloc(8)[0], 0)
        found, = self.explain(machine)
        self.assertTrue(found.pop("device").startswith("GPU-"))
        self.assertEqual(found, {"by": "nvml", "hard_bytes": 32 * MIB, "used_bytes": 8 * MIB})
        self.assertEqual(self.explain(self.machine(0)), [])


if __name__ == "__main__":
    harness.main()
