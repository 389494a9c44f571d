#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
# Copyright the cuslice authors
#
# Tenants of one GPU that begin, stop and are killed at any moment, for a short while: none of those
# that live hangs, or has anything to report to a sanitizer, which would change its exit status. How
# much they get is for test_turns.py to say.
import random
import signal
import time

import harness
from harness import client

WAYS = ("queue", "threads", "streams", "sync")
SURVIVORS_MS = 4000
SPAN_S = 3


class Tenants(harness.Case):
    def start(self, machine, way, milliseconds):
        process = machine.start(client("share"), way, str(milliseconds),
                                limits={"COMPUTE": "40%", "BORROW": "yes"})
        self.addCleanup(process.kill)
        return process

    def assert_end(self, process, status):
        process.communicate(timeout=harness.PATIENCE_S)
        self.assertEqual(process.returncode, status)

    def test_none_hangs(self):
        with harness.Machine(**{"kernel.busy": "200us"}) as machine:
            survivors = [self.start(machine, way, SURVIVORS_MS) for way in WAYS[:2]]
            until = time.monotonic() + SPAN_S
            for turn in range(1000):
                if time.monotonic() > until:
                    break
                victim = self.start(machine, WAYS[turn % len(WAYS)], 60000)
                time.sleep(random.uniform(0, 0.3))
                stopped = survivors[turn % 2]
                stopped.send_signal(signal.SIGSTOP)
                time.sleep(random.uniform(0, 0.03))
                victim.kill()
                stopped.send_signal(signal.SIGCONT)
                self.assert_end(victim, -signal.SIGKILL)
            for survivor in survivors:
                self.assert_end(survivor, 0)


if __name__ == "__main__":
    harness.main()
