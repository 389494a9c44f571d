#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
# Copyright the cuslice authors
#
# The figures and the verdict, from traces that are made up.
import argparse
import unittest

import cells
import figures
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


class Verdict(unittest.TestCase):
    def verdict(self, share, use, bare):
        return figures.verdict_of(share, 2, 97, {"use": use, "bare": bare})

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
        for text in ("", "50:", "50dance", "50:-1"):
            with self.subTest(text), self.assertRaises(argparse.ArgumentTypeError):
                cells.tenants_of(text)

    def test_tenants(self):
        self.assertEqual(cells.tenants_of("70:30requests"),
                         (cells.Tenant(70, "queue"), cells.Tenant(30, "requests")))


if __name__ == "__main__":
    unittest.main()
