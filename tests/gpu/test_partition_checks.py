#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
# Copyright the cuslice authors
#
# That the rows about partitions fail on what would be wrong: their judges, each with what holds and
# with one thing after the other that does not. And what becomes of a daemon of MPS that they start.
# Needs no GPU and no simgpu.
import os
import sys
import tempfile
import time
import unittest
from unittest import mock

sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))

import partition_checks as partitions
import partition_framework_checks as frameworks
import partition_mps_checks as mps
import partition_tenant_checks as tenants
from driver_checks import judge
from machine import Failed, Machine, Skipped
from rows import partition_rows


class Judged(unittest.TestCase):
    def assert_fails(self, text, function, *arguments):
        with self.assertRaisesRegex(Failed, text):
            function(*arguments)


class OrderTest(Judged):
    bare = {"told": "132", "steps": "9", "wrong": "0", "wrong_on_host": "0", "ran_on": "132"}
    forgetful = {**bare, "wrong": "5"}
    said = {**bare, "told": "32", "ran_on": "32"}

    def judge(self, bare=None, forgetful=None, said=None):
        return partitions.judge_order({**self.bare, **(bare or {})},
                                      {**self.forgetful, **(forgetful or {})},
                                      {**self.said, **(said or {})})

    def test_what_holds_passes(self):
        self.assertEqual(self.judge()["out of order"], 0)
        self.judge(forgetful={"wrong": "0", "wrong_on_host": "1"})

    def test_each_offence_fails(self):
        for text, offence in (("1 of 9 steps out", {"said": {"wrong": "1"}}),
                              ("1 of 9 steps out", {"said": {"wrong_on_host": "1"}}),
                              ("ran on 33 SMs", {"said": {"ran_on": "33"}}),
                              ("nothing was done", {"said": {"steps": "0"}}),
                              ("bare: 2 steps", {"bare": {"wrong": "2"}}),
                              ("shows nothing", {"bare": {"ran_on": "32"}}),
                              ("shows nothing", {"forgetful": {"wrong": "0"}})):
            with self.subTest(offence):
                self.assert_fails(text, lambda: self.judge(**offence))


class NodesTest(Judged):
    green = {"told": "132", "partition": "16", "captured": "16", "kernel_named": "16",
             "captured_set": "132"}
    said = {"told": "32", "told_afterwards": "32", "default": "32",
            **{key: "32" for key in partitions.NODES}}
    given_up = {"told_afterwards": "132", **{key: "132" for key in partitions.NODES}}

    def judge(self, green=None, said=None):
        return partitions.judge_nodes({**self.green, **(green or {})},
                                      {**self.said, **(said or {})})

    def test_what_holds_passes(self):
        self.assertEqual(self.judge()["captured_set"], "132")
        self.assertEqual(self.judge(said=self.given_up)["told"], "32, then 132")

    def test_each_offence_fails(self):
        for text, offence in (("captured: ran on 132", {"green": {"captured": "132"}}),
                              ("kernel_named: ran on 8", {"green": {"kernel_named": "8"}}),
                              ("default: ran on 33", {"said": {"default": "33"}}),
                              ("kernel_set: ran on 132", {"said": {"kernel_set": "132"}}),
                              ("function: ran on 0", {"said": {"function": "0"}})):
            with self.subTest(text):
                self.assert_fails(text, lambda: self.judge(**offence))


def launches(where="here", **more):
    said = {"sms": "64", "cooperative": "CUDA_SUCCESS", "cooperative_ran_on": "64",
            "cooperative_over": partitions.TOO_LARGE, "afterwards_ran_on": "64",
            "dependent": "CUDA_SUCCESS", "dependent_ran": "64", "dependent_wrong": "0",
            "dependent_ran_on": "60"}
    for size in (8, 16):
        said |= {f"cluster{size}": "CUDA_SUCCESS", f"cluster{size}_room": "4",
                 f"cluster{size}_blocks": "64", f"cluster{size}_ran": "64",
                 f"cluster{size}_wrong": "0", f"cluster{size}_ran_on": "64"}
    return {f"{where}_{key}": value for key, value in {**said, **more}.items()}


