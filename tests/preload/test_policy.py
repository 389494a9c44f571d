#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
# Copyright the cuslice authors
#
# A policy that changes while programs run: it acts within 50 ms, as far as it is understood and may
# loosen. By the library itself, but for the folder of its policy. Measures time.
import contextlib
import json
import os
import pathlib
import shutil
import statistics
import subprocess
import time
import unittest

import harness
from gpu_time import MS, Watch, sleep_until
from harness import OUT_OF_MEMORY, client

LIBRARY = os.environ["PRELOAD_WITH_POLICY"]
TWINS = str(harness.CLIENTS / "libclient_partition_twins.so")
FOLDER = pathlib.Path(os.environ["PRELOAD_POLICY"])
ACTS_WITHIN_NS = 50 * MS
# Root's folder may loosen, if root is the machine's own: /proc/self/ns/user has that number.
MAY_LOOSEN = (os.geteuid() == 0 and os.readlink("/proc/self/ns/user") == "user:[4026531837]")


class PolicyCase(harness.Case):
    def setUp(self):
        shutil.rmtree(FOLDER, ignore_errors=True)
        FOLDER.mkdir(parents=True)
        FOLDER.chmod(0o755)
        self.addCleanup(shutil.rmtree, FOLDER, ignore_errors=True)
        stack = contextlib.ExitStack()
        self.addCleanup(stack.close)
        self.machine = stack.enter_context(harness.Machine(**{"kernel.busy": "100us"}))
        self.watch = stack.enter_context(Watch(self.machine))

    def write(self, text, name="site.ini"):
        """Replaces the file in one step. The time at which it was so."""
        new = FOLDER / f".{name}"
        new.write_text(f"[slice]\n{text}\n", encoding="utf-8")
        new.rename(FOLDER / name)
        return time.monotonic_ns()

    def start(self, name, *arguments, **settings):
        environment = self.machine.environment(settings, libraries=(LIBRARY,))
        environment["SIMGPU_TWINS"] = TWINS
        process = subprocess.Popen([client(name), *arguments], env=environment, text=True,
                                   stdin=subprocess.PIPE, stdout=subprocess.PIPE,
                                   stderr=subprocess.PIPE)

        def end():
            process.kill()
            process.communicate()
        self.addCleanup(end)
        return process

    def tenant(self, **settings):
        tenant = self.start("tenant", **settings)
        self.assertEqual(self.tell(tenant, "init"), "init 0")
        return tenant

    def tell(self, tenant, command):
        tenant.stdin.write(command + "\n")
        tenant.stdin.flush()
        return tenant.stdout.readline().rstrip("\n")

    def start_busy(self, name="share", arguments=("queue", "20000"), **settings):
        """It, and a time from which on its burst is spent."""
        process = self.start(name, *arguments, **settings)
        began_ns = time.monotonic_ns()
        while self.watch.percent(began_ns, time.monotonic_ns(), process.pid) == 0:
            self.assertIsNone(process.poll(), "it has ended")
            self.assertLess(time.monotonic_ns() - began_ns, harness.PATIENCE_S * 1000 * MS)
            time.sleep(0.01)
        return process, time.monotonic_ns() + 200 * MS

    def uses(self, percent, from_ns, span_ns=500 * MS, off=3.0, pids=()):
        """That the use of the GPU is so from 50 ms after a change on, over some time."""
        begin_ns = from_ns + ACTS_WITHIN_NS
        sleep_until(begin_ns + span_ns + 5 * MS)
        found = self.watch.percent(begin_ns, begin_ns + span_ns, *pids)
        print(f"{percent} %: {found:.2f} %")
        self.assertGreater(found, percent - off)
        self.assertLess(found, percent + off)


