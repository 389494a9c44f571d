#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
# Copyright the cuslice authors
#
# Settings that are not understood: no GPU rather than an unlimited one, and one clear message.
import re

import harness
from harness import NO_DEVICE, QUOTA, client, fields
from test_kinds import under_quota

LINE = re.compile(r"cuslice\[\d+\] (\w+): (.*)")


def said(done):
    """What was logged: (module, text) of each line of stderr."""
    return [LINE.fullmatch(line).groups() for line in done.stderr.splitlines()]


class OnError(harness.Case):
    commands = ((client("linked"),), (client("kinds"), "soname"), (client("kinds"), "proc2"))

    def refused(self, limits):
        """What is said, the same for each kind of client."""
        texts = []
        for command in self.commands:
            with harness.Machine() as machine:
                done = machine.run(*command, limits=limits)
            self.assertEqual(done.returncode, 1)
            self.assertEqual(fields(done.stdout)["init"], str(NO_DEVICE))
            texts.append([text for module, text in said(done)])
        self.assertEqual(texts[0], texts[1])
        self.assertEqual(texts[0], texts[2])
        return texts[0]

    def test_bad_value_is_quoted_and_takes_the_gpu_away(self):
        texts = self.refused({"MEMORY": "4 GG"})
        self.assertEqual(len(texts), 2)
        self.assertIn('CUSLICE_MEMORY="4 GG": unknown unit', texts[0])
        self.assertIn("CUSLICE_ON_ERROR=warn", texts[1])

    def test_bad_share_is_quoted(self):
        self.assertIn('CUSLICE_COMPUTE="150%": more than 100%', self.refused({"COMPUTE": "150%"})[0])

    def test_unknown_name_is_refused_by_name(self):
        texts = self.refused({"MEMORIE": "4GiB", "MEMORY": "1GiB"})
        self.assertEqual(texts[0], "CUSLICE_MEMORIE: no such setting")

    def test_more_problems_than_shown_are_counted(self):
        texts = self.refused({f"UNKNOWN{i}": "1" for i in range(7)})
        self.assertEqual(len(texts), 6)
        self.assertEqual(texts[4], "and 3 more")

    def test_warn_ignores_what_is_not_understood_and_keeps_the_rest(self):
        with harness.Machine() as machine:
            bare = fields(self.finished(machine.run(client("linked"))))
            done = machine.run(client("linked"), limits={
                "MEMORY": "64MiB", "COMPUTE": "lots", "ON_ERROR": "warn"})
        self.assertEqual(done.returncode, 0)
        self.assertEqual(fields(done.stdout), under_quota(bare))
        self.assertEqual(len(said(done)), 1)
        self.assertIn('CUSLICE_COMPUTE="lots"', said(done)[0][1])

    def test_service_of_kubernetes_is_no_setting(self):
        with harness.Machine() as machine:
            bare = fields(self.finished(machine.run(client("linked"))))
            done = machine.run(client("linked"), limits={
                "SERVICE_HOST": "10.0.0.1", "PORT_80_TCP": "tcp://10.0.0.1:80"})
        self.assertEqual(fields(self.finished(done)), bare)

    def test_refusal_is_logged_where_asked_for_and_says_how_much(self):
        with harness.Machine() as machine:
            quiet = machine.run(client("linked"), limits={"MEMORY": str(QUOTA)})
            told = machine.run(client("linked"), limits={"MEMORY": str(QUOTA), "LOG": "info"})
        self.assertEqual(quiet.stderr, "")
        self.assertIn(("ledger", "refused 96.00 MiB on GPU 0: 0 B of 64.00 MiB used"), said(told))
        self.assertEqual(told.stdout, quiet.stdout)


if __name__ == "__main__":
    harness.main()
