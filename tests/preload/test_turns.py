#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
# Copyright the cuslice authors
#
# Programs that take turns on one GPU, by the account of the machine. Measures time. What they get
# is judged by its proportions: where the computer has others to serve, all get less. How exactly
# shares are kept, and whether all of the time is used, is for tests/bench/shares to say.
import json
import os
import random
import signal
import time

import harness
from harness import client

BURST_S = 0.3


class Turns(harness.Case):
    def setUp(self):
        self.machine = harness.Machine(**{"kernel.busy": "500us"})
        self.machine.__enter__()
        self.addCleanup(self.machine.__exit__)
        self.tenants = []

    def tearDown(self):
        for tenant in self.tenants:
            tenant.kill()
            tenant.communicate()

    def tenant(self, seconds=60, how="queue", **limits):
        process = self.machine.start(client("share"), how, str(int(seconds * 1000)), limits=limits)
        self.tenants.append(process)
        return process

    def used_ns(self):
        used = {row["pid"]: row["gpu_time_ns"] for row in self.machine.account()["processes"]}
        return [used.get(tenant.pid, 0) for tenant in self.tenants]

    def use(self, seconds):
        """In percent, of each tenant, in the next `seconds`."""
        before, began = self.used_ns(), time.monotonic()
        time.sleep(seconds)
        span_ns = (time.monotonic() - began) * 1e9
        return [100 * (after - before) / span_ns for before, after in zip(before, self.used_ns())]

    def settle(self):
        deadline = time.monotonic() + harness.PATIENCE_S
        while 0 in self.used_ns():
            self.assertLess(time.monotonic(), deadline)
            time.sleep(0.01)
        time.sleep(BURST_S)

    def parts(self, seconds=1.5):
        """Of what all have used, in percent."""
        found = self.use(seconds)
        self.assertGreater(sum(found), 5)
        return [100 * use / sum(found) for use in found]

    def assert_parts(self, wanted, within=6):
        found = self.parts()
        for part, percent in zip(found, wanted):
            self.assertLess(abs(part - percent), within, f"{found}, not {wanted}")

    def test_guarantees(self):
        self.tenant(COMPUTE="70%", CLASS="batch", BORROW="no", QUANTUM="2ms")
        self.tenant(COMPUTE="30%")
        self.settle()
        self.assert_parts([70, 30])

    def test_explain_tells_who_is_there(self):
        self.tenant(COMPUTE="50%")
        self.tenant(COMPUTE="25%", CLASS="latency", BORROW="yes")
        self.tenant(WEIGHT="7")
        self.settle()
        explain = self.machine.run(str(harness.CUSLICE), "explain", "--json")
        gpus = json.loads(self.finished(explain))["gpus"]
        keys = "guarantee_ppm", "weight", "class", "borrow"
        wanted = [(0, 7, "batch", False), (250000, 2500, "latency", True),
                  (500000, 5000, "batch", False)]
        self.assertIn(wanted, [sorted(tuple(tenant[key] for key in keys)
                                      for tenant in gpu["tenants"]) for gpu in gpus])
        text = self.finished(self.machine.run(str(harness.CUSLICE), "explain"))
        self.assertIn("1 process:  25 % guaranteed, may borrow, class latency", text)

    def test_guarantees_beyond_the_whole_and_a_borrower(self):
        """The second has a cap of 80 %, of which the first leaves half."""
        self.tenant(COMPUTE="80%", BORROW="yes")
        self.tenant(COMPUTE="80%")
        self.settle()
        self.assert_parts([50, 50])
        os.kill(self.tenants[1].pid, signal.SIGSTOP)
        time.sleep(0.2)
        self.assertGreater(self.parts(1)[0], 95)

    def test_weights_divide_what_guarantees_leave(self):
        self.tenant(COMPUTE="40%")
        self.tenant(WEIGHT="200")
        self.tenant(WEIGHT="100")
        self.settle()
        self.assert_parts([40, 40, 20])

    def test_class_latency_leaves_others_their_part(self):
        """It has no share that would make it wait."""
        self.tenant(WEIGHT="100", CLASS="latency")
        self.tenant(WEIGHT="100")
        self.settle()
        self.assert_parts([50, 50], within=10)

    def test_share_that_comes_later_takes_turns(self):
        """The first member has none when it starts, and goes on as one of its group."""
        name = f"turns-{os.getpid()}-{random.randrange(1 << 32)}"
        self.addCleanup(self.remove_group, name)
        self.tenant(GROUP=name)
        self.settle()
        self.tenant(COMPUTE="50%", GROUP=name)
        self.tenant(COMPUTE="50%")
        self.settle()
        self.assert_parts([25, 25, 50])

    def test_processes_of_a_group_have_one_guarantee(self):
        name = f"turns-{os.getpid()}-{random.randrange(1 << 32)}"
        self.addCleanup(self.remove_group, name)
        self.tenant(COMPUTE="50%", GROUP=name)
        self.tenant(COMPUTE="50%", GROUP=name)
        self.tenant(COMPUTE="50%")
        self.settle()
        self.assert_parts([25, 25, 50])

    @staticmethod
    def remove_group(name):
        path = f"/dev/shm/cuslice-{os.geteuid()}/{name}.group"
        if os.path.exists(path):
            os.unlink(path)

    def test_others_run_on_when_one_stops(self):
        self.tenant(COMPUTE="50%")
        self.tenant(COMPUTE="50%", BORROW="yes")
        self.settle()
        for _ in range(5):
            os.kill(self.tenants[0].pid, signal.SIGSTOP)
            time.sleep(0.12)  # for what it had on the device, and for us to notice
            self.assertGreater(self.parts(0.15)[1], 95)
            os.kill(self.tenants[0].pid, signal.SIGCONT)
            time.sleep(random.uniform(0.05, 0.15))
        time.sleep(BURST_S)
        self.assert_parts([50, 50])

    def test_others_run_on_when_some_are_killed(self):
        survivor = self.tenant(COMPUTE="50%")
        self.settle()
        killed = []
        for _ in range(12):
            victim = self.machine.start(client("share"), "queue", "60000",
                                        limits={"COMPUTE": "50%"})
            time.sleep(random.uniform(0.05, 0.2))
            victim.kill()
            killed.append(victim)
        self.assertGreater(self.use(1)[0], 5)
        for victim in killed:
            victim.communicate()
        self.assertIsNone(survivor.poll())


if __name__ == "__main__":
    harness.main()
