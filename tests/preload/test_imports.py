#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
# Copyright the cuslice authors
#
# Memory that processes hand to each other: counted once in a group, as long as any of them holds it,
# and in each group of those that hold it. The account of the machine tells what is really held.
import os
import signal
import socket
import tempfile
import time

import harness
from harness import MAP_FAILED, MIB, OUT_OF_MEMORY, client

QUOTA = 64
REFUSED, OVER = str(MAP_FAILED), str(OUT_OF_MEMORY)


class Holder:
    """A client_holder."""

    def __init__(self, machine, group):
        self.socket, theirs = socket.socketpair()
        with theirs:
            self.process = machine.start(
                client("holder"), str(theirs.fileno()), pass_fds=[theirs.fileno()],
                limits={"GROUP": group, "MEMORY": f"{QUOTA}MiB"})
        assert self.process.stdout.readline() == "ready\n"

    def ask(self, command):
        self.process.stdin.write(command + "\n")
        self.process.stdin.flush()

    def hear(self):
        return self.process.stdout.readline().rstrip("\n").partition(" ")[2]

    def do(self, *commands):
        """The last answer. All before have to be the driver's success."""
        for command in commands[:-1]:
            answer = self.do(command)
            assert answer == "0", (command, answer)
        self.ask(commands[-1])
        return self.hear()

    def used(self):
        """MiB of its slice."""
        return int(self.do("used")) / MIB

    def kill(self):
        self.process.kill()
        self.process.wait()

    def end(self):
        self.kill()
        self.process.stdin.close()
        self.process.stdout.close()
        self.socket.close()


class Linear:
    """Linear memory by handles of cuIpcGetMemHandle."""

    alloc, free, close = "alloc", "free", "close"
    refused = REFUSED

    @staticmethod
    def give(giver, taker, mib):
        del mib
        return taker.do("open " + giver.do("handle"))


class Physical:
    """Physical memory by file descriptors."""

    alloc, free, close = "create", "drop", "drop"
    refused = OVER

    @staticmethod
    def give(giver, taker, mib, command="import"):
        assert giver.do("export") == "0"
        _, [fd], _, _ = socket.recv_fds(giver.socket, 1, 1)
        socket.send_fds(taker.socket, [b"f"], [fd])
        # Nobody but the two has it.
        os.close(fd)
        return taker.do(f"{command} {mib}")


class ImportsCase(harness.Case):
    def setUp(self):
        self.machine = harness.Machine(context_bytes="0")
        self.machine.__enter__()
        self.addCleanup(self.machine.__exit__)
        self.holders = []
        self.addCleanup(lambda: [holder.end() for holder in self.holders])

    def group(self):
        folder = tempfile.TemporaryDirectory(dir="/dev/shm", prefix="cuslice-test-")
        self.addCleanup(folder.cleanup)
        return folder.name

    def start(self, group, count):
        holders = [Holder(self.machine, group) for _ in range(count)]
        self.holders += holders
        return holders

    def device_mib(self):
        return self.machine.account()["devices"][0]["used"] / MIB

    def both_become(self, holder, mib):
        """The slice of the holder and the machine come to say `mib`, and until then never less."""
        until = time.monotonic() + harness.PATIENCE_S
        while True:
            device = self.device_mib()
            used = holder.used()
            self.assertGreaterEqual(used, mib)
            if (used, device) == (mib, mib):
                return
            self.assertLess(time.monotonic(), until, f"{used} MiB used, {device} by the device")
            time.sleep(0.002)

    def stays(self, holder, mib):
        """It is and stays so while each member looks around several times."""
        until = time.monotonic() + 0.3
        while time.monotonic() < until:
            self.assertEqual(holder.used(), mib)

    def outlasts(self, holder, mib):
        """It is never less while another takes over, which pays before the dead one does no more."""
        until = time.monotonic() + 0.3
        while time.monotonic() < until:
            self.assertGreaterEqual(holder.used(), mib)
        self.both_become(holder, mib)

    def in_both_ways(self, test):
        for way in (Linear, Physical):
            with self.subTest(way.__name__):
                test(way)
            while self.holders:
                self.holders.pop().end()


