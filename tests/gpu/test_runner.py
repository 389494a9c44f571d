#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
# Copyright the cuslice authors
#
# That no row can end the report or make it look better than it is: crashes, hangs, mistakes, a used
# up budget. Needs no GPU and no simgpu.
import json
import os
import sys
import tempfile
import time
import unittest

sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))

import report
import runner
from driver_checks import QUOTA, judge_slice
import family_checks
import share_checks
import tenant_checks
from machine import Failed, Machine, OutOfTime, Skipped
from program_checks import judge_torch_memory, read_trace
from workers import Fleet, fleet_of


def row(name, check, estimate=1):
    return runner.Row(name, "a claim", estimate, check)


def shell(command):
    return lambda machine: {"said": machine.run(["sh", "-c", command])}


class RunnerTest(unittest.TestCase):
    def setUp(self):
        self.folder = tempfile.TemporaryDirectory()
        self.machine = Machine(self.folder.name, self.folder.name, is_simulated=False)

    def tearDown(self):
        self.machine.log.close()
        self.folder.cleanup()

    def run_rows(self, *rows, budget=60):
        runner.run_rows(rows, self.machine, budget)
        return [one.status for one in rows]

    def test_a_crash_fails_its_row_only(self):
        crashing, fine = row("crash", shell("kill -SEGV $$")), row("fine", shell("echo yes"))

        statuses = self.run_rows(crashing, fine)

        self.assertEqual(statuses, ["fail", "pass"])
        self.assertIn("SIGSEGV", crashing.reason)
        self.assertEqual(fine.figures, {"said": "yes\n"})

    def test_an_error_is_quoted(self):
        failing = row("status", shell("echo reason >&2; exit 3"))

        self.run_rows(failing)

        self.assertRegex(failing.reason, "exit status 3: reason")

    def test_a_hang_is_killed_with_its_children(self):
        marker = os.path.join(self.folder.name, "alive")
        hanging = row("hang", shell(f"(sleep 2; touch {marker}) & wait"))
        fine = row("fine", shell("true"))
        least, runner.LEAST_S = runner.LEAST_S, 0
        patience, runner.PATIENCE = runner.PATIENCE, 0.5

        statuses = self.run_rows(hanging, fine)

        runner.LEAST_S, runner.PATIENCE = least, patience
        self.assertEqual(statuses, ["fail", "pass"])
        self.assertIn("hung", hanging.reason)
        time.sleep(2)
        self.assertFalse(os.path.exists(marker))

    def test_a_mistake_in_a_row_fails_it(self):
        self.assertEqual(self.run_rows(row("mistake", lambda machine: 1 // 0)), ["fail"])

    def test_a_row_that_does_not_fit_is_skipped(self):
        long, short = row("long", shell("true"), estimate=100), row("short", shell("true"))

        statuses = self.run_rows(long, short, budget=10)

        self.assertEqual(statuses, ["skip", "pass"])
        self.assertIn("budget used up", long.reason)

    def test_the_end_of_the_budget_is_no_failure(self):
        cut = row("cut", shell("sleep 20"))

        start = time.monotonic()
        statuses = self.run_rows(cut, budget=1.2)

        self.assertEqual(statuses, ["skip"])
        self.assertLess(time.monotonic() - start, 10)

    def test_programs_that_do_not_run_end_it(self):
        def broken(machine):
            raise Failed("version `GLIBC_9.9' not found")

        self.assertEqual(self.run_rows(row("programs", broken), row("next", shell("true"))),
                         ["fail", "skip"])

    def test_a_report_tells_all(self):
        def skipped(machine):
            raise Skipped("not here")

        def found(machine):
            raise Failed("wrong", {"figure": 7, "table": ["a line"]})

        rows = [row("good", shell("true")), row("bad", found), row("absent", skipped)]
        self.run_rows(*rows)
        report.write_report(self.folder.name, {"GPU": "none"}, rows)

        with open(os.path.join(self.folder.name, "report.json"), encoding="utf-8") as file:
            written = json.load(file)
        self.assertEqual([(one["name"], one["status"]) for one in written["rows"]],
                         [("good", "pass"), ("bad", "fail"), ("absent", "skip")])
        self.assertEqual(written["rows"][1]["figures"]["figure"], 7)
        with open(os.path.join(self.folder.name, "report.md"), encoding="utf-8") as file:
            text = file.read()
        for expected in ("1 passed, 1 failed, 1 skipped", "wrong", "a line", "not here"):
            self.assertIn(expected, text)


class ChooseTest(unittest.TestCase):
    rows = [row(name, shell("true")) for name in ("programs", "client.a", "client.b", "other")]

    def chosen(self, wanted, unwanted):
        return [one.name for one in report.choose(self.rows, wanted, unwanted)]

    def test_groups_and_names(self):
        self.assertEqual(self.chosen(set(), set()), ["programs", "client.a", "client.b", "other"])
        self.assertEqual(self.chosen({"client"}, {"client.b"}), ["programs", "client.a"])
        self.assertEqual(self.chosen(set(), {"client"}), ["programs", "other"])

    def test_unknown_names_are_refused(self):
        with self.assertRaises(SystemExit):
            self.chosen({"cleint"}, set())


GOOD_BARE = {"total_bytes": str(16 * QUOTA), "over": "CUDA_ERROR_OUT_OF_MEMORY",
             "over_untouched": "yes", "recovered": "yes", "data": "right"}
GOOD_SLICED = {**GOOD_BARE, "total_bytes": str(QUOTA), "device_total_bytes": str(QUOTA),
               "free_bytes": str(QUOTA), "granted_bytes": str(QUOTA),
               "refused": "CUDA_ERROR_OUT_OF_MEMORY"}


class JudgeTest(unittest.TestCase):
    def test_what_holds_passes(self):
        figures = judge_slice(GOOD_BARE, GOOD_SLICED, QUOTA, equal=("data",))

        self.assertEqual(figures["total seen"], QUOTA)

    def test_each_offence_fails(self):
        offences = {
            "total_bytes": str(16 * QUOTA), "device_total_bytes": str(QUOTA + 1),
            "free_bytes": str(QUOTA + 1), "over": "CUDA_SUCCESS", "over_untouched": "no",
            "granted_bytes": str(QUOTA + 1), "refused": "CUDA_SUCCESS", "recovered": "no",
            "data": "wrong",
        }
        for key, value in offences.items():
            with self.subTest(key), self.assertRaises(Failed):
                judge_slice(GOOD_BARE, {**GOOD_SLICED, key: value}, QUOTA, equal=("data",))

    def test_nothing_said_fails(self):
        with self.assertRaises(Failed):
            judge_slice({}, {}, QUOTA)


# Says hello, repeats an order, and can be told to end badly or to say nothing.
WORKER = """while read line; do
case "$line" in
die) echo reason >&2; exit 3;;
sleep) sleep 20;;
*) echo "said=$line"; echo .;;
esac
done"""


class WorkerTest(unittest.TestCase):
    def setUp(self):
        self.folder = tempfile.TemporaryDirectory()
        self.machine = Machine(self.folder.name, self.folder.name, is_simulated=False)
        self.fleet = Fleet(self.machine)
        self.worker = self.fleet.start("one", ["sh", "-c", WORKER], {})

    def tearDown(self):
        self.fleet.end()
        self.machine.log.close()
        self.folder.cleanup()

    def test_each_order_is_answered(self):
        self.assertEqual([self.worker.ask(text) for text in ("a", "b")],
                         [{"said": "a"}, {"said": "b"}])

    def test_an_end_is_told(self):
        with self.assertRaisesRegex(Failed, "one: exit status 3: reason"):
            self.worker.ask("die")

    def test_silence_ends_with_the_row_or_the_budget(self):
        self.machine.deadline = time.monotonic() + 0.2
        with self.assertRaisesRegex(Failed, "hung"):
            self.worker.ask("sleep")
        self.machine.budget_end = self.machine.deadline
        with self.assertRaises(OutOfTime):
            self.worker.ask("sleep")

    def test_workers_serve_rows_that_follow_one_another(self):
        made = []
        first = fleet_of(self.machine, "key", made.append)

        self.assertIs(fleet_of(self.machine, "key", made.append), first)
        self.assertIsNot(fleet_of(self.machine, "other", made.append), first)
        self.assertEqual(len(made), 2)
        self.machine.run(["true"])
        self.assertIsNone(self.machine.kept)


def share_run(done, busy=0.0, metered=None):
    """A second in which `done` units were done, beside 100 of a bare run."""
    return share_checks.Run({"done": str(done), "wall_ns": "1000000000",
                             "busy_ns": str(int(busy * 1e7)), "most_per_s": "0",
                             "least_per_s": "0"}, [metered], None)


class ShareTest(unittest.TestCase):
    def wrong(self, share, run, fills_gpu=True, bare_time=100.0):
        _, claims = share_checks.judge_share(share, run, 100, fills_gpu, bare_time)
        return [text for holds, text in claims if not holds]

    def test_what_holds_passes(self):
        self.assertEqual(self.wrong(25, share_run(25, busy=25.4)), [])
        self.assertEqual(self.wrong(25, share_run(25, metered=24.6)), [])
        self.assertEqual(self.wrong(25, share_run(25), bare_time=None), [])

    def test_each_offence_is_named(self):
        self.assertIn("of the GPU's time", self.wrong(25, share_run(25, busy=26.2))[0])
        self.assertIn("only", self.wrong(25, share_run(25, busy=23.8))[0])
        self.assertIn("92.0 % of the work", self.wrong(25, share_run(23, busy=25))[0])

    def test_one_that_leaves_the_gpu_idle_is_not_slowed(self):
        self.assertEqual(self.wrong(50, share_run(99, metered=39), False, 40.0), [])
        self.assertEqual(self.wrong(10, share_run(25, metered=10), False, 40.0), [])
        self.assertIn("80.0 % of the work", self.wrong(50, share_run(80), False, 40.0)[0])

    def test_an_overhead_beyond_the_noise_fails(self):
        bare = [100, 100.2, 99.9, 100.1]

        figures = share_checks.judge_overhead({"bare": bare, "100%": [99.9] * 3,
                                               "quota": [99.8] * 3})
        self.assertEqual(figures["noise"], "0.20 %")
        with self.assertRaisesRegex(Failed, "100% costs 2"):
            share_checks.judge_overhead({"bare": bare, "100%": [98] * 3, "quota": [100] * 3})

    def test_noise_that_hides_everything_decides_nothing(self):
        noisy = {"bare": [100, 90, 100, 90], "100%": [93] * 3, "quota": [95] * 3}

        with self.assertRaisesRegex(Skipped, "too much"):
            share_checks.judge_overhead(noisy)
        with self.assertRaisesRegex(Failed, "costs 3"):
            share_checks.judge_overhead({**noisy, "100%": [65] * 3})

    def test_the_kernels_own_times_come_before_the_meter(self):
        self.assertEqual(share_run(1, busy=30, metered=20).gpu_time(), 30)
        self.assertEqual(share_run(1, metered=20).gpu_time(), 20)
        self.assertIsNone(share_run(1).gpu_time())


def family_line(when, real, charged, result="CUDA_SUCCESS"):
    return {"name": "one", "when": when, "result": result, "real": str(real),
            "charged": str(charged), "seen": "0"}


class TenantTest(unittest.TestCase):
    def wrong(self, *work):
        claims = tenant_checks.judge_split((70, 30), dict(zip("ab", work)), "pair")
        return [text for is_true, text in claims if not is_true]

    def test_what_holds_passes(self):
        self.assertEqual(self.wrong(68.1, 30.0), [])
        self.assertEqual(self.wrong(71.9, 31.9), [])

    def test_each_offence_is_named(self):
        self.assertEqual(self.wrong(67.9, 30.0), ["pair: 67.90 % of the work with 70 %"])
        self.assertEqual(self.wrong(70.0, 32.1), ["pair: 32.10 % of the work with 30 %"])
        self.assertEqual(self.wrong(68.1, 28.1),
                         ["pair: together 96.20 % of what one does alone"])


class FamilyTest(unittest.TestCase):
    def judge(self, *lines):
        return family_checks.judge_family([family_line(*line) for line in lines])

    def test_what_is_charged_passes(self):
        figures = self.judge(("taken", 64 << 20, 64 << 20), ("given", 2 << 20, 0))

        self.assertEqual(figures["least charged beyond taken"], -(2 << 20))

    def test_bytes_that_are_not_charged_fail(self):
        for lines in ([("taken", 64 << 20, 61 << 20)], [("taken", 1, 1), ("given", 3 << 20, 0)],
                      [("taken", 64 << 20, 0)]):
            with self.subTest(lines), self.assertRaisesRegex(Failed, "not charged"):
                self.judge(*lines)
        with self.assertRaisesRegex(Failed, "not charged"):
            self.judge(("taken", 64 << 20, 32 << 20))

    def test_what_the_driver_has_not_is_told(self):
        with self.assertRaisesRegex(Skipped, "CUDA_ERROR_NOT_SUPPORTED"):
            self.judge(("taken", 0, 0, "CUDA_ERROR_NOT_SUPPORTED"))


class TorchMemoryTest(unittest.TestCase):
    good = {"version": "2", "allocator": "native", "refused": "OutOfMemoryError",
            "train_refused": "OutOfMemoryError", "recovered": "yes",
            **{f"granted_{i}": "900" for i in range(3)},
            **{f"{when}_{what}_bytes": "900" for when in ("full", "empty", "end")
               for what in ("real", "charged")}}

    def test_what_holds_passes(self):
        self.assertEqual(judge_torch_memory(self.good, 1000, True)["quota"], 1000)

    def test_each_offence_fails(self):
        offences = {"granted_0": "1001", "granted_2": "800", "refused": "granted",
                    "train_refused": "granted", "recovered": "no",
                    "full_real_bytes": str(900 + (64 << 20) + 1)}
        for key, value in offences.items():
            with self.subTest(key), self.assertRaises(Failed):
                judge_torch_memory({**self.good, key: value}, 1000, True)

    def test_what_is_not_counted_yet_is_told(self):
        with self.assertRaises(Skipped):
            judge_torch_memory({**self.good, "granted_0": "1500"}, 1000, False)


class TraceTest(unittest.TestCase):
    def test_processes_are_added_up(self):
        with tempfile.TemporaryDirectory() as folder:
            for pid in (1, 2):
                with open(os.path.join(folder, f"trace.{pid}"), "w", encoding="utf-8") as file:
                    file.write("lookup,dlsym,cuInit,0,0,cuInit\ncalls,cuInit,3\n")

            lookups, calls = read_trace(os.path.join(folder, "trace.*"))

        self.assertEqual(lookups, {("dlsym", "cuInit", "0", "0", "cuInit")})
        self.assertEqual(calls, {"cuInit": 6})


if __name__ == "__main__":
    unittest.main()
