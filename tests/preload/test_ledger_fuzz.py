#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
# Copyright the cuslice authors
#
# Random uses of device memory against the account of the machine (ledger_fuzz.py), short. The seeds
# are fixed, so that a failure is one's own.
import re
import unittest

import harness
import ledger_fuzz

SMALL = bool(harness.SANITIZER)


def options(*arguments):
    return ledger_fuzz.parse(list(map(str, arguments)))


class Alone(harness.Case):
    def test_books_agree_after_each_step(self):
        for seed in range(2):
            with self.subTest(seed=seed):
                granted, refused = ledger_fuzz.run(
                    options("--seed", seed, "--operations", 800 if SMALL else 4000))
                self.assertGreater(granted, 200)
                self.assertGreater(refused, 20)


class Group(harness.Case):
    def play(self, processes, operations, *more):
        group = ledger_fuzz.run(options("--seed", 7, "--operations", operations, "--processes",
                                        processes, "--grouped", *more))
        self.assertGreater(group.granted, 50)
        self.assertLessEqual(group.peak, ledger_fuzz.QUOTA)
        return group

    def test_members_never_have_more_than_the_quota(self):
        group = self.play(4, 500 if SMALL else 2000)
        self.assertGreater(group.peak, ledger_fuzz.QUOTA * 9 // 10)
        self.assertGreater(group.refused, 50)

    def test_killed_and_stopped_members_lose_no_byte(self):
        group = self.play(8, 300 if SMALL else 1000, "--kills", "--rounds", 10)
        self.assertGreater(group.killed, 0)
        self.assertGreater(group.stopped, 0)


class Faults(harness.Case):
    """What is wrong is found, and comes down to a few steps, fewer where there is more time."""

    def found(self, *arguments):
        with self.assertRaises(ledger_fuzz.Mismatch) as raised:
            ledger_fuzz.run(options("--seed", 2, "--shrink-s", 30, *arguments))
        mismatch = raised.exception
        self.assertLessEqual(len(mismatch.steps), 10, mismatch)
        # What it tells to play again fails again.
        [again] = re.findall(r"--steps '([0-9 ]+)'", str(mismatch))
        with self.assertRaises(ledger_fuzz.Mismatch):
            ledger_fuzz.run(options("--seed", 2, "--shrink-s", 0, *arguments, "--steps", again))

    def test_a_free_that_the_model_forgets(self):
        self.found("--operations", 500, "--fault", "forget", "--fault-at", 100)

    @unittest.skipIf(SMALL, "sanitizers do not let a library be bound to the driver alone")
    def test_a_free_behind_the_library(self):
        self.found("--operations", 500, "--fault", "behind", "--fault-at", 100)

    @unittest.skipIf(SMALL, "sanitizers do not let a library be bound to the driver alone")
    def test_a_free_behind_the_library_in_a_group(self):
        self.found("--operations", 200, "--processes", 4, "--rounds", 40, "--fault", "behind",
                   "--fault-at", 50)


if __name__ == "__main__":
    harness.main()