class InGroup(ImportsCase):
    def test_import_is_free_while_the_other_pays(self):
        def test(way):
            giver, taker = self.start(self.group(), 2)
            self.assertEqual(giver.do(f"{way.alloc} 40", "write hello"), "0")
            self.assertEqual(way.give(giver, taker, 40), "0")
            self.assertEqual(taker.do("read"), "0 hello")
            self.stays(taker, 40)
            self.assertEqual(self.device_mib(), 40)
            self.assertEqual(giver.used(), 40)
            self.assertEqual(taker.do("alloc 25"), OVER)
            self.assertEqual(taker.do("alloc 24", "free"), "0")
            self.assertEqual(taker.do(way.close), "0")
            self.stays(giver, 40)
            self.assertEqual(giver.do(way.free), "0")
            self.assertEqual((giver.used(), taker.used(), self.device_mib()), (0, 0, 0))
            # And once more, by the same entries.
            self.assertEqual(giver.do(f"{way.alloc} 8"), "0")
            self.assertEqual(way.give(giver, taker, 8), "0")
            self.assertEqual(giver.used(), 8)

        self.in_both_ways(test)

    def test_who_made_it_pays_on_until_the_others_let_go(self):
        def test(way):
            giver, taker, looker = self.start(self.group(), 3)
            self.assertEqual(giver.do(f"{way.alloc} 40", "write hello"), "0")
            self.assertEqual(way.give(giver, taker, 40), "0")
            self.assertEqual(giver.do(way.free), "0")
            self.stays(looker, 40)
            self.assertEqual(self.device_mib(), 40)
            if way is Physical:
                self.assertEqual(taker.do("read"), "0 hello")
            self.assertEqual(looker.do("alloc 25"), OVER)
            self.assertEqual(taker.do(way.close), "0")
            # Whoever asks itself need not wait for its thread.
            self.assertEqual(giver.do("alloc 64", "free"), "0")
            self.both_become(looker, 0)

        self.in_both_ways(test)

    def test_another_takes_over_from_a_killed_one(self):
        def test(way):
            giver, one, other = self.start(self.group(), 3)
            self.assertEqual(giver.do(f"{way.alloc} 40", "write hello"), "0")
            self.assertEqual(way.give(giver, one, 40), "0")
            self.assertEqual(way.give(giver, other, 40), "0")
            self.assertEqual(giver.do("alloc 24" if way is Physical else "create 24"), "0")
            self.assertEqual(one.used(), 64)
            giver.kill()
            self.outlasts(one, 40)
            self.assertEqual(one.do("read"), "0 hello")
            self.assertEqual(one.do(way.close), "0")
            self.outlasts(one, 40)
            self.assertEqual(other.do("read"), "0 hello")
            self.assertEqual(other.do(way.close), "0")
            self.both_become(one, 0)
            self.assertEqual(one.do("alloc 64"), "0")

        self.in_both_ways(test)

    def test_whoever_has_taken_over_may_be_killed_too(self):
        def test(way):
            group = self.group()
            giver, one, other = self.start(group, 3)
            self.assertEqual(giver.do(f"{way.alloc} 64"), "0")
            self.assertEqual(way.give(giver, one, 64), "0")
            self.assertEqual(way.give(giver, other, 64), "0")
            giver.kill()
            self.outlasts(other, 64)
            self.assertEqual(other.do("create 2" if way is Linear else "alloc 1"), OVER)
            one.kill()
            self.outlasts(other, 64)
            other.kill()
            [last] = self.start(group, 1)
            self.assertEqual(last.used(), 0)
            self.both_become(last, 0)

        self.in_both_ways(test)

    def test_killed_after_it_let_go(self):
        def test(way):
            giver, taker = self.start(self.group(), 2)
            self.assertEqual(giver.do(f"{way.alloc} 40"), "0")
            self.assertEqual(way.give(giver, taker, 40), "0")
            self.assertEqual(giver.do(way.free), "0")
            giver.kill()
            self.outlasts(taker, 40)
            self.assertEqual(taker.do(way.close), "0")
            self.both_become(taker, 0)

        self.in_both_ways(test)

    def test_killed_guest_leaves_nothing_behind(self):
        def test(way):
            giver, taker, looker = self.start(self.group(), 3)
            self.assertEqual(giver.do(f"{way.alloc} 40"), "0")
            self.assertEqual(way.give(giver, taker, 40), "0")
            self.assertEqual(giver.do(way.free), "0")
            taker.kill()
            self.both_become(looker, 0)

        self.in_both_ways(test)

    def test_memory_of_a_stopped_guest_stays_charged_and_nobody_hangs(self):
        def test(way):
            group = self.group()
            giver, taker, looker = self.start(group, 3)
            self.assertEqual(giver.do(f"{way.alloc} 40"), "0")
            self.assertEqual(way.give(giver, taker, 40), "0")
            taker.process.send_signal(signal.SIGSTOP)
            giver.kill()
            self.both_become(looker, 40)
            self.stays(looker, 40)
            # Others come, and do not get the place of the dead one.
            [newcomer] = self.start(group, 1)
            self.assertEqual(newcomer.do("alloc 25"), OVER)
            self.assertEqual(newcomer.do("alloc 24", "free"), "0")
            taker.process.send_signal(signal.SIGCONT)
            self.assertEqual(taker.do(way.close), "0")
            self.both_become(looker, 0)

        self.in_both_ways(test)

    def test_end_of_a_context_lets_go(self):
        giver, taker = self.start(self.group(), 2)
        self.assertEqual(giver.do("alloc 40"), "0")
        self.assertEqual(Linear.give(giver, taker, 40), "0")
        self.assertEqual(giver.do("reset"), "0")
        self.stays(taker, 40)
        self.assertEqual(taker.do("reset"), "0")
        self.both_become(giver, 0)

    def test_import_fits_into_a_quota_that_is_used_up(self):
        def test(way):
            giver, taker = self.start(self.group(), 2)
            self.assertEqual(giver.do(f"{way.alloc} {QUOTA}"), "0")
            self.assertEqual(way.give(giver, taker, QUOTA), "0")
            self.assertEqual(taker.do(way.close), "0")

        self.in_both_ways(test)

    def test_descriptor_that_was_opened_anew_is_charged_to_each(self):
        giver, taker = self.start(self.group(), 2)
        self.assertEqual(giver.do("create 24"), "0")
        self.assertEqual(Physical.give(giver, taker, 24, "anew"), "0")
        self.assertEqual((giver.used(), self.device_mib()), (48, 24))
        self.assertEqual(taker.do("drop"), "0")
        self.assertEqual(giver.used(), 24)


