#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
# Copyright the cuslice authors
#
# What a group does about bytes of a dead member that the driver has not taken down yet.
import pathlib
import struct
import tempfile
import time

import harness
from harness import client

# Where the first device's word stands in the segment, and how its total does in it
# (src/group/segment_layout.h, segment_protocol.c).
WORD_OFFSET, TOTAL_SHIFT = 2176, 28


class Member:
    """A client_member."""

    def __init__(self, machine, group):
        limits = {"GROUP": group, "MEMORY": "64MiB"}
        self.process = machine.start(client("member"), limits=limits)
        assert self.process.stdout.readline() == "ready\n"

    def ask(self, mib):
        self.process.stdin.write(f"{mib}\n")
        self.process.stdin.flush()

    def hear(self):
        """The driver's result, and the microseconds of the call."""
        return tuple(map(int, self.process.stdout.readline().split()))

    def alloc(self, mib):
        self.ask(mib)
        return self.hear()

    def end(self):
        self.process.kill()
        self.process.wait()
        self.process.stdin.close()
        self.process.stdout.close()


class GroupMemory(harness.Case):
    def start(self, machine, count):
        folder = tempfile.TemporaryDirectory(dir="/dev/shm", prefix="cuslice-test-")
        self.addCleanup(folder.cleanup)
        self.folder = pathlib.Path(folder.name)
        members = [Member(machine, folder.name) for _ in range(count)]
        for member in members:
            self.addCleanup(member.end)
        return members

    def units_used(self):
        """What the segment says is used of the only device."""
        [segment] = self.folder.glob("*.group")
        with segment.open("rb") as file:
            file.seek(WORD_OFFSET)
            return struct.unpack("<Q", file.read(8))[0] >> TOTAL_SHIFT

    def test_driver_that_still_takes_down_a_dead_member_is_asked_again(self):
        # The group has its bytes back before the device has.
        with harness.Machine(context_bytes="0", memory="70MiB", reclaim_us="150000") as machine:
            one, other = self.start(machine, 2)
            self.assertEqual(one.alloc(60)[0], 0)
            self.assertEqual(self.units_used(), 60 * harness.MIB // 512)
            one.process.kill()
            until = time.monotonic() + harness.PATIENCE_S
            while self.units_used() != 0:
                self.assertLess(time.monotonic(), until)
                time.sleep(0.001)
            self.assertEqual(other.alloc(60)[0], 0)


if __name__ == "__main__":
    harness.main()
