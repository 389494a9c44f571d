#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
# Copyright the cuslice authors
#
# What members of a group do about bytes of a dead one that the driver has not taken down yet, and
# about the last bytes that there are.
import os
import tempfile

import harness
import members
from harness import MIB, client, fields


class GroupMemory(members.GroupCase):
    def test_driver_that_still_takes_down_a_dead_member_is_asked_again(self):
        # The group has its bytes back before the device has.
        with harness.Machine(context_bytes="0", memory="70MiB", reclaim_us="150000") as machine:
            one, other = self.start(machine, 2)
            self.assertEqual(one.alloc(60)[0], 0)
            self.assertEqual(self.units_used(), 60 * MIB // 512)
            one.process.kill()
            self.wait_until_used(0)
            self.assertEqual(other.alloc(60)[0], 0)

    def test_last_allocation_goes_to_exactly_one_of_two(self):
        is_long = "TESTS_FULL" in os.environ and not harness.SANITIZER
        rounds = 100_000 if is_long else 2_000
        with harness.Machine(context_bytes="0") as machine, \
                tempfile.TemporaryDirectory(dir="/dev/shm", prefix="cuslice-test-") as folder:
            limits = {"GROUP": folder, "MEMORY": "64MiB"}
            racers = [machine.start(client("last_one"), str(number), f"{folder}/meeting", "40",
                                    str(rounds), limits=limits) for number in range(2)]
            seen = [fields(racer.communicate()[0]) for racer in racers]
        self.assertEqual([one.get("mistakes") for one in seen], ["0", "0"], seen)
        self.assertEqual([racer.returncode for racer in racers], [0, 0])
        won = [int(one["won"]) for one in seen]
        self.assertEqual(sum(won), rounds)
        # Else it would be no race.
        self.assertGreater(min(won), 0)
        print(f"{rounds} rounds: {won[0]} and {won[1]} won", flush=True)


if __name__ == "__main__":
    harness.main()