class LaunchesTest(Judged):
    def judge(self, needs_clusters=True, **more):
        figure, claims = partitions.judge_launches(launches(**more), "here", needs_clusters)
        judge(claims, {})
        return figure

    def test_what_holds_passes(self):
        self.assertIn("clusters of 16 4 at once", self.judge())
        self.assertIn("CLUSTER_SIZE", self.judge(
            cluster16="CUDA_ERROR_INVALID_CLUSTER_SIZE", cluster16_room="0"))
        self.judge(False, cluster8="CUDA_ERROR_INVALID_CLUSTER_SIZE", cluster8_room="0")

    def test_older_devices_have_no_clusters(self):
        said = {key: value for key, value in launches().items()
                if "cluster" not in key and "dependent" not in key}
        _, claims = partitions.judge_launches(said, "here", True)
        judge(claims, {})

    def test_each_offence_fails(self):
        for text, offence in (
                ("cooperative: CUDA_ERROR_UNKNOWN", {"cooperative": "CUDA_ERROR_UNKNOWN"}),
                ("cooperative ran on 72", {"cooperative_ran_on": "72"}),
                ("too large: CUDA_SUCCESS", {"cooperative_over": "CUDA_SUCCESS"}),
                ("afterwards on 63", {"afterwards_ran_on": "63"}),
                ("63 of 64 blocks", {"cluster8_ran": "63"}),
                ("had another size", {"cluster16_wrong": "1"}),
                ("clusters of 16 ran on 65", {"cluster16_ran_on": "65"}),
                ("there is room for 4", {"cluster16": "CUDA_ERROR_INVALID_CLUSTER_SIZE"}),
                ("clusters of 16: CUDA_ERROR_ILLEGAL_ADDRESS",
                 {"cluster16": "CUDA_ERROR_ILLEGAL_ADDRESS", "cluster16_room": "0"}),
                ("no clusters of 8",
                 {"cluster8": "CUDA_ERROR_INVALID_CLUSTER_SIZE", "cluster8_room": "0"}),
                ("dependent: CUDA_ERROR_UNKNOWN", {"dependent": "CUDA_ERROR_UNKNOWN"}),
                ("1 of 64 dependent", {"dependent_wrong": "1"}),
                ("dependent launches ran on 65", {"dependent_ran_on": "65"})):
            with self.subTest(offence):
                self.assert_fails(text, lambda: self.judge(**offence))


class DynamicTest(Judged):
    later = {"told": "32", "before_default": "32", "before_stream": "32", "after_default": "34",
             "after_stream": "34", "told_afterwards": "32", "child_error": "0", "child": "34"}
    first = {**later, "told_afterwards": "132", "before_default": "132", "after_stream": "132"}

    def judge(self, later=None, first=None):
        return partitions.judge_dynamic({**self.later, **(later or {})},
                                        {**self.first, **(first or {})})

    def test_what_holds_passes(self):
        self.assertEqual(self.judge()["ran on after"], 34)
        self.judge(first={**self.later, "told_afterwards": "32"})

    def test_each_offence_fails(self):
        for text, offence in (("ran on 33 SMs before", {"later": {"before_stream": "33"}}),
                              ("ran on 35 SMs", {"later": {"after_default": "35"}}),
                              ("given up", {"later": {"told_afterwards": "132"}}),
                              ("cannot launch: 1", {"later": {"child_error": "1"}}),
                              ("from the device: ran on 132", {"later": {"child": "132"}}),
                              ("from the device: ran on 0", {"later": {"child": "0"}}),
                              ("loaded first: ran on 132", {"first": {"told_afterwards": "32"}})):
            with self.subTest(offence):
                self.assert_fails(text, lambda: self.judge(**offence))


