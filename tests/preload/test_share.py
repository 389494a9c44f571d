#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
# Copyright the cuslice authors
#
# The share of a program that keeps the GPU busy, by the account of the machine. Measures time.
import harness
from harness import client, fields


class Share(harness.Case):
    def percent_used(self, how, milliseconds, limits, **settings):
        with harness.Machine(**settings) as machine:
            done = machine.run(client("share"), how, str(milliseconds), limits=limits)
            wall_ns = int(fields(self.finished(done))["wall_ns"])
            used_ns = sum(row["gpu_time_ns"] for row in machine.account()["processes"])
        percent = 100 * used_ns / wall_ns
        print(f"{how} {limits}: {percent:.2f} %")
        return percent

    def assert_used(self, least, most, *run, **settings):
        """Measured once more where it misses: the computer is shared with others."""
        percent = self.percent_used(*run, **settings)
        if not least < percent < most:
            percent = self.percent_used(*run, **settings)
        self.assertGreater(percent, least)
        self.assertLess(percent, most)

    def test_quarter_is_a_quarter(self):
        for how in ("sync", "queue", "streams", "graph"):
            with self.subTest(how):
                self.assert_used(22, 28, how, 1500, {"COMPUTE": "25%"})

    def test_threads_have_one_share(self):
        for how in ("threads", "own"):
            with self.subTest(how):
                self.assert_used(22, 28, how, 2000, {"COMPUTE": "25%"}, **{"kernel.busy": "100us"})

    # Shares between these, and longer kernels, are for tests/bench/shares.
    def test_shares_of_other_sizes(self):
        for wanted in (5, 80):
            with self.subTest(wanted):
                self.assert_used(wanted - 3, wanted + 3, "queue", 1500, {"COMPUTE": f"{wanted}%"})

    def test_short_kernels(self):
        self.assert_used(21, 29, "queue", 2000, {"COMPUTE": "25%"}, **{"kernel.busy": "50us"})

    def test_no_share_is_all(self):
        for limits in (None, {}, {"COMPUTE": "100%"}):
            with self.subTest(str(limits)):
                self.assertGreater(self.percent_used("queue", 500, limits), 90)


if __name__ == "__main__":
    harness.main()