class AcrossGroups(ImportsCase):
    def test_each_group_pays(self):
        def test(way):
            [giver], [taker] = self.start(self.group(), 1), self.start(self.group(), 1)
            self.assertEqual(giver.do(f"{way.alloc} 40"), "0")
            self.assertEqual(way.give(giver, taker, 40), "0")
            self.assertEqual((giver.used(), taker.used(), self.device_mib()), (40, 40, 40))
            self.assertEqual(taker.do("create 26" if way is Linear else "alloc 25"), OVER)
            self.assertEqual(giver.do(way.free), "0")
            self.stays(taker, 40)
            self.assertEqual((giver.used(), self.device_mib()), (0, 40))
            self.assertEqual(taker.do(way.close), "0")
            self.assertEqual((taker.used(), self.device_mib()), (0, 0))

        self.in_both_ways(test)

    def test_what_does_not_fit_is_refused(self):
        def test(way):
            [giver], [taker] = self.start(self.group(), 1), self.start(self.group(), 1)
            self.assertEqual(giver.do(f"{way.alloc} 40"), "0")
            self.assertEqual(taker.do("alloc 25"), "0")
            self.assertEqual(way.give(giver, taker, 40), way.refused)
            self.assertEqual((giver.used(), taker.used()), (40, 25))

        self.in_both_ways(test)

    def test_two_of_a_group_that_open_what_is_another_s_pay_once(self):
        [giver], [one, other] = self.start(self.group(), 1), self.start(self.group(), 2)
        self.assertEqual(giver.do("alloc 40"), "0")
        self.assertEqual(Linear.give(giver, one, 40), "0")
        self.assertEqual(Linear.give(giver, other, 40), "0")
        self.assertEqual(other.used(), 40)
        one.kill()
        self.outlasts(other, 40)


if __name__ == "__main__":
    harness.main()