class Share(PolicyCase):
    def test_less_acts_at_once(self):
        self.write("compute = 50%")
        _, began_ns = self.start_busy()
        self.uses(50, began_ns)
        changed_ns = self.write("compute = 10%")
        self.uses(10, changed_ns, span_ns=100 * MS, off=5)
        self.uses(10, changed_ns)

    @unittest.skipUnless(MAY_LOOSEN, "only root's policy may loosen")
    def test_more_acts_at_once(self):
        self.write("compute = 10%")
        _, began_ns = self.start_busy()
        self.uses(10, began_ns)
        changed_ns = self.write("compute = 50%")
        self.uses(50, changed_ns, span_ns=100 * MS, off=20)  # the burst comes on top
        self.uses(50, changed_ns + 200 * MS)

    @unittest.skipUnless(MAY_LOOSEN, "only root's policy may loosen")
    def test_file_that_goes_takes_its_share_with_it(self):
        self.write("compute = 20%")
        _, began_ns = self.start_busy()
        self.uses(20, began_ns)
        (FOLDER / "site.ini").unlink()
        self.uses(98, time.monotonic_ns(), off=20)  # or as fast as the host launches
        self.uses(30, self.write("compute = 30%"), off=5)  # the burst comes on top

    def test_share_comes_to_a_program_that_had_none(self):
        process, began_ns = self.start_busy()
        self.uses(98, began_ns, off=20)  # or as fast as the host launches
        self.uses(25, self.write("compute = 25%", "new.ini"), off=5)
        self.assertIsNone(process.poll())

    @unittest.skipUnless(MAY_LOOSEN, "only root's policy may loosen")
    def test_more_of_a_group_reaches_a_launch_that_waits(self):
        """The share is more when the last member has read that; who waits looks again then."""
        name = f"policy-{os.getpid()}"
        self.addCleanup(pathlib.Path(f"/dev/shm/cuslice-{os.geteuid()}/{name}.group").unlink,
                        missing_ok=True)
        self.machine.simgpu("set", "kernel.busy=10ms")
        self.write("compute = 1%")
        waiting, other = self.tenant(GROUP=name), self.tenant(GROUP=name)
        self.assertEqual(self.tell(other, "launch"), "launch 0")
        took_ms = []
        for i in range(5):
            self.write(f"compute = 1%\n# {i}")
            time.sleep(2 * ACTS_WITHIN_NS / 1e9)
            # More than the burst: the last waits for seconds.
            waiting.stdin.write(5 * "launch\n")
            waiting.stdin.flush()
            time.sleep(0.3 + 0.013 * i)
            changed_ns = self.write(f"compute = 90%\n# {i}")
            for _ in range(5):
                self.assertEqual(waiting.stdout.readline(), "launch 0\n")
            took_ms.append((time.monotonic_ns() - changed_ns) / MS)
        print("ms until it goes on:", [round(ms) for ms in took_ms])
        self.assertLess(statistics.median(took_ms), 110)

    def test_environment_s_share_stays(self):
        self.write("compute = 10%")
        _, began_ns = self.start_busy(COMPUTE="30%")
        self.uses(10, began_ns)
        self.uses(30 if MAY_LOOSEN else 10, self.write("compute = 80%"))

    def test_what_is_not_understood_changes_nothing_and_is_told_once(self):
        self.write("compute = 40%")
        process, began_ns = self.start_busy()
        self.uses(40, began_ns)
        changed_ns = self.write("compute = 4O%")
        self.uses(40, changed_ns)
        self.write("compute = 4O%\n")
        self.uses(40, time.monotonic_ns())
        self.uses(20, self.write("compute = 20%"))
        process.kill()
        _, said = process.communicate()
        self.assertRegex(said, r"^cuslice\[\d+\] config: \S*/site.ini:2: compute = \"4O%\": .*; "
                               r"the limits stay as they are\n$")

    def test_file_that_is_written_slowly_loosens_nothing(self):
        self.write("compute = 20%")
        _, began_ns = self.start_busy()
        with open(FOLDER / "site.ini", "w", encoding="utf-8") as file:
            file.write("[slice]\ncomp")
            file.flush()
            self.uses(20, began_ns)
            file.write("ute = 10%\n")
        self.uses(10, time.monotonic_ns())

    def test_policy_that_the_program_may_have_written_only_tightens(self):
        self.write("compute = 30%")
        FOLDER.chmod(0o777)
        process, began_ns = self.start_busy()
        self.uses(30, began_ns)
        self.uses(15, self.write("compute = 15%"))
        self.uses(15, self.write("compute = 90%"))
        process.kill()
        self.assertRegex(process.communicate()[1],
                         r"^cuslice\[\d+\] config: the policy has become looser, but [^\n]*\n$")


