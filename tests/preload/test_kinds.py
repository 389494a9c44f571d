#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
# Copyright the cuslice authors
#
# Every way in which programs find the driver: without limits they cannot tell that the preload is
# there, and under a quota exactly the allocations above it are refused.
import subprocess
import unittest

import harness
from harness import CLIENTS, OUT_OF_MEMORY, QUOTA, SIMGPU, client, fields

PLUGIN = CLIENTS / "libclient_plugin.so"
KINDS = {
    "linked": (client("linked"),),
    "linked weakly": (client("linked_weak"),),
    "by soname": (client("kinds"), "soname"),
    "by the development name": (client("kinds"), "path", "libcuda.so"),
    "by path": (client("kinds"), "path", SIMGPU / "libcuda.so.1"),
    "in a namespace of its own": (client("kinds"), "newlm"),
    "with versions": (client("kinds"), "dlvsym"),
    "from the global scope": (client("kinds"), "default"),
    "from the program's scope": (client("kinds"), "program"),
    "cuGetProcAddress": (client("kinds"), "proc"),
    "cuGetProcAddress, legacy stream": (client("kinds"), "proc_legacy"),
    "cuGetProcAddress, stream a thread": (client("kinds"), "proc_thread"),
    "cuGetProcAddress_v2": (client("kinds"), "proc2"),
    "cuGetProcAddress_v2, legacy stream": (client("kinds"), "proc2_legacy"),
    "cuGetProcAddress_v2, stream a thread": (client("kinds"), "proc2_thread"),
    "by a local plugin": (client("kinds"), "plugin_local", PLUGIN),
}
if harness.SANITIZER:
    del KINDS["in a namespace of its own"]  # the sanitizer cannot be there twice
# The library binds to libcuda before anything that is preloaded: safe, but not reached.
UNREACHED = (client("kinds"), "plugin_deepbind", PLUGIN)


def under_quota(bare):
    """What a bare run's fields become under the quota."""
    return bare | {
        "total": f"0 {QUOTA}",
        "info_total": str(QUOTA),
        "large": f"{OUT_OF_MEMORY} untouched",
        "pitch_large": f"{OUT_OF_MEMORY} untouched 7",
        "managed_large": f"{OUT_OF_MEMORY} untouched",
    }


class Kinds(harness.Case):
    def test_bare_scenario_is_worth_comparing(self):
        with harness.Machine() as machine:
            bare = fields(self.finished(machine.run(client("linked"))))
        self.assertEqual((bare["init"], bare["count"], bare["large"], bare["launch"]),
                         ("0", "0 1", "0 set", "0"))
        self.assertEqual((bare["copy_data"], bare["before_init"]), ("same", "3"))
        self.assertGreater(len(bare), 35)
        self.assertNotEqual(under_quota(bare), bare)

    def each_kind(self, limits, expected):
        for kind, command in KINDS.items():
            with self.subTest(kind), harness.Machine() as machine:
                bare = self.finished(machine.run(*command))
                sliced = self.finished(machine.run(*command, limits=limits))
                self.assertEqual(fields(sliced), expected(fields(bare)))

    def test_without_limits_is_as_bare(self):
        self.each_kind({}, lambda bare: bare)

    def test_quota_refuses_what_is_over_it_and_nothing_else(self):
        self.each_kind({"MEMORY": "64MiB"}, under_quota)

    def test_share_changes_no_answer(self):
        self.each_kind({"COMPUTE": "90%"}, lambda bare: bare)

    def test_quota_and_share_together(self):
        self.each_kind({"MEMORY": "64MiB", "COMPUTE": "50%"}, under_quota)

    def test_wide_quota_refuses_nothing(self):
        with harness.Machine() as machine:
            bare = fields(self.finished(machine.run(client("linked"))))
            sliced = fields(self.finished(machine.run(client("linked"), limits={"MEMORY": "100%"})))
            self.assertEqual(sliced, bare)

    @unittest.skipIf(harness.SANITIZER, "sanitizers refuse RTLD_DEEPBIND")
    def test_deepbound_plugin_is_safe_and_not_reached(self):
        for limits in ({}, {"MEMORY": "64MiB", "COMPUTE": "50%"}):
            with harness.Machine() as machine:
                bare = self.finished(machine.run(*UNREACHED))
                self.assertEqual(self.finished(machine.run(*UNREACHED, limits=limits)), bare)

    def test_export_table_passes_through_untouched(self):
        uuid = b"simgpu-table-one".hex()
        with harness.Machine() as machine:
            bare = self.finished(machine.run(client("export_table"), uuid))
            limits = {"MEMORY": "64MiB", "COMPUTE": "50%"}
            sliced = self.finished(machine.run(client("export_table"), uuid, limits=limits))
        self.assertIn("known 0 libcuda.so.1+", bare)
        self.assertIn("unknown 500 null", bare)
        self.assertEqual(sliced, bare)

    def test_preloaded_library_does_not_load_the_driver(self):
        done = subprocess.run(["ldd", harness.LIBRARY], capture_output=True, text=True, check=True)
        self.assertIn("libc.so", done.stdout)
        self.assertNotIn("libcuda", done.stdout)


if __name__ == "__main__":
    harness.main()
