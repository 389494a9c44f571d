#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
# Copyright the cuslice authors
#
# Every way out of green contexts that simgpu knows, and what becomes of a program that is confined to
# a partition: either nothing of ours takes that way, or the self-test sees it, says so, and the
# governor keeps the share.
import re

from test_partition import TWINS, WAYS, Case, client, harness, limits, machine

SMS = 132
# How much it is exactly says test_partition_work, where nothing else runs.
SHARE, MOST = "25%", 0.40  # of the time, for a second with the burst
HALF = {"mps": 1, "mps_percentage": 50}  # which only the daemon knows


class Leak:
    """What has to be so, beside the leak, for work to get out by it. `is_late`: it is caught once the
    program takes it; what it has in the partition by then stays there."""

    def __init__(self, caught_by=None, settings=None, sms=SMS, first=(), is_late=False):
        self.caught_by, self.settings, self.sms = caught_by, settings or {}, sms
        self.is_late = is_late
        self.commands = {what: (*first, what) for what in ("ways", "busy")}


LEAKS = {
    "cdp": Leak("work of the default stream runs on other SMs too", first=("launching",)),
    # No green context is ever current, and no default stream of one is used.
    "null_stream": Leak(),
    "thread": Leak(),
    "graph": Leak("work of a graph runs on other SMs too"),
    "mps_scale": Leak("work of the default stream runs on other SMs too", HALF, SMS // 2),
    "set_params": Leak("nodes that the program puts into graphs run on other SMs too",
                       first=("node",), is_late=True),
    "named": Leak("nodes that the program puts into graphs run on other SMs too",
                  first=("node",), is_late=True),
}


def known_leaks(text):
    return re.findall(r"^LEAK\(\w+, (\w+)\)", text, re.MULTILINE)


class Leaks(Case):
    def run_ways(self, leak, name, mechanism):
        with machine(leak=name, **leak.settings) as one:
            done = one.run(client("partition"), *leak.commands["ways"],
                           limits=limits(SHARE, mechanism), SIMGPU_TWINS=TWINS)
            used = len(self.sms_used(one))
        self.assertEqual(done.returncode, 0, done.stdout + done.stderr)
        return harness.fields(done.stdout), done.stderr, used

    def part(self, leak, mechanism):
        return {("sm", SMS): 32, ("both", SMS): 40, ("sm", SMS // 2): 16,
                ("both", SMS // 2): 24}[mechanism, leak.sms]

    def test_each_that_simgpu_knows_is_here(self):
        text = (harness.TREE / "tests/simgpu/leaks.def").read_text()
        self.assertEqual(sorted(known_leaks(text)), sorted(LEAKS))
        self.assertIn("water", known_leaks(text + "LEAK(WATER, water)\n"))

    def test_partition_holds_without_it(self):
        for name, leak in LEAKS.items():
            for mechanism in ("sm", "both"):
                with self.subTest(name, mechanism=mechanism):
                    seen, said, used = self.run_ways(leak, "none", mechanism)
                    part = self.part(leak, mechanism)
                    self.assertEqual(seen, {way: str(part) for way in ("told", *WAYS)})
                    self.assertEqual((said, used), ("", part))

    def test_it_is_caught_or_nothing_takes_it(self):
        for name, leak in LEAKS.items():
            for mechanism in ("sm", "both"):
                with self.subTest(name, mechanism=mechanism):
                    seen, said, used = self.run_ways(leak, name, mechanism)
                    part = self.part(leak, mechanism)
                    told = leak.sms if leak.caught_by else part
                    self.assertEqual(seen["told"], str(told))
                    self.assertEqual(seen["null"], str(part if leak.is_late else told))
                    if leak.caught_by is None:
                        self.assertEqual((said, used), ("", part))
                        continue
                    self.assertEqual(said.count("cuslice["), 1, said)
                    self.assertIn(f"no partition of {part} SMs, for {leak.caught_by}; the compute "
                                  "share is kept by time alone", said)

    def test_where_it_is_caught_the_governor_keeps_the_share(self):
        for name, leak in LEAKS.items():
            if leak.caught_by is None:
                continue
            with self.subTest(name), machine(leak=name, **leak.settings) as one:
                done = one.run(client("partition"), *leak.commands["busy"], "1000",
                               limits=limits(SHARE), SIMGPU_TWINS=TWINS)
                busy_ns = one.account()["processes"][0]["gpu_time_ns"]
                self.assertEqual(done.returncode, 0, done.stdout + done.stderr)
                used = busy_ns / int(harness.fields(done.stdout)["ns"])
                self.assertLess(used, MOST)
                self.assertGreater(used, 0)


if __name__ == "__main__":
    harness.main()
