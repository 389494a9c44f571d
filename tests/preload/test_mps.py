#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
# Copyright the cuslice authors
#
# Programs that MPS gives a percentage of the SMs, by the account of the machine, and what becomes of
# the share where there is no MPS.
import json
import os
import random
import signal
import time

import harness
from harness import client

PERCENTAGE = "CUDA_MPS_ACTIVE_THREAD_PERCENTAGE"
SMS, BLOCKS_AN_SM = 132, 2
# Of each kernel, on the whole device: 8 ms. Each wave costs the simulated machine's own processor time.
WAVES, BLOCK_NS = 80, 100_000
MEASURED_S = 4


class Mps(harness.Case):
    """Sums of SM time take all cores there are: this measures time."""

    def setUp(self):
        self.machine = self.machine_with(mps=1)

    def machine_with(self, **settings):
        machine = harness.Machine(**{"kernel.busy": f"{BLOCK_NS}ns", "kernel.cuslice_census": "10us"}
                                  | settings)
        machine.__enter__()
        self.addCleanup(machine.__exit__)
        return machine

    def limits(self, share, **more):
        return {"COMPUTE": share, "LOG": "info"} | more

    def run_on(self, machine, share, *command, **more):
        """As (what it said, what the library said)."""
        variables = {name: value for name, value in more.items() if name.startswith("CUDA_")}
        limits = {name: value for name, value in more.items() if name not in variables}
        variables = {"CUDA_MPS_PIPE_DIRECTORY": machine.folder.name} | variables
        done = machine.run(client("partition"), *(command or ("ways",)),
                           limits=self.limits(share, **limits),
                           SIMGPU_TWINS=str(harness.CLIENTS / "libclient_partition_twins.so"),
                           **variables)
        self.assertEqual(done.returncode, 0, done.stdout + done.stderr)
        return harness.fields(done.stdout), done.stderr

    def sms_of(self, share, **more):
        """Of one kernel at a time; with the threads' there are some after another, on others."""
        seen = self.run_on(self.machine, share, **more)[0]
        return {int(sms) for way, sms in seen.items() if way != "thread"}

    def test_all_ways_have_the_percentage(self):
        for share, sms in (("10%", 14), ("30%", 40), ("50%", 66), ("70%", 94)):
            with self.subTest(share):
                self.assertEqual(self.sms_of(share), {sms})
                self.assertEqual(self.sms_of(share, MECHANISM="mps"), {sms})

    def test_tighter_of_two_percentages_holds(self):
        self.assertEqual(self.sms_of("50%", **{PERCENTAGE: "30"}), {40})
        self.assertEqual(self.sms_of("30%", **{PERCENTAGE: "50"}), {40})

    def test_nothing_is_changed_where_nothing_is_to_be_kept(self):
        for settings in ({"COMPUTE": "100%"}, {"COMPUTE": "30%", "MECHANISM": "time"}):
            with self.subTest(settings):
                seen, said = self.run_on(self.machine, settings.pop("COMPUTE"), **settings)
                self.assertEqual(set(seen.values()), {str(SMS)})
                self.assertNotIn("mps", said)

    def test_no_green_context_beside_a_percentage(self):
        for mechanism in ("sm", "both"):
            with self.subTest(mechanism):
                seen, said = self.run_on(self.machine, "50%", MECHANISM=mechanism,
                                         **{PERCENTAGE: "30"})
                self.assertEqual((seen["told"], seen["null"]), ("40", "40"))
                self.assertIn(f"no partition of SMs beside {PERCENTAGE}", said)
                self.assertIn("30 % of the SMs by MPS, 100.0 % of the time", said)

    def test_percentage_that_is_there_is_not_taken_twice(self):
        """Of the device, and not of what the percentage has left of it."""
        for settings in ({"COMPUTE_0": "25%"}, {"COMPUTE": "33sm"},
                         {"COMPUTE": "25%", "MECHANISM": "sm"}):
            with self.subTest(settings):
                said = self.run_on(self.machine, settings.pop("COMPUTE", "100%"),
                                   **settings, **{PERCENTAGE: "50"})[1]
                self.assertIn("50 % of the SMs by MPS, 50.0 % of the time, no turns", said)

    def test_number_of_sms_by_time_is_a_part_of_the_device(self):
        """Those that take turns with it give it this part of all turns."""
        found = self.use("33sm", span_s=1, waves=WAVES // 2, MECHANISM="time",
                         variables={PERCENTAGE: "50"})
        print(f"33 of 132 SMs, by time: {found[0]:.2f} on half of them")
        self.assertLess(abs(found[0] - 12.5), 2, found)

    def test_green_context_beside_all_of_the_device(self):
        for percentage in ("100", "100.0"):
            with self.subTest(percentage):
                seen, said = self.run_on(self.machine, "50%", MECHANISM="sm", LOG="warn",
                                         **{PERCENTAGE: percentage})
                self.assertEqual((set(seen.values()), said), ({"64"}, ""))

    def test_no_green_context_beside_a_static_partition(self):
        """simgpu has none: what is seen is that neither a partition nor a percentage is made."""
        for mechanism in ("sm", "both", "auto", "mps"):
            with self.subTest(mechanism):
                seen, said = self.run_on(self.machine, "50%", MECHANISM=mechanism,
                                         CUDA_MPS_SM_PARTITION="GPU-1/a")
                self.assertEqual(set(seen.values()), {str(SMS)})
                self.assertIn("CUDA_MPS_SM_PARTITION", said)

    def test_it_is_said_once(self):
        said = self.run_on(self.machine, "30%")[1]
        self.assertEqual(said.count(f"{PERCENTAGE}=30"), 1, said)
        self.assertEqual(said.count("30 % of the SMs by MPS, 100.0 % of the time"), 1, said)

    def use(self, *shares, span_s=MEASURED_S, waves=WAVES, variables=None, stops=None, **more):
        """Of all SM time, in percent, of tenants that run at the same time; one of them may be
        stopped as soon as all run."""
        tenants = []
        for share in shares:
            tenant = self.machine.start(
                client("partition"), "busy", str(1000 * (span_s + 20)), str(waves),
                limits=self.limits(share, LOG="warn", **more),
                CUDA_MPS_PIPE_DIRECTORY=self.machine.folder.name, **(variables or {}))
            tenants.append(tenant)
            self.addCleanup(tenant.communicate)
            self.addCleanup(tenant.kill)
        while 0 in self.kernels(tenants):
            time.sleep(0.01)
        if stops is not None:
            tenants[stops].send_signal(signal.SIGSTOP)
        time.sleep(0.5)
        before, began = self.kernels(tenants), time.monotonic()
        time.sleep(span_s)
        after, span_ns = self.kernels(tenants), (time.monotonic() - began) * 1e9
        return [100 * (b - a) * waves * BLOCK_NS / span_ns for a, b in zip(before, after)]

    def kernels(self, tenants):
        found = {row["pid"]: row["kernels"] for row in self.machine.account()["processes"]}
        return [found.get(tenant.pid, 0) for tenant in tenants]

    def test_tenants_run_at_the_same_time(self):
        found = self.use("30%", "70%")
        print(f"30 and 70 %: {found[0]:.2f} + {found[1]:.2f} = {sum(found):.2f}")
        self.assertLess(abs(found[0] - 30), 2, found)
        self.assertLess(abs(found[1] - 70), 2, found)
        self.assertGreaterEqual(sum(found), 97, found)

    def test_share_of_a_static_partition_is_time_within_it_without_turns(self):
        """Halves of the device that a percentage makes here. With turns each had half of the time."""
        self.machine = self.machine_with(mps=1, mps_percentage=50)
        found = self.use("70%", "60%", span_s=2, variables={"CUDA_MPS_SM_PARTITION": "GPU-1/a"})
        print(f"70 and 60 % of halves: {found[0]:.2f} + {found[1]:.2f}")
        self.assertLess(abs(found[0] - 35), 2, found)
        self.assertLess(abs(found[1] - 30), 2, found)

    def test_device_that_has_less_than_the_percentage(self):
        """The variable can say 50 % at most, for some device might have that."""
        found = self.use("50%", span_s=2, COMPUTE_0="25%", COMPUTE_1="50%")
        print(f"25 of 50 %: {found[0]:.2f}")
        self.assertLess(abs(found[0] - 25), 2, found)

    def group(self):
        name = f"mps-{os.getpid()}-{random.randrange(1 << 32)}"
        path = f"/dev/shm/cuslice-{os.geteuid()}/{name}.group"
        self.addCleanup(lambda: os.path.exists(path) and os.unlink(path))
        return name

    def test_processes_of_a_group_have_one_share(self):
        found = self.use("30%", "30%", GROUP=self.group())
        print(f"two of 30 % together: {found[0]:.2f} + {found[1]:.2f} = {sum(found):.2f}")
        self.assertLess(abs(sum(found) - 30), 2, found)
        self.assertLess(abs(found[0] - found[1]), 3, found)

    def test_stopped_process_leaves_the_share_to_its_group(self):
        found = self.use("30%", "30%", "30%", span_s=2, stops=2, GROUP=self.group())
        print(f"two of 30 % together beside one that is stopped: {found[0]:.2f} + {found[1]:.2f}")
        self.assertLess(abs(sum(found[:2]) - 30), 2, found)
        self.assertLess(abs(found[0] - found[1]), 3, found)

    def test_process_alone_in_its_group_has_all_of_it(self):
        found = self.use("30%", span_s=2, GROUP=self.group())
        print(f"30 % of a group: {found[0]:.2f}")
        self.assertLess(abs(sum(found) - 30), 2, found)

    def test_without_a_daemon_the_share_is_kept_by_time(self):
        machine = self.machine_with()
        for mechanism, level in (("auto", "info"), ("mps", "warn")):
            with self.subTest(mechanism):
                seen, said = self.run_on(machine, "30%", MECHANISM=mechanism, LOG=level)
                self.assertEqual(set(seen.values()), {str(SMS)})
                lines = [line for line in said.splitlines() if "kept by time" in line]
                self.assertEqual(len(lines), 1, said)
                self.assertIn(f"no MPS at {machine.folder.name}/control: No such file", lines[0])
        self.assertNotIn("mps", self.run_on(machine, "30%", LOG="warn")[1])

    def test_daemon_that_the_driver_does_not_use(self):
        machine = self.machine_with()
        seen, said = self.run_on(machine, "30%", MECHANISM="mps", LOG="warn",
                                 CUDA_MPS_PIPE_DIRECTORY=self.machine.folder.name)
        self.assertEqual(set(seen.values()), {str(SMS)})
        self.assertEqual(said.count("cuslice["), 1, said)
        self.assertIn("kept by time: the driver does not use MPS", said)

    def test_driver_that_does_not_tell_of_mps_by_its_attribute(self):
        """A share that a daemon of other programs kept would be kept by nobody."""
        for mps, sms, kept in (("1", 40, "kept by mps"),
                               ("0", SMS, "kept by time: the driver does not use MPS")):
            with self.subTest(mps=mps):
                machine = self.machine_with(mps=mps, driver_version="11080")
                seen, said = self.run_on(machine, "30%", "reset",
                                         CUDA_MPS_PIPE_DIRECTORY=self.machine.folder.name)
                self.assertEqual(seen["before"], str(sms))
                self.assertIn(kept, said)

    def test_older_driver_keeps_shares_by_time(self):
        machine = self.machine_with(driver_version="12020")
        for mechanism in ("sm", "auto"):
            with self.subTest(mechanism):
                said = self.run_on(machine, "30%", "reset", MECHANISM=mechanism)[1]
                lines = [line for line in said.splitlines() if "kept by time" in line]
                self.assertEqual(len(lines), 1, said)

    def kept(self, variables, row=0, **more):
        explain = self.machine.run(str(harness.CUSLICE), "explain", "--json",
                                   **{"CUSLICE_COMPUTE": "30%"} | variables | more)
        found = json.loads(self.finished(explain))["shares"][row]
        return found["kept_by"], found["reason"]

    def test_explain_and_run_say_what_is_chosen(self):
        variables = {"CUDA_MPS_PIPE_DIRECTORY": self.machine.folder.name}
        explain = self.machine.run(str(harness.CUSLICE), "explain", "--json", limits={}, libraries=(),
                                   CUSLICE_COMPUTE="30%", **variables)
        kept, = json.loads(self.finished(explain))["shares"]
        self.assertEqual((kept["device"], kept["kept_by"]), ("every", "mps"))
        self.assertIn(f"{PERCENTAGE}=30", kept["reason"])
        run = self.machine.run(str(harness.CUSLICE), "run", "-c", "30%", "--group", "none",
                               "--dry-run", **variables)
        self.assertIn(f"\n{PERCENTAGE}=30\n", self.finished(run))
        self.assertEqual(self.kept(variables, CUDA_MPS_SM_PARTITION="GPU-1/a"), (
            "mps", "CUDA_MPS_SM_PARTITION names SMs that MPS keeps for it, and time keeps a share "
                   "of these"))
        self.assertEqual(self.kept(variables, CUSLICE_MECHANISM="sm", **{PERCENTAGE: "30"}), (
            "mps", f"no partition of SMs beside {PERCENTAGE}, which may make it larger"))
        self.assertEqual(self.kept(variables, CUSLICE_MECHANISM="time"), ("time", "asked for"))
        self.assertEqual(self.kept(variables, CUSLICE_COMPUTE="32sm")[0], "time")
        self.assertTrue(self.kept(variables)[1].endswith(f"{PERCENTAGE}=30"))
        for share in "32sm", "30%":
            by, reason = self.kept(variables, CUSLICE_COMPUTE_0=share, CUSLICE_COMPUTE="50%", row=1)
            self.assertEqual(by, "mps")
            self.assertTrue(reason.endswith(f"{PERCENTAGE}=50; time keeps what is less"))
        variables["CUDA_MPS_PIPE_DIRECTORY"] = os.path.join(self.machine.folder.name, "none")
        run = self.machine.run(str(harness.CUSLICE), "run", "-c", "30%", "--group", "none",
                               "--dry-run", **variables)
        self.assertNotIn(PERCENTAGE, self.finished(run))
        text = self.finished(self.machine.run(str(harness.CUSLICE), "explain",
                                              CUSLICE_COMPUTE="30%", **variables))
        self.assertRegex(text, r"kept by +time +no MPS at .*: No such file or directory; no report")


if __name__ == "__main__":
    harness.main()
