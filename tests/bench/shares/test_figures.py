#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
# Copyright the cuslice authors
#
# The figures and the verdict, from traces that are made up.
import argparse
import sys
import time
import unittest

import cells
import checks
import figures
import machine
import stalls
from figures import NS_PER_MS, Trace

MS = NS_PER_MS


def trace_of(use_of_ms, milliseconds, every=10, kernel_ms=1):
    """use_of_ms(t): whether the GPU works in millisecond t."""
    trace, used = Trace(), 0
    for t in range(milliseconds + 1):
        if t % every == 0:
            trace.add(5_000_000_000 + t * MS, used * MS, used // kernel_ms)
        used += use_of_ms(t)
    return trace


def quarter(t):
    return t >= 100 and t % 4 == 0


class Figures(unittest.TestCase):
    def test_steady_quarter(self):
        got = figures.figures_of(trace_of(quarter, 4000, every=8), 0.5, 3, 25)
        self.assertAlmostEqual(got["use"], 25)
        self.assertEqual(len(got["windows"]), 3)
        self.assertAlmostEqual(got["lowest"], 25)
        self.assertAlmostEqual(got["highest"], 25)
        self.assertAlmostEqual(got["kernels_per_s"], 250)
        self.assertEqual(got["stall_ms"], 0)
        self.assertLess(abs(got["start_ms"]), 3)

    def test_burst_at_the_beginning_is_told_apart(self):
        got = figures.figures_of(
            trace_of(lambda t: 100 <= t < 200 or quarter(t), 4000, every=4), 0.5, 3, 25)
        self.assertAlmostEqual(got["use"], 25)
        self.assertAlmostEqual(got["start_ms"], 75, delta=2)

    def test_stall_and_worst_windows(self):
        got = figures.figures_of(
            trace_of(lambda t: not 1500 <= t < 1800 and t % 2 == 0, 4000, every=10), 0.5, 3, 50)
        self.assertEqual(got["stall_ms"], 300)
        self.assertAlmostEqual(got["lowest"], 35, delta=0.5)
        self.assertAlmostEqual(got["highest"], 50, delta=0.5)
        self.assertAlmostEqual(min(got["windows"]), 35, delta=0.5)

    def test_samples_that_come_late_are_exact(self):
        trace = Trace()
        for at_ms in (0, 3, 10, 600, 1234, 1907, 2950, 3333, 4100):
            trace.add(at_ms * MS, at_ms * MS // 4, at_ms)
        got = figures.figures_of(trace, 0.5, 3, 25)
        self.assertAlmostEqual(got["use"], 25)
        self.assertTrue(all(abs(use - 25) < 0.01 for use in got["windows"]))

    def test_too_little_is_nothing(self):
        self.assertIsNone(figures.figures_of(Trace(), 0.5, 3, 25))
        self.assertIsNone(figures.figures_of(trace_of(lambda t: 0, 4000), 0.5, 3, 25))
        self.assertIsNone(figures.figures_of(trace_of(quarter, 2000), 0.5, 3, 25))

    def test_rounds(self):
        def run(use, rate):
            return {"use": use, "kernels_per_s": rate, "windows": [use - 1, use + 1],
                    "lowest": use - 2, "highest": use + 2, "stall_ms": use, "start_ms": 1,
                    "sampled": 0}

        got = figures.cell_figures(
            25, [run(100, 1000), run(98, 980)], [run(24, 240), run(26, 260)])
        self.assertEqual((got["bare"], got["bare_least"], got["use"]), (99, 98, 25))
        self.assertEqual((got["lowest"], got["highest"], got["overshoot"]), (22, 28, 3))
        self.assertEqual(got["stall_ms"], 26)
        self.assertAlmostEqual(got["work"], 100 * 250 / (990 * 25 / 99))
        self.assertAlmostEqual(got["sd"], (4 / 3 + 4 / 3) ** 0.5 / 1, delta=0.5)

    def test_work_of_a_host_bound_program(self):
        run = {"use": 20, "kernels_per_s": 200, "windows": [], "lowest": 20, "highest": 20,
               "stall_ms": 0, "start_ms": 0, "sampled": 0}
        self.assertAlmostEqual(figures.cell_figures(25, [run], [run])["work"], 100)


class Changes(unittest.TestCase):
    def test_served_late(self):
        """Nothing for 40 ms, then half of the time."""
        trace = trace_of(lambda t: t >= 540 and t % 2 == 0, 2000, every=2)
        lag = figures.lag_ns(trace, 50, trace.at_ns[0] + 500 * MS, 1000 * MS)
        self.assertAlmostEqual(lag / MS, 40, delta=2)
        at_once = figures.lag_ns(trace, 50, trace.at_ns[0] + 600 * MS, 1000 * MS)
        self.assertLess(at_once / MS, 3)
        never = figures.lag_ns(trace_of(quarter, 2000), 50, trace.at_ns[0], 1000 * MS)
        self.assertGreater(never / MS, 500)

    def test_gives_way_late(self):
        """All of the time until 30 ms after it should have gone down to a quarter."""
        trace = trace_of(lambda t: t < 1030 or t % 4 == 0, 2000, every=1)
        late = figures.late_ns(trace, 100, 25, trace.at_ns[0] + 1000 * MS, 800 * MS)
        self.assertAlmostEqual(late / MS, 30, delta=3)

    def test_begun_together(self):
        early, late = trace_of(lambda t: 1, 100), trace_of(lambda t: t >= 50, 100)
        self.assertEqual(figures.all_begun_ns([early, late]), early.at_ns[0] + 50 * MS)
        self.assertIsNone(figures.all_begun_ns([early, Trace()]))
        got = figures.figures_of(trace_of(lambda t: t < 1000 or quarter(t), 4000), 0.5, 2, 25,
                                 5_000_000_000 + 1000 * MS)
        self.assertAlmostEqual(got["use"], 25)


class Verdict(unittest.TestCase):
    def verdict(self, share, use, bare):
        return figures.verdict_of(share, figures.Limits(2, 97), {"use": use, "bare": bare})

    def test_windows_and_stalls(self):
        limits = figures.Limits(1, 97, sd=2, stall_ms=200)
        held = {"use": 25, "bare": 99, "bare_sd": 1, "sd": 2, "stall_ms": 200}
        self.assertIsNone(figures.verdict_of(25, limits, held))
        self.assertEqual(figures.verdict_of(25, limits, held | {"sd": 2.1}), "sd more than 2")
        self.assertEqual(figures.verdict_of(25, limits, held | {"stall_ms": 201}),
                         "a stall of more than 200 ms")
        slow = held | {"use": 5, "stall_ms": 250}
        self.assertIsNone(figures.verdict_of(5, limits, slow))
        idle = {"use": 40, "bare": 40, "bare_sd": 1.5, "sd": 3.4, "stall_ms": 0}
        self.assertIsNone(figures.verdict_of(75, limits, idle))
        self.assertEqual(figures.verdict_of(75, limits, idle | {"sd": 3.6}),
                         "sd more than 2 + 1.5")

    def test_busy(self):
        for use in (23.1, 25, 26.9):
            self.assertIsNone(self.verdict(25, use, 99))
        self.assertEqual(self.verdict(25, 22.9, 99), "less than 25.0 - 2 %")
        self.assertEqual(self.verdict(25, 27.1, 99), "more than 25 + 2 %")

    def test_bound_by_the_host(self):
        self.assertIsNone(self.verdict(75, 39, 40))
        self.assertEqual(self.verdict(75, 38.7, 40), "less than 97 % of 40.0 %")
        self.assertIsNone(self.verdict(25, 24.3, 40))
        self.assertEqual(self.verdict(25, 24.2, 40), "less than 97 % of 25.0 %")
        self.assertEqual(self.verdict(25, 27.1, 40), "more than 25 + 2 %")


class Claims(unittest.TestCase):
    def test_bounds(self):
        self.assertFalse(checks.within("use", 52, 50, 2).is_missed)
        self.assertTrue(checks.within("use", 52.1, 50, 2).is_missed)
        self.assertTrue(checks.within("use", 47.9, 50, 2).is_missed)
        self.assertFalse(checks.at_least("sum", 97, 97).is_missed)
        self.assertTrue(checks.at_least("sum", 96.9, 97).is_missed)
        self.assertFalse(checks.at_most("p99", 3, 3, "ms").is_missed)
        self.assertTrue(checks.at_most("p99", 3.1, 3, "ms").is_missed)

    def test_too_little_is_measured_again(self):
        def measure():
            if not tries:
                tries.append(1)
                raise machine.TooLittle("busy")
            return [checks.within("use", 50, 50, 2)]

        tries = []
        self.assertEqual(checks.measure_case(measure)[0].remark(), "ok")

    def test_what_fails_misses(self):
        def measure():
            raise machine.Failed("ended\nwith 1")

        found, = checks.measure_case(measure)
        self.assertTrue(found.is_missed)
        self.assertEqual(found.what, "not measured: ended with 1")

    def test_measured_once_more(self):
        class Moving(stalls.Stalls):
            def look(self):
                pass

        def found(*uses):
            left = list(uses)
            return checks.measure_case(lambda: [checks.within("use", left.pop(0), 50, 2)],
                                       stalls=Moving)

        self.assertEqual(found(45.0, 50.5)[0].remark(), "ok, 2nd try: was 45.00")
        missed = found(45.0, 44.0, 50.0)
        self.assertEqual(missed[0].remark(), "**missed**, 2nd try: was 45.00")
        self.assertEqual(checks.total_of(missed),
                         "1 claims: 0 hold, 1 missed; 1 cases measured twice")
        self.assertEqual(found(50.0)[0].remark(), "ok")

    def test_measured_again_while_the_computer_stands_still(self):
        class Stopped(stalls.Stalls):
            def look(self):
                self.note(0.5)

        def use_of(*uses):
            left = list(uses)
            return checks.measure_case(lambda: [checks.within("use", left.pop(0), 50, 2)],
                                       stalls=Stopped)[0].remark()

        self.assertEqual(use_of(45.0, 44.0, 50.0), "ok, 3rd try: was 45.00")
        self.assertEqual(use_of(*[45.0] * 4, 50.0), "ok, 5th try: was 45.00")
        self.assertEqual(use_of(*[45.0] * 5, 50.0), "**missed**, 5th try: was 45.00")
        self.assertEqual(use_of(50.0), "ok")

    def test_what_is_a_stall(self):
        seen = stalls.Stalls()
        for _ in range(1000):
            seen.note(0.002)
        seen.note(0.015)
        self.assertFalse(seen.stood_still())
        seen.note(0.011)
        self.assertTrue(seen.stood_still())

    def test_sees_that_it_could_not_run(self):
        self.addCleanup(sys.setswitchinterval, sys.getswitchinterval())
        with stalls.Stalls() as seen:
            time.sleep(0.02)
            sys.setswitchinterval(10)  # the interpreter is ours until we sleep
            begun_s = time.monotonic()
            while time.monotonic() - begun_s < 0.2:
                pass
        self.assertTrue(seen.stood_still())
        self.assertFalse(seen.thread.is_alive())


class Cells(unittest.TestCase):
    def test_names(self):
        cell = cells.cell_of("12.5:100us:graph")
        self.assertEqual(str(cell), "12.5 % 100 µs graph")
        self.assertEqual(cell.load.kernel, "busy_5000")
        self.assertEqual(cell.load.arguments(1.5), ["graph", "busy_5000", "100000", "1500"])

    def test_what_is_not_understood(self):
        for text in ("25", "25:1ms", "0:1ms:sync", "101:1ms:sync", "25:1:sync", "25:0ms:sync",
                     "25:1ms:dance"):
            with self.subTest(text), self.assertRaises(argparse.ArgumentTypeError):
                cells.cell_of(text)
        for text in ("", "50:", "50dance", "50:-1", "50@1", "50sync@"):
            with self.subTest(text), self.assertRaises(argparse.ArgumentTypeError):
                cells.tenants_of(text)

    def test_tenants(self):
        self.assertEqual(cells.tenants_of("70:30requests@100us"), (
            cells.Tenant(70, cells.Load("queue", 1_000_000)),
            cells.Tenant(30, cells.Load("requests", 100_000))))

    def test_arguments(self):
        self.assertEqual(cells.Load("queue", 1000, blocks=32).arguments(1),
                         ["-b", "32", "queue", "busy_1000", "1000", "1000"])
        self.assertEqual(cells.Load("phases", 1000, period_ns=9, on_ns=4).arguments(1),
                         ["-o", "4", "-p", "9", "phases", "busy_1000", "1000", "1000"])


if __name__ == "__main__":
    unittest.main()