class TenantsTest(unittest.TestCase):
    def wrong(self, alone=48.0, apart=50.0, work=(50.0, 49.0)):
        claims = tenants.judge_sides(50.0, alone, {"different SMs": apart}, {"pair": work})
        return [text for holds, text in claims if not holds]

    def test_what_holds_passes(self):
        self.assertEqual(self.wrong(), [])

    def test_each_offence_is_named(self):
        self.assertIn("alone on 50.0 %", self.wrong(alone=70.0)[0])
        self.assertIn("alone on 50.0 %", self.wrong(alone=30.0)[0])
        self.assertIn("these overlap", self.wrong(apart=96.0)[0])
        self.assertIn("47.90 % with 50 %", self.wrong(work=(47.9, 50.0))[0])
        self.assertEqual(self.wrong(work=(48.1, 46.0))[1:], ["turns, pair: together 94.10 %"])


class FrameworkTest(Judged):
    bare = {"told": "132", "ran_on": "132", "result_matmul": "a", "result_graph": "b",
            "other_random": "c"}
    said = {**bare, "told": "64", "ran_on": "64"}

    def judge(self, bare=None, said=None):
        judge(frameworks.judge_framework({**self.bare, **(bare or {})},
                                         {**self.said, **(said or {})}), {})

    def test_what_holds_passes(self):
        self.judge()
        self.judge(said={"other_random": "d"})
        self.judge({"error_compiled": "no Triton"}, {"error_compiled": "no Triton"})
        figures = frameworks.figures_of(self.bare, {**self.said, "other_random": "d"})
        self.assertEqual((figures["equal"], figures["may differ, and do"]),
                         ("graph, matmul", "random"))

    def test_each_offence_fails(self):
        for text, bare, said in (("matmul differs", {}, {"result_matmul": "b"}),
                                 ("ran on 65 SMs", {}, {"ran_on": "65"}),
                                 ("ran on 0 SMs", {}, {"ran_on": "0"}),
                                 ("no partition was made", {}, {"told": "132", "ran_on": "132"}),
                                 ("which shows nothing", {"ran_on": "64"}, {}),
                                 ("graph: OutOfMemoryError", {}, {"error_graph": "OutOfMemoryError"})):
            with self.subTest(text):
                self.assert_fails(text, self.judge, bare, said)
        self.assert_fails("no result", lambda: judge(frameworks.judge_framework(
            {"told": "132", "ran_on": "132"}, {"told": "64", "ran_on": "64"}), {}))

    def test_a_result_that_is_missing_differs(self):
        said = {key: value for key, value in self.said.items() if key != "result_graph"}
        self.assert_fails("graph differs", lambda: judge(
            frameworks.judge_framework(self.bare, said), {}))

    def test_cases_that_were_not_asked_for_are_not_missing(self):
        values = {"result_matmul_float32": "a", "result_compiled": "b", "told": "132"}
        self.assertEqual(frameworks.only(values, ("matmul",)),
                         {"result_matmul_float32": "a", "told": "132"})


def ways(told, ran_on):
    return {"told": str(told), "cooperative_fits": "CUDA_SUCCESS",
            **{way: str(ran_on) for way in partitions.WAYS}}


class MpsTest(Judged):
    alone = {"partition": "64"}

    def judge(self, said=None, whole=None, half=None):
        return mps.judge_mps(ways(132, 132), {**ways(66, 66), **(said or {})}, self.alone,
                             {"partition": "64", "ran_on": "64", **(whole or {})},
                             {"partition": "64", "ran_on": "66", **(half or {})})

    def test_what_holds_passes(self):
        self.assertEqual(self.judge()["partition under 50 %"], "66 of 64")
        self.judge(half={"failed": "CUDA_ERROR_INVALID_VALUE"})

    def test_each_offence_fails(self):
        for text, offence in (("told of 72", {"said": ways(72, 66)}),
                              ("no partition was made", {"said": ways(132, 66)}),
                              ("stream: ran on 67", {"said": {"stream": "67"}}),
                              ("is refused: CUDA_ERROR", {"said": {"cooperative_fits": "CUDA_ERROR"}}),
                              ("under 100 %: ran on 66", {"whole": {"ran_on": "66"}}),
                              ("under 100 %: gone", {"whole": {"failed": "gone"}}),
                              ("under 50 %: ran on 68", {"half": {"ran_on": "68"}})):
            with self.subTest(text):
                self.assert_fails(text, lambda: self.judge(**offence))


