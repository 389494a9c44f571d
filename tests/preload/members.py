# SPDX-License-Identifier: Apache-2.0
# Copyright the cuslice authors
#
# Members of a group that allocate as they are told, and what their segment says meanwhile.
import pathlib
import struct
import tempfile
import time

import harness
from harness import MIB, client

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

    def free_newest(self):
        return self.alloc(0)[0]

    def end(self):
        self.process.kill()
        self.process.wait()
        self.process.stdin.close()
        self.process.stdout.close()


class GroupCase(harness.Case):
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

    def wait_until_used(self, mib):
        until = time.monotonic() + harness.PATIENCE_S
        while self.units_used() != mib * MIB // 512:
            self.assertLess(time.monotonic(), until)
            time.sleep(0.0005)
