#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
# Copyright the cuslice authors
#
# Some of the clients under valgrind: no invalid access, no use of unset memory.
import harness
from harness import client, fields
from test_kinds import under_quota

VALGRIND = ("valgrind", "--quiet", "--error-exitcode=99", "--leak-check=no",
            "--child-silent-after-fork=yes")
BOTH = {"MEMORY": "64MiB", "COMPUTE": "50%"}


class Valgrind(harness.Case):
    def test_scenario_has_no_errors(self):
        for command in ((client("linked"),), (client("kinds"), "soname"),
                        (client("kinds"), "proc2_thread")):
            with self.subTest(command), harness.Machine() as machine:
                bare = fields(self.finished(machine.run(*command)))
                done = machine.run(*VALGRIND, *command, limits=BOTH)
                self.assertEqual(fields(self.finished(done)), under_quota(bare))

    def test_graphs_have_no_errors(self):
        with harness.Machine() as machine:
            done = machine.run(*VALGRIND, client("share"), "graph", "300", limits=BOTH)
            self.assertIn("launches", fields(self.finished(done)))


if __name__ == "__main__":
    harness.main()
