#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
# Copyright the cuslice authors
#
# How much work a partition does, and the governor where there is none.
from test_partition import Case, client, harness, limits, machine


class Work(Case):
    def test_compute_bound_work_is_what_the_sms_give(self):
        """A kernel of eight waves on the device has so many more on fewer SMs."""
        for share, sms in (("12%", 16), ("25%", 32), ("50%", 64), ("75%", 96)):
            with self.subTest(share), machine() as one:
                said = self.run_on(one, "busy", 1000, limits=limits(share))
                used = one.account()["processes"][0]
                places = 264 * 8
                waves = -(-places // (2 * sms))
                kernels = int(said["kernels"])
                self.assertAlmostEqual(used["gpu_time_ns"] / (kernels * waves * 100_000), 1, delta=0.05)

    def test_share_holds_by_time_where_there_is_no_partition(self):
        with machine() as one:
            done = one.run(client("partition"), "busy", "2000", limits=limits("25%"))
            busy_ns = one.account()["processes"][0]["gpu_time_ns"]
            said = harness.fields(done.stdout)
        self.assertAlmostEqual(busy_ns / int(said["ns"]), 0.25, delta=0.03)


if __name__ == "__main__":
    harness.main()