class Turns(PolicyCase):
    """Weight, class and borrow, of tenants that are at work."""

    def parts(self, tenants, from_ns, wanted, within=6):
        """Of what all use from 50 ms after a change on, in percent."""
        begin_ns, end_ns = from_ns + ACTS_WITHIN_NS, from_ns + ACTS_WITHIN_NS + 600 * MS
        sleep_until(end_ns + 5 * MS)
        used = [self.watch.percent(begin_ns, end_ns, tenant.pid) for tenant in tenants]
        self.assertGreater(sum(used), 5)
        found = [100 * use / sum(used) for use in used]
        print(f"{wanted}: {found}")
        for percent, part in zip(wanted, found):
            self.assertLess(abs(percent - part), within, f"{found}, not {wanted}")

    def says(self, from_ns, **wanted):
        """That 50 ms after a change a tenant with this share asks others for this."""
        sleep_until(from_ns + ACTS_WITHIN_NS)
        explain = self.machine.run(str(harness.CUSLICE), "explain", "--json")
        tenants = [tenant for gpu in json.loads(self.finished(explain))["gpus"]
                   for tenant in gpu["tenants"]]
        self.assertIn(wanted, [{key: tenant[key] for key in wanted} for tenant in tenants])

    def test_weights(self):
        """Made less, and as they were where the policy may loosen."""
        pair = [self.start_busy(WEIGHT=weight) for weight in ("300", "100")]
        tenants = [tenant for tenant, _ in pair]
        self.parts(tenants, pair[1][1], [75, 25])
        self.parts(tenants, self.write("weight = 100"), [50, 50])
        (FOLDER / "site.ini").unlink()
        self.parts(tenants, time.monotonic_ns(), [75, 25] if MAY_LOOSEN else [50, 50])

    def test_weight_comes_to_programs_that_had_nothing(self):
        """They took no turns. One with a share goes on having that."""
        pair = [self.start_busy(**settings) for settings in ({}, {"COMPUTE": "40%"})]
        self.write("weight = 100")
        self.parts([tenant for tenant, _ in pair], pair[1][1], [60, 40])

    def test_borrowing_ends(self):
        self.write("borrow = yes")
        _, began_ns = self.start_busy(COMPUTE="30%")
        self.uses(98, began_ns, off=20)  # or as fast as the host launches
        self.uses(30, self.write("borrow = no"), off=5)
        self.says(0, guarantee_ppm=300000, borrow=False)

    @unittest.skipUnless(MAY_LOOSEN, "only root's policy may loosen")
    def test_borrowing_begins(self):
        self.write("borrow = no")
        _, began_ns = self.start_busy(COMPUTE="30%")
        self.uses(30, began_ns)
        self.uses(98, self.write("borrow = yes"), off=20)  # or as fast as the host launches

    def test_others_see_what_an_idle_tenant_asks_for(self):
        """It launches no more, and yet they go by its class and weight."""
        self.write("class = latency\nweight = 70")
        tenant = self.tenant()
        self.assertEqual(self.tell(tenant, "launch"), "launch 0")
        self.says(0, weight=70, **{"class": "latency"})
        self.says(self.write("weight = 30"), weight=30, **{"class": "batch"})

    def test_looser_terms_of_a_policy_that_the_program_may_have_written(self):
        self.write("weight = 50")
        FOLDER.chmod(0o777)
        process, began_ns = self.start_busy()
        sleep_until(began_ns)
        self.says(self.write("weight = 60\nclass = latency\nborrow = yes"),
                  weight=50, borrow=False, **{"class": "batch"})
        self.says(self.write("weight = 40\nclass = latency"), weight=40, **{"class": "batch"})
        process.kill()
        self.assertRegex(process.communicate()[1],
                         r"^cuslice\[\d+\] config: the policy has become looser, but [^\n]*\n$")


