#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
# Copyright the cuslice authors
#
# That a program is answered with a partition as without: whatever it asks, right or wrong, and
# whatever the driver refuses us.
from test_partition import TWINS, Case, client, harness, limits, machine

CONTEXTS = ("partition: GPU 0: no partition of {} SMs, for the program has contexts of its own; the "
            "compute share is kept by time alone")


class Same(Case):
    def lines(self, machine, what, limits=None, stderr="", name="partition_same"):
        done = machine.run(client(name), what, limits=limits, SIMGPU_TWINS=TWINS)
        self.assertEqual(done.returncode, 0, done.stdout + done.stderr)
        self.assertEqual(done.stderr.count("cuslice["), 1 if stderr else 0, done.stderr)
        self.assertIn(stderr, done.stderr)
        return done.stdout.splitlines()

    def both(self, what, mechanism="sm", stderr="", **settings):
        """The answers without and with."""
        with machine(context_bytes="64MiB", **settings) as one:
            return (self.lines(one, what), self.lines(one, what, limits("25%", mechanism), stderr))

    def same(self, what, stderr="", **settings):
        for mechanism, sms in (("sm", 32), ("both", 40)):
            with self.subTest(mechanism):
                bare, confined = self.both(what, mechanism, stderr.format(sms), **settings)
                self.assertEqual(confined, bare)


class Answers(Same):
    def test_callbacks_are_told_the_stream_that_the_program_named(self):
        self.same("callbacks")

    def test_what_may_be_done_while_a_stream_is_captured(self):
        self.same("captures", **{"kernel.busy": "10us"})

    def test_what_a_stream_is(self):
        self.same("identity")

    def test_whether_work_is_over_and_how_long_it_took(self):
        self.same("states", **{"kernel.busy": "30ms"})

    def test_contexts_that_are_not_the_primary_one(self):
        self.same("contexts", CONTEXTS)

    def test_references_to_the_primary_context_that_come_and_go(self):
        """The partition has one too: that is all of the difference, as docs/partition.md tells."""
        bare, confined = self.both("primaries")
        place = bare.index("none_active 0 flags 0")
        self.assertEqual(confined[place], "none_active 1 flags 0")
        self.assertEqual([line.split()[1] for line in bare[place + 1:place + 3]], ["709", "201"])
        self.assertEqual([line.split()[1] for line in confined[place + 1:place + 3]], ["0", "0"])
        self.assertEqual(confined[:place] + confined[place + 3:], bare[:place] + bare[place + 3:])


class BadMoments(Same):
    def said(self, machine, what):
        return self.lines(machine, what, limits("25%"), name="partition_moments")

    def test_new_threads_that_do_not_come_to_run(self):
        with machine() as one:
            self.assertEqual(self.said(one, "gated"), ["held_up 1", "told 32"])

    def test_thread_that_is_cancelled_meanwhile(self):
        with machine(**{"kernel.cuslice_census": "30ms"}) as one:
            self.assertEqual(self.said(one, "cancelled"), ["over 1"])

    def test_eight_threads_come_first(self):
        for _ in range(4 if harness.SANITIZER else 10):
            with machine() as one:
                self.assertEqual(self.said(one, "at_once"), ["over 1"])
                self.assertEqual(len(self.sms_used(one)), 32)

    def test_threads_that_begin_meanwhile(self):
        with machine(**{"kernel.cuslice_census": "5ms"}) as one:
            self.assertEqual(self.said(one, "newcomers"), ["many 1"])

    def test_another_stream_is_captured(self):
        with machine(devices="2") as one:
            self.assertEqual(self.said(one, "second_device"),
                             ["same_told 32", "nodes_0 1", "other_told 32", "nodes_1 1"])


class Refused(Same):
    """Calls that the driver refuses always, or from some time on."""

    ALWAYS = {"cuDevSmResourceSplitByCount": "does not split the device so",
              "cuDevResourceGenerateDesc": "makes no green context",
              "cuGreenCtxCreate": "makes no green context",
              "cuCtxFromGreenCtx": "makes no streams in it",
              "cuGreenCtxStreamCreate": "makes no streams in it",
              "cuEventCreate": "makes no streams in it",
              "cuEventRecord": "does not let its streams wait for others",
              "cuStreamWaitEvent": "does not let its streams wait for others",
              "cuStreamIsCapturing": "does not let its streams wait for others"}

    def test_what_a_partition_needs(self):
        for symbol, reason in self.ALWAYS.items():
            with self.subTest(symbol), machine() as one:
                one.simgpu("fail", symbol, "400", "100000")
                done = one.run(client("partition"), "order", "1", limits=limits("25%"),
                               SIMGPU_TWINS=TWINS)
                self.assertEqual(done.returncode, 0, done.stdout + done.stderr)
                self.assertEqual(done.stdout, "ordered 240\n")
                self.assertEqual(done.stderr.count("cuslice["), 1, done.stderr)
                self.assertIn("no partition of 32 SMs, for the driver " + reason, done.stderr)

    def test_stream_for_which_there_is_no_event(self):
        """A kernel has touched what it may not: that is no want of memory."""
        with machine() as one:
            client_ = one.start(client("partition_moments"), "broken", limits=limits("25%"),
                                SIMGPU_TWINS=TWINS)
            self.assertEqual(client_.stdout.readline(), "ready\n")
            one.simgpu("fail", "cuEventCreate", "700", "100000")
            said, _ = client_.communicate("\n", timeout=harness.PATIENCE_S)
            self.assertEqual((client_.returncode, said), (0, "answer 700\n"))

    def test_what_keeps_the_order(self):
        """Once all is made: we wait for ourselves what streams do not wait for."""
        for symbol in ("cuEventRecord", "cuStreamWaitEvent"):
            with self.subTest(symbol), machine() as one:
                client_ = one.start(client("partition"), "order", "1", "wait",
                                    limits=limits("25%"), SIMGPU_TWINS=TWINS)
                self.assertEqual(client_.stdout.readline(), "ready\n")
                one.simgpu("fail", symbol, "2", "100000")
                said, _ = client_.communicate("\n", timeout=harness.PATIENCE_S)
                self.assertEqual((client_.returncode, said), (0, "ordered 240\n"))
                self.assertEqual(len(self.sms_used(one)), 32)


if __name__ == "__main__":
    harness.main()
