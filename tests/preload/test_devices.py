#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
# Copyright the cuslice authors
#
# Settings for one device go by nvidia-smi's number, however CUDA counts.
import harness
from harness import MIB, OUT_OF_MEMORY, client


def shown(output):
    """Of each device as CUDA counts: its total, and whether more than that was refused and half
    of it granted."""
    rows = [list(map(int, line.split()[1:])) for line in output.splitlines()]
    return [total for _, total, _, _ in rows], [(over, half) for _, _, over, half in rows]


class Devices(harness.Case):
    settings = {"devices": "2", "memory": "1GiB", "context_bytes": "0"}

    def totals(self, limits, **environment):
        with harness.Machine(**self.settings) as machine:
            done = machine.run(client("memory"), "devices", limits=limits, **environment)
        totals, answers = shown(self.finished(done))
        self.assertEqual(answers, [(OUT_OF_MEMORY, 0)] * len(totals))
        return [total // MIB for total in totals]

    def test_bare_devices_are_whole(self):
        self.assertEqual(self.totals(None), [1024, 1024])

    def test_setting_without_a_number_is_for_each(self):
        self.assertEqual(self.totals({"MEMORY": "100MiB"}), [100, 100])

    def test_numbered_settings_are_for_one(self):
        self.assertEqual(self.totals({"MEMORY_0": "100MiB", "MEMORY_1": "200MiB"}), [100, 200])
        self.assertEqual(self.totals({"MEMORY_1": "200MiB"}), [1024, 200])

    def test_stricter_of_both_wins(self):
        self.assertEqual(self.totals({"MEMORY": "150MiB", "MEMORY_0": "100MiB",
                                      "MEMORY_1": "200MiB"}), [100, 150])

    def test_percentage_is_of_each_device(self):
        self.assertEqual(self.totals({"MEMORY": "50%", "MEMORY_1": "25%"}), [512, 256])

    @harness.needs_nvml
    def test_visible_devices_in_another_order_keep_their_limits(self):
        limits = {"MEMORY_0": "100MiB", "MEMORY_1": "200MiB"}
        self.assertEqual(self.totals(limits, CUDA_VISIBLE_DEVICES="1,0"), [200, 100])
        self.assertEqual(self.totals(limits, CUDA_VISIBLE_DEVICES="1"), [200])
        self.assertEqual(self.totals(limits, CUDA_VISIBLE_DEVICES="0"), [100])

    @harness.needs_no_nvml
    def test_visible_devices_that_cannot_be_numbered_are_refused(self):
        with harness.Machine(**self.settings) as machine:
            done = machine.run(client("memory"), "devices", limits={"MEMORY_0": "100MiB"},
                               CUDA_VISIBLE_DEVICES="1,0")
        self.assertEqual(done.returncode, 3)
        self.assertIn("failed cuInit: 100", done.stdout)
        self.assertIn("libnvidia-ml.so.1 does not tell it", done.stderr)

    def test_visible_devices_need_no_number_without_numbered_settings(self):
        self.assertEqual(self.totals({"MEMORY": "100MiB"}, CUDA_VISIBLE_DEVICES="1,0"), [100, 100])

    # Each of them was admitted before any was launched, and the fifth waited for ever.
    def test_launch_on_all_devices_at_once_is_not_delayed_for_ever(self):
        with harness.Machine(devices="8") as machine:
            done = machine.run(client("share"), "devices", limits={"COMPUTE": "50%"})
        self.assertEqual(self.finished(done), "devices 8\n")


if __name__ == "__main__":
    harness.main()
