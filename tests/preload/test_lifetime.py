#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
# Copyright the cuslice authors
#
# Calls at odd moments of a process's life: before cuInit, at its end, around dlclose.
import harness
from harness import CLIENTS, LIBRARY, NOT_INITIALIZED, OUT_OF_MEMORY, client, fields

BOTH = {"MEMORY": "64MiB", "COMPUTE": "50%"}


class Lifetime(harness.Case):
    def as_bare(self, *command, **environment):
        with harness.Machine() as machine:
            bare = self.finished(machine.run(*command, **environment))
            for limits in ({}, {"MEMORY": "1GiB"}, {"COMPUTE": "50%"}):
                done = machine.run(*command, limits=limits, **environment)
                self.assertEqual(fields(self.finished(done)), fields(bare))
        return fields(bare)

    def test_calls_before_init_give_the_drivers_own_errors(self):
        bare = self.as_bare(client("order"), "before_init")
        self.assertEqual(bare["launch"], str(NOT_INITIALIZED))
        self.assertEqual(bare["alloc"], f"{NOT_INITIALIZED} 42")

    def test_calls_from_atexit_handlers_and_destructors(self):
        bare = self.as_bare(client("order"), "late")
        self.assertIn("atexit_alloc", bare)
        self.assertIn("destructor_destroy", bare)

    def test_calls_from_the_destructor_of_a_library(self):
        bare = self.as_bare(client("order"), "plugin_late", CLIENTS / "libclient_plugin.so",
                            PLUGIN_LATE="1")
        self.assertIn("late_free", bare)

    def test_dlclose_of_the_last_handle_leaves_what_was_looked_up(self):
        with harness.Machine() as machine:
            done = machine.run(client("order"), "reopen", limits=BOTH)
        seen = fields(self.finished(done))
        self.assertEqual((seen["close"], seen["reopened"], seen["large"]),
                         ("0", "same", str(OUT_OF_MEMORY)))

    def test_unloading_the_preload_is_without_effect(self):
        with harness.Machine() as machine:
            done = machine.run(client("order"), "unload", LIBRARY, limits=BOTH)
        seen = fields(self.finished(done))
        self.assertEqual((seen["large"], seen["small"]), (str(OUT_OF_MEMORY), "0"))


if __name__ == "__main__":
    harness.main()