# Listens as the daemon of MPS does, with a server beside it, and ends when it is told to; its
# client passes an order on. What was begun and ended is written down.
DAEMON = """#!/bin/sh
here=$CUDA_MPS_PIPE_DIRECTORY
if [ "$1" = -f ]; then
	[ -z "$MPS_REFUSES" ] || { echo "not on this machine" >&2; exit 1; }
	setsid sleep 60 & echo $! >"$MPS_NOTES"
	touch "$here/control"
	while [ ! -e "$here/quit" ]; do sleep 0.02; done
	echo ended >>"$MPS_NOTES"
	exit 0
fi
read order
case $order in
get_server_list) head -n 1 "$MPS_NOTES";;
quit*) touch "$here/quit";;
esac
"""


class DaemonTest(unittest.TestCase):
    def setUp(self):
        self.folder = tempfile.TemporaryDirectory()
        self.machine = Machine(self.folder.name, self.folder.name, is_simulated=False)
        self.notes = os.path.join(self.folder.name, "notes")
        path = os.path.join(self.folder.name, mps.CONTROL)
        with open(path, "w", encoding="utf-8") as file:
            file.write(DAEMON)
        os.chmod(path, 0o755)
        variables = {"PATH": f"{self.folder.name}:{os.environ['PATH']}", "MPS_NOTES": self.notes}
        patch = mock.patch.dict(os.environ, variables)
        patch.start()
        self.addCleanup(patch.stop)

    def tearDown(self):
        self.machine.log.close()
        self.folder.cleanup()

    def read_notes(self):
        with open(self.notes, encoding="utf-8") as file:
            return file.read().split()

    def assert_dead(self, pid):
        """Whoever took it over may not have waited for it yet."""
        for _ in range(200):
            try:
                with open(f"/proc/{pid}/stat", encoding="utf-8") as file:
                    if file.read().rsplit(")", 1)[1].split()[0] == "Z":
                        return
            except FileNotFoundError:
                return
            time.sleep(0.02)
        self.fail(f"{pid} lives")

    def test_it_is_ended_with_its_server(self):
        with mps.mps(self.machine) as (variables, settings):
            self.assertTrue(os.path.exists(
                os.path.join(variables["CUDA_MPS_PIPE_DIRECTORY"], "control")))
            self.assertEqual(settings, ())
        pid, ended = self.read_notes()
        self.assertEqual(ended, "ended")
        self.assert_dead(pid)
        self.assertFalse(os.path.exists(variables["CUDA_MPS_PIPE_DIRECTORY"]))

    def test_it_is_ended_when_the_row_fails(self):
        with self.assertRaises(Failed), mps.mps(self.machine):
            raise Failed("wrong")
        self.assertEqual(self.read_notes()[1], "ended")

    def test_one_that_does_not_start_is_told(self):
        with mock.patch.dict(os.environ, {"MPS_REFUSES": "1"}), \
                self.assertRaisesRegex(Skipped, "not on this machine"), mps.mps(self.machine):
            self.fail("there is no daemon")

    def test_none_is_told(self):
        os.remove(os.path.join(self.folder.name, mps.CONTROL))
        with mock.patch.dict(os.environ, {"PATH": self.folder.name}), \
                self.assertRaisesRegex(Skipped, "not installed"), mps.mps(self.machine):
            self.fail("there is no daemon")


class BudgetTest(unittest.TestCase):
    def test_what_hangs_leaves_time_for_the_rest(self):
        with tempfile.TemporaryDirectory() as folder:
            machine = Machine(folder, folder, is_simulated=False)
            begun = time.monotonic()
            with self.assertRaisesRegex(Failed, "hung"), partitions.within(machine, 0.3):
                machine.run(["sleep", "20"])
            self.assertLess(time.monotonic() - begun, 10)
            self.assertEqual(machine.run(["echo", "next"]), "next\n")
            machine.log.close()

    def test_all_rows_fit_into_four_minutes(self):
        programs = 5  # is always run first
        self.assertLessEqual(programs + sum(row.estimate for row in partition_rows()), 240)


if __name__ == "__main__":
    unittest.main()
