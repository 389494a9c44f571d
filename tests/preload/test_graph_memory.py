#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
# Copyright the cuslice authors
#
# Memory that graphs allocate is charged when the driver takes it, by the account of the machine.
import harness
from harness import MIB, OUT_OF_MEMORY
from test_memory import Talk as MemoryTalk

OVER = str(OUT_OF_MEMORY)
INVALID_VALUE = "1"


class Talk(MemoryTalk):
    def __init__(self, machine, what, quota):
        super().__init__(machine, what, quota, name="graph_memory")

    def expect(self, case, key, used):
        """The client waits, and both books say `used`."""
        case.assertEqual((int(self.until(key)), self.device()["used"]), (used, used), key)
        self.go_on()


class GraphMemory(harness.Case):
    def nodes(self, chunk, slack):
        quota = 64 * MIB
        with harness.Machine(context_bytes="0", pool_chunk=chunk) as machine, \
                Talk(machine, "nodes", quota) as talk:
            talk.expect(self, "made", 0)
            talk.expect(self, "half", quota // 2)
            talk.expect(self, "full", quota)
            talk.expect(self, "again", quota)
            small = int(talk.until("trimmed"))
            self.assertEqual(small, talk.device()["used"])
            talk.go_on()
            talk.expect(self, "kept", quota)
            talk.expect(self, "at_end", 0)
            self.assertLessEqual(machine.account()["devices"][0]["peak"], quota + slack)
        self.assertEqual(talk.seen["linear"], [OVER, "0"])
        self.assertEqual(talk.seen["more"], ["0"])
        self.assertEqual(talk.seen["refused"][0], f"{OVER} {OVER}")
        self.assertEqual(talk.seen["after_trim"], ["0"])

    def test_launches_are_charged_what_graphs_allocate(self):
        self.nodes("2MiB", 0)

    def test_large_chunks_too(self):
        self.nodes("32MiB", 0)

    def test_captured_allocations_are_charged_at_the_launch(self):
        quota = 64 * MIB
        with harness.Machine(context_bytes="0") as machine, \
                Talk(machine, "captured", quota) as talk:
            talk.expect(self, "captured", 0)
            talk.expect(self, "left", quota)
            talk.expect(self, "left", quota)
            talk.expect(self, "at_end", 0)
            self.assertEqual(machine.account()["devices"][0]["peak"], quota)
        self.assertEqual(talk.seen["unfreed"], [INVALID_VALUE])
        self.assertEqual(talk.seen["freed"], ["0", "0"])
        self.assertEqual(talk.seen["linear"], [OVER, "0"])
        self.assertEqual(talk.seen["too_large"], [OVER])


if __name__ == "__main__":
    harness.main()
