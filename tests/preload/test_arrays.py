#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
# Copyright the cuslice authors
#
# Arrays, external, managed and host memory against the account of the machine. Where the driver
# does not tell what an array needs, its cost is learned from the drop of the free memory.
import harness
from harness import MIB, OUT_OF_MEMORY, client
from test_memory import Talk as MemoryTalk

KIB = 1024
OVER = str(OUT_OF_MEMORY)
INVALID_VALUE, OPERATING_SYSTEM, INVALID_HANDLE = "1", "304", "400"


class Talk(MemoryTalk):
    def __init__(self, machine, what, quota, *more):
        super().__init__(machine, what, quota, *more, name="arrays")

    def expect(self, case, key, used):
        """The client waits, and both books say `used`."""
        case.assertEqual((int(self.until(key)), self.device()["used"]), (used, used), key)
        self.go_on()


class Arrays(harness.Case):
    def machine(self):
        return harness.Machine(context_bytes="0", memory="8GiB")

    def tell_nothing(self, machine):
        for symbol in ("cuArrayGetMemoryRequirements", "cuMipmappedArrayGetMemoryRequirements"):
            machine.simgpu("fail", symbol, INVALID_VALUE, "1000000")

    def every_kind(self, machine):
        with Talk(machine, "every_kind", 1 << 30) as talk:
            one_of_each = int(talk.until("made"))
            self.assertEqual(one_of_each, talk.device()["used"])
            self.assertGreater(one_of_each, 16 * MIB)
            talk.go_on()
            talk.expect(self, "made", 2 * one_of_each)
            talk.expect(self, "destroyed", 0)
            talk.expect(self, "context_gone", 0)

    def test_every_kind_costs_what_the_driver_tells(self):
        with self.machine() as machine:
            self.every_kind(machine)

    def test_every_kind_costs_what_it_was_seen_to_take(self):
        with self.machine() as machine:
            self.tell_nothing(machine)
            self.every_kind(machine)

    def limits(self, machine):
        quota = 16 * MIB
        with Talk(machine, "limits", quota) as talk:
            talk.expect(self, "refused", 0)
            for key in ("4_gib", "near_2_to_64", "narrow"):
                self.assertEqual(talk.seen[key], [f"{OVER} 42 {OVER} 42"], key)
            self.assertEqual(talk.seen["no_width"], [f"{INVALID_VALUE} 42 {INVALID_VALUE} 42"])
            self.assertEqual(talk.seen["null"], [f"{INVALID_VALUE} {INVALID_VALUE}"])
            self.assertEqual(talk.seen["destroy_nothing"], [INVALID_HANDLE])
            talk.expect(self, "unbacked", 0)
            self.assertEqual(int(talk.until("full")), quota)
            self.assertEqual(talk.seen["filled"], [f"16 {OVER}"])
            machine.simgpu("fail", "cuArrayDestroy", "999", "1")
            talk.go_on()
            talk.expect(self, "still_full", quota)
            talk.expect(self, "one_less", quota - MIB)
            self.assertEqual(talk.seen["destroy"], ["999", "0"])

    def test_arrays_are_held_to_the_quota(self):
        with self.machine() as machine:
            self.limits(machine)
            self.assertLessEqual(machine.account()["devices"][0]["peak"], 16 * MIB)

    def test_arrays_of_which_nothing_is_told_are_held_to_the_quota(self):
        with self.machine() as machine:
            self.tell_nothing(machine)
            self.limits(machine)

    def test_threads_lose_no_byte(self):
        rounds = "300" if harness.SANITIZER else "2000"
        for tells in (True, False):
            with self.subTest(tells=tells), self.machine() as machine:
                if not tells:
                    self.tell_nothing(machine)
                with Talk(machine, "threads", 2 * MIB, rounds) as talk:
                    talk.expect(self, "at_end", 0)

    def test_what_is_more_than_the_elements_waits_for_frees_too(self):
        for tells in (True, False):
            with self.subTest(tells=tells), self.machine() as machine:
                if not tells:
                    self.tell_nothing(machine)
                with Talk(machine, "waits_for_frees", 4 * MIB) as talk:
                    talk.expect(self, "at_end", MIB)
                    self.assertEqual(talk.seen["over"], [OVER])
                    self.assertEqual(talk.seen["waited"], ["0"])

    def test_external_memory_is_charged_while_it_is_imported(self):
        quota = 4 * MIB
        with self.machine() as machine, Talk(machine, "external", quota) as talk:
            for key, used in ("imported", quota // 2), ("mapped", quota // 2), ("destroyed", 0):
                self.assertEqual(int(talk.until(key)), used, key)
                self.assertEqual(talk.device()["used"], 0)
                talk.go_on()
            self.assertEqual(talk.seen["over"], [f"{OPERATING_SYSTEM} 42"])
            self.assertEqual(talk.seen["still_ours"], ["0"])
            self.assertEqual(talk.seen["too_long"], [OPERATING_SYSTEM])
            self.assertEqual(talk.seen["again"], [INVALID_HANDLE])
            self.assertEqual(talk.seen["null"], [INVALID_VALUE])

    def test_managed_memory_counts_in_full(self):
        quota = 4 * MIB
        with self.machine() as machine, Talk(machine, "managed_and_host", quota) as talk:
            talk.expect(self, "managed_used", quota)
            talk.expect(self, "prefetched", quota)
            self.assertEqual(talk.seen["managed"], ["0"])
            self.assertEqual(talk.seen["over"], [f"{OVER} 42"])

    def test_host_memory_counts_nothing(self):
        quota = 4 * MIB
        with self.machine() as machine, Talk(machine, "managed_and_host", quota) as talk:
            talk.until("managed_used")
            talk.go_on()
            talk.until("prefetched")
            talk.go_on()
            talk.expect(self, "host_used", 0)
            talk.expect(self, "at_end", 0)


if __name__ == "__main__":
    harness.main()
