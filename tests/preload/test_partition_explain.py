#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
# Copyright the cuslice authors
#
# What `cuslice explain` says of partitions is what programs get, as they say it themselves.
import json
import re
import subprocess

from test_partition import TWINS, Case, client, harness, machine

SAID = re.compile(r"GPU (\d+): (\d+) of (\d+) SMs, ([\d.]+) % of the time")


def variables(limits):
    return {f"CUSLICE_{name}": value for name, value in limits.items()}


class Explained(Case):
    def explain(self, machine, *options, **limits):
        return self.finished(machine.run(str(harness.CUSLICE), "explain", *options,
                                         **variables(limits)))

    def rows(self, machine, **limits):
        return json.loads(self.explain(machine, "--json", **limits))["partitions"]

    def said(self, machine, **limits):
        """By a program: its devices, as (SMs, of SMs, percent of the time)."""
        done = machine.run(client("partition_life"), "devices", limits=limits | {"LOG": "info"},
                           SIMGPU_TWINS=TWINS)
        return {int(gpu): (int(sms), int(of), duty)
                for gpu, sms, of, duty in SAID.findall(done.stderr)}

    def test_says_what_programs_get(self):
        for mechanism in ("sm", "both"):
            for share in ("12%", "25%", "32sm", "50%", "77%"):
                with self.subTest(f"{mechanism} {share}"), machine(devices="2") as one:
                    limits = {"COMPUTE_0": share, "COMPUTE_1": "40%", "MECHANISM": mechanism}
                    rows = {row["gpu"]: (row["sms"], row["of_sms"],
                                         f"{row['duty_ppm'] // 1000 / 10:.1f}")
                            for row in self.rows(one, **limits)}
                    self.assertEqual(rows, self.said(one, **limits))
                    self.assertEqual(len(rows), 2)

    def test_says_so_too_where_it_is_in_a_slice_itself(self):
        """As in a container that preloads the library into everything."""
        with machine() as one:
            for mechanism in ("sm", "both"):
                limits = {"COMPUTE": "25%", "MECHANISM": mechanism}
                inside = one.run(str(harness.CUSLICE), "explain", "--json", limits=limits)
                self.assertEqual(json.loads(self.finished(inside))["partitions"],
                                 self.rows(one, **limits))

    def test_devices_are_those_of_the_settings(self):
        with machine(devices="2") as one:
            row, = self.rows(one, COMPUTE_1="25%", MECHANISM="sm")
            self.assertEqual((row["gpu"], row["sms"], row["of_sms"], row["waves"]), (1, 32, 132, 5))
            shown = one.run(str(harness.CUSLICE), "explain", "--json",
                            CUDA_VISIBLE_DEVICES="1",
                            **variables({"COMPUTE_1": "25%", "MECHANISM": "sm"}))
            self.assertEqual(json.loads(self.finished(shown))["partitions"], [row])

    def test_text(self):
        with machine() as one:
            self.assertRegex(self.explain(one, COMPUTE="25%", MECHANISM="sm"),
                             r"(?m)^partitions\n  GPU 0     32 of 132 SMs, 100\.0 % of the time; "
                             r"132 blocks, one an SM, take 5 waves \(")
            self.assertIn("  GPU 0     none, for the size next to the share is all 132 SMs; ",
                          self.explain(one, COMPUTE="99%", MECHANISM="sm"))

    def test_nobody_is_asked_without_need(self):
        with machine() as one:
            for limits in ({"COMPUTE": "25%"}, {"COMPUTE": "25%", "MECHANISM": "time"},
                           {"MECHANISM": "sm"}, {"MEMORY": "1GiB", "MECHANISM": "sm"}):
                with self.subTest(limits):
                    self.assertEqual(self.rows(one, **limits), [])
                    self.assertNotIn("\npartitions\n", self.explain(one, **limits))

    def test_driver_that_is_too_old(self):
        with machine(driver_version="12020") as one:
            text = self.explain(one, COMPUTE="25%", MECHANISM="sm")
        self.assertIn("partitions\n  not known: the driver is older than CUDA 12.5", text)

    def test_without_a_driver(self):
        done = subprocess.run(
            [str(harness.CUSLICE), "explain", "--json"], capture_output=True, text=True,
            check=True, env=variables({"COMPUTE": "25%", "MECHANISM": "sm"}),
            timeout=harness.PATIENCE_S)
        said = json.loads(done.stdout)
        self.assertEqual(said["partitions"], [])
        if "partitions_unknown" not in said:
            self.skipTest("a driver is installed here")
        self.assertEqual(said["partitions_unknown"], "no libcuda.so.1 here to ask")


if __name__ == "__main__":
    harness.main()
