#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
# Copyright the cuslice authors
#
# Under a share, captures stay what they are and event calls may fail: the program does not notice.
import harness
from harness import client, fields

EVENT_CALLS = ("cuEventCreate", "cuEventRecord", "cuEventQuery", "cuEventElapsedTime",
               "cuStreamIsCapturing", "cuStreamGetCtx", "cuCtxGetCurrent", "cuCtxGetDevice",
               "cuThreadExchangeStreamCaptureMode")
OUT_OF_MEMORY, INVALID_HANDLE = "2", "400"


class Capture(harness.Case):
    def test_captures_are_as_bare_in_every_mode(self):
        for limits in ({"COMPUTE": "50%"}, {"COMPUTE": "10%", "MEMORY": "64MiB"}):
            with harness.Machine(**{"kernel.busy": "200us"}) as machine:
                bare = self.finished(machine.run(client("share"), "capture"))
                self.assertEqual(self.finished(machine.run(client("share"), "capture",
                                                           limits=limits)), bare)
        self.assertEqual(bare.count("nodes 4 status 0"), 6)

    def test_captured_launches_are_not_billed(self):
        with harness.Machine() as machine:
            self.finished(machine.run(client("share"), "capture", limits={"COMPUTE": "90%"}))
            kernels = sum(row["kernels"] for row in machine.account()["processes"])
        # six graphs of four kernels, launched five times; four kernels beside three of them
        self.assertEqual(kernels, 6 * 4 * 5 + 3 * 4)


class Failures(harness.Case):
    def run_with(self, symbol, result, count, how="queue"):
        with harness.Machine() as machine:
            machine.simgpu("fail", symbol, result, count)
            done = machine.run(client("share"), how, "150", limits={"COMPUTE": "50%"})
        seen = fields(self.finished(done))
        self.assertGreater(int(seen["launches"]), 5)

    def test_failing_event_calls_do_not_reach_the_program(self):
        for symbol in EVENT_CALLS:
            for result in (OUT_OF_MEMORY, INVALID_HANDLE):
                for count in ("1", "40"):
                    with self.subTest(f"{symbol} {result} {count}"):
                        self.run_with(symbol, result, count)

    def test_event_calls_that_fail_for_ever_do_not_reach_the_program(self):
        for symbol in ("cuEventCreate", "cuEventRecord", "cuEventQuery", "cuEventElapsedTime"):
            with self.subTest(symbol):
                self.run_with(symbol, INVALID_HANDLE, "1000000", how="streams")


if __name__ == "__main__":
    harness.main()
