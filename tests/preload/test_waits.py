#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
# Copyright the cuslice authors
#
# What programs do while their threads wait in the governor: contexts end, children are forked,
# libraries are closed, and the program ends in one way or another.
import json
import os
import time

import harness
from harness import CLIENTS, client, fields

# The second has a neighbour, and waits for the token as well.
LIMITS = {"COMPUTE": "20%"}
PLUGIN = str(CLIENTS / "libclient_plugin.so")


class Waits(harness.Case):
    def run_beside(self, machine, neighbours, *command):
        beside = [machine.start(client("share"), "queue", "60000", limits=LIMITS)
                  for _ in range(neighbours)]
        try:
            return machine.run(client("waits"), *command, limits=LIMITS)
        finally:
            for neighbour in beside:
                neighbour.kill()
                neighbour.communicate()

    def check(self, said, *command):
        """Alone, where it waits for its own time, and beside another, where for the token too."""
        for neighbours in 0, 1:
            with self.subTest(neighbours=neighbours), harness.Machine() as machine:
                done = self.run_beside(machine, neighbours, *command)
                self.assertEqual(self.finished(done), said)

    def test_context_is_destroyed(self):
        self.check("mistakes 0\n", "destroy")

    def test_primary_context_is_reset(self):
        self.check("mistakes 0\n", "reset")

    def test_other_contexts_come_and_go(self):
        self.check("mistakes 0\n", "other")

    def test_children_are_forked(self):
        self.check("mistakes 0\n", "fork")

    def test_library_that_launches_is_closed(self):
        self.check("mistakes 0\n", "plugin", PLUGIN)

    def test_program_ends(self):
        for how, said in (("exit", "late\n"), ("quick_exit", "late\n"), ("_exit", ""),
                          ("thread_exit", "last\n")):
            with self.subTest(how):
                self.check(said, how)

    def test_child_that_outlives_a_killed_parent_holds_no_place(self):
        """Of the parent nothing is left among those that take turns."""
        with harness.Machine(uuid=f"{os.getpid():032x}") as machine:
            parent = machine.start(client("waits"), "leave", limits=LIMITS)
            child = int(fields(parent.stdout.readline())["child"])
            other = machine.start(client("share"), "queue", "60000", limits=LIMITS)
            try:
                self.wait_for_tenants(machine, 2)
                parent.kill()
                parent.wait()
                os.kill(child, 0)
                self.wait_for_tenants(machine, 1)
                os.kill(child, 0)
            finally:
                os.kill(child, 9)
                for process in parent, other:
                    process.kill()
                    process.communicate()

    def wait_for_tenants(self, machine, count):
        deadline, found = time.monotonic() + harness.PATIENCE_S, None
        while found != count:
            self.assertLess(time.monotonic(), deadline, f"{found} tenants")
            explain = machine.run(str(harness.CUSLICE), "explain", "--json")
            found = sum(tenant["processes"] for gpu in json.loads(self.finished(explain))["gpus"]
                        if gpu["segment"].endswith(f"{os.getpid():032x}")
                        for tenant in gpu["tenants"])
            time.sleep(0.02)


if __name__ == "__main__":
    harness.main()