class Partition(PolicyCase):
    def start_confined(self):
        self.machine.simgpu("set", "kernel.cuslice_census=10us")
        return self.start_busy("partition", ("busy", "20000"), MECHANISM="sm", LOG="info")

    def test_less_takes_time_off_and_more_makes_no_larger_one(self):
        self.write("compute = 50%")
        process, began_ns = self.start_confined()
        sleep_until(began_ns)
        self.uses(98, began_ns, off=20)  # of the time, on half of the SMs
        self.uses(25, self.write("compute = 12.5%") + 200 * MS)
        if MAY_LOOSEN:
            self.uses(98, self.write("compute = 75%"), off=20)
        process.kill()
        said = process.communicate()[1]
        self.assertIn("the partition of SMs keeps its size, and has less of the time", said)
        self.assertEqual("is larger than the partition of SMs, which keeps its size" in said,
                         MAY_LOOSEN, said)
        self.assertEqual(self.machine.account()["processes"][0]["sms"], "0-63")


class Quota(PolicyCase):
    def free_and_total(self, tenant):
        time.sleep(ACTS_WITHIN_NS / 1e9)
        return self.tell(tenant, "info")

    def test_less_denies_growth_and_takes_nothing(self):
        self.write("memory = 64MiB")
        tenant = self.tenant()
        self.assertEqual(self.tell(tenant, "alloc 40"), "alloc 0")
        self.write("memory = 32MiB")
        self.assertEqual(self.free_and_total(tenant), "info 0 32")
        self.assertEqual(self.tell(tenant, "alloc 1"), f"alloc {OUT_OF_MEMORY}")
        self.assertEqual(self.tell(tenant, "free"), "free 0")
        self.assertEqual(self.tell(tenant, "alloc 32"), "alloc 0")

    @unittest.skipUnless(MAY_LOOSEN, "only root's policy may loosen")
    def test_more_is_granted(self):
        self.write("memory = 32MiB")
        tenant = self.tenant()
        self.assertEqual(self.tell(tenant, "alloc 40"), f"alloc {OUT_OF_MEMORY}")
        self.write("memory = 64MiB")
        self.assertEqual(self.free_and_total(tenant), "info 64 64")
        self.assertEqual(self.tell(tenant, "alloc 40"), "alloc 0")

    def test_forked_child_sees_changes_too(self):
        self.write("memory = 64MiB")
        tenant = self.start("tenant")
        self.assertEqual(self.tell(tenant, "fork"), "fork 0")
        self.assertEqual(self.tell(tenant, "init"), "init 0")
        self.assertEqual(self.tell(tenant, "info"), "info 64 64")
        self.write("memory = 16MiB")
        self.assertEqual(self.free_and_total(tenant), "info 16 16")

    def test_group_goes_by_the_strictest(self):
        name = f"policy-{os.getpid()}"
        self.addCleanup(pathlib.Path(f"/dev/shm/cuslice-{os.geteuid()}/{name}.group").unlink,
                        missing_ok=True)
        self.write("memory = 64MiB")
        one, other = self.tenant(GROUP=name), self.tenant(GROUP=name, MEMORY="48MiB")
        self.assertEqual(self.tell(one, "info"), "info 48 48")
        self.write("memory = 40MiB")
        self.assertEqual(self.free_and_total(one), "info 40 40")
        self.assertEqual(self.free_and_total(other), "info 40 40")
        if MAY_LOOSEN:
            self.write("memory = 200MiB")
            self.assertEqual(self.free_and_total(one), "info 48 48")

    def test_numbers_that_nobody_asked_for_are_told(self):
        self.write("memory = 64MiB")
        tenant = self.tenant()
        (FOLDER / "site.ini").write_text("[device 0]\nmemory = 8MiB\n", encoding="utf-8")
        self.assertEqual(self.free_and_total(tenant), "info 64 64")
        tenant.kill()
        self.assertIn("names devices by number", tenant.communicate()[1])


if __name__ == "__main__":
    harness.main()
