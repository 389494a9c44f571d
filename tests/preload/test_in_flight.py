#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
# Copyright the cuslice authors
#
# Bytes that one member of a group has reserved and for which the driver has not answered yet, so that
# they may come back: how others wait for them. Measures real time.
import harness
import members
from harness import MIB, OUT_OF_MEMORY, client, fields

# What allocations wait at most.
WAIT_US = 10_000


class InFlight(members.GroupCase):
    def test_is_waited_for_ten_milliseconds_in_all(self):
        with harness.Machine(context_bytes="0") as machine:
            one, other = self.start(machine, 2)
            machine.simgpu("set", "memory_answer_us=1000000")
            one.ask(40)
            self.wait_until_used(40)
            # Of seven, the one that was held up least by what else the computer does.
            waits = [other.alloc(30) for _ in range(7)]
            hopeless = [other.alloc(70) for _ in range(7)]
            self.assertEqual(self.units_used(), 40 * MIB // 512)
            answer, took_us = one.hear()
            self.assertEqual(answer, 0)
            self.assertGreaterEqual(took_us, 1_000_000)
            settled = [other.alloc(30) for _ in range(7)]
        self.assertEqual({answer for answer, _ in waits + hopeless + settled}, {OUT_OF_MEMORY})
        shortest_us = min(took_us for _, took_us in waits)
        self.assertGreaterEqual(shortest_us, WAIT_US)
        self.assertLess(shortest_us, WAIT_US + 2_000)
        # What would not fit in any case is refused at once, and so is all once nothing is in flight.
        self.assertLess(min(took_us for _, took_us in hopeless), WAIT_US / 10)
        self.assertLess(min(took_us for _, took_us in settled), WAIT_US / 10)

    def test_call_that_waits_for_two_things_waits_no_longer(self):
        took_us = []
        with harness.Machine(**{"context_bytes": "0", "kernel.busy": "200ms"}) as machine:
            for _ in range(5):
                done = machine.run(client("pools"), "two_waits", str(56 * MIB),
                                   limits={"MEMORY": str(56 * MIB)})
                seen = fields(self.finished(done))
                self.assertEqual(seen["over"], f"{OUT_OF_MEMORY} 42")
                took_us.append(int(seen["took_us"]))
        self.assertGreaterEqual(min(took_us), WAIT_US)
        self.assertLess(min(took_us), WAIT_US + 2_000)

    def test_is_had_where_the_driver_refuses_in_time(self):
        # The driver refuses what the quota has granted: the device has not so much left.
        with harness.Machine(context_bytes="0", memory="60MiB") as machine:
            one, other = self.start(machine, 2)
            self.assertEqual(other.alloc(10)[0], 0)
            machine.simgpu("set", "memory_answer_us=4000")
            has_waited = 0
            for _ in range(100):
                one.ask(52)
                other.ask(5)
                (first, first_us), (second, second_us) = one.hear(), other.hear()
                self.assertEqual(first, OUT_OF_MEMORY)
                # Neither is sure to begin first, but what begins within the time of the other and
                # waits for 10 ms waits for longer than it.
                if first_us < WAIT_US:
                    self.assertEqual(second, 0)
                    has_waited += second_us >= 4_000 + 2_000
                if second == 0:
                    self.assertEqual(other.free_newest(), 0)
                if has_waited >= 3:
                    break
            self.assertGreaterEqual(has_waited, 3)


if __name__ == "__main__":
    harness.main()
