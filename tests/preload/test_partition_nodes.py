#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
# Copyright the cuslice authors
#
# Work that comes to a partition by no stream: nodes that a program puts into graphs itself, launches
# of before CUDA 4.0, and green contexts of the program's own. What cannot be confined is told, and
# kept by time.
import random

import harness
from test_partition import FULL, TWINS, WAYS, Case, client, limits, machine

ADDED = ("v1", "v2", "any", "any_v2", "kernel", "kernel_named", "kernel_elsewhere",
         "function_elsewhere", "clone", "child", "cloned_and_nested", "in_capture")
SET = ("set_v1", "set_v2", "set_kernel", "set_any", "exec_v1", "exec_v2", "exec_named", "exec_any",
       "exec_update", "set_captured")


FILLINGS = ("v1", "v2", "any", "kernel", "captured", "child", "bytes", "set")
CONTEXTS = ("null_null", "null_named", "named_null", "named_named")  # of the handle and the node


class Nodes(Case):
    def start(self, machine, *command, limits=None, program="partition_nodes"):
        return machine.run(client(program), *map(str, command), limits=limits, SIMGPU_TWINS=TWINS)

    def said(self, machine, *command, **more):
        return harness.fields(self.finished(self.start(machine, *command, **more)))

    def refused(self, reason, done):
        """Said once, and kept by time: the program is told of all SMs."""
        self.assertEqual(done.returncode, 0, done.stdout + done.stderr)
        self.assertEqual(done.stderr.count("cuslice["), 1, done.stderr)
        self.assertIn(f"no partition of 32 SMs, for {reason}; the compute share is kept by time "
                      "alone", done.stderr)
        return harness.fields(done.stdout)

    def kept_by_time(self, used_ns, said):
        self.assertLess(used_ns / int(said["ns"]), 0.40)
        self.assertGreater(used_ns / int(said["ns"]), 0.10)


class Confined(Nodes):
    def test_all_ways_to_a_node_lead_into_the_partition(self):
        with machine() as one:
            self.assertEqual(self.said(one, "ways", limits=limits("25%")),
                             {way: "32" for way in ADDED + SET})
            self.assertEqual(len(self.sms_used(one)), 32)

    def test_without_a_partition_they_lead_everywhere(self):
        with machine() as one:
            self.assertEqual(self.said(one, "ways"), {way: "132" for way in ADDED + SET})

    def test_function_of_another_device_stays_in_its_partition(self):
        shares = {"COMPUTE_0": "25%", "COMPUTE_1": "50%", "MECHANISM": "sm"}
        for lacking in (None, "COMPUTE_0"):
            with self.subTest(lacking), machine(devices="2") as one:
                limited = {key: share for key, share in shares.items() if key != lacking}
                said = self.said(one, "devices", limits=limited, program="partition_odd")
                self.assertEqual(said, {"answer_other": "0", "nodes_other": "1", "other": "64",
                                        "told_0": "132" if lacking else "32", "told_1": "64"})

    def test_function_of_a_device_without_work_gets_out_beside_one_without_share(self):
        """A way out that docs/partition.md tells of: whoever closes it changes both."""
        out = {"answer_early": "0", "nodes_early": "1", "early": "132"}
        with machine(devices="2") as one:
            said = self.said(one, "early", limits={"COMPUTE_1": "50%", "MECHANISM": "sm"},
                             program="partition_odd")
            done = self.start(one, "early", limits={"COMPUTE_0": "25%", "COMPUTE_1": "50%",
                                                    "MECHANISM": "sm"}, program="partition_odd")
        self.assertEqual(said, out)
        self.assertEqual(done.stderr.count("for other SMs only"), 2, done.stderr)
        self.assertEqual(harness.fields(done.stdout), out)

    def test_function_that_no_device_takes_gives_up_all_of_them(self):
        with machine(devices="2") as one:
            one.simgpu("fail", "cuStreamBeginCaptureToGraph", "801", "1000000")
            done = self.start(one, "devices", limits={"COMPUTE_0": "25%", "COMPUTE_1": "50%",
                                                      "MECHANISM": "sm"}, program="partition_odd")
        self.assertEqual(done.returncode, 0, done.stdout + done.stderr)
        self.assertEqual(done.stderr.count("cuslice["), 2, done.stderr)
        self.assertEqual(harness.fields(done.stdout),
                         {"answer_other": "0", "nodes_other": "1", "other": "132",
                          "told_0": "132", "told_1": "132"})

    def test_copies_and_memsets_stay_in(self):
        by_sms = {"fill_mib_per_ms": "100", "d2d_mib_per_ms": "100"}
        with machine(**by_sms) as one:
            self.assertEqual(self.said(one, "bytes", limits=limits("25%")), {"copied": "5"})
            self.assertEqual(len(self.sms_used(one)), 32)
        with machine(**by_sms) as one:
            self.assertEqual(self.said(one, "bytes"), {"copied": "5"})
            self.assertEqual(len(self.sms_used(one)), 132)

    def test_copies_and_fills_without_a_stream_stay_in(self):
        for limited, sms in ((limits("25%"), 32), (None, 132)):
            with machine(fill_mib_per_ms="100", d2d_mib_per_ms="100") as one:
                self.assertEqual(self.said(one, "copies", limits=limited,
                                           program="partition_other"), {"rounds": "40"})
                self.assertEqual(len(self.sms_used(one)), sms)

    def test_launches_of_before_cuda_4_stay_in_and_in_order(self):
        with machine() as one:
            self.assertEqual(self.said(one, "old", limits=limits("25%"), program="partition_other"),
                             {"grid": "32", "single": "32"})
            self.assertEqual(len(self.sms_used(one)), 32)


class Bodies(Nodes):
    """Of conditional nodes: simgpu refuses those with work of another context than their handle's."""

    def start(self, machine, *command, limits=None, program="partition_bodies"):
        return super().start(machine, *command, limits=limits, program=program)

    def ways(self, sms, *fillings):
        return {f"{contexts}_{filling}": sms for contexts in CONTEXTS for filling in fillings}

    def test_they_stay_in_however_contexts_are_told(self):
        with machine() as one:
            self.assertEqual(self.said(one, "ways", limits=limits("25%")),
                             self.ways("32", *FILLINGS))
            self.assertEqual(len(self.sms_used(one)), 32)

    def test_without_a_partition_they_do_not(self):
        with machine() as one:
            self.assertEqual(self.said(one, "ways"), self.ways("132", *FILLINGS))

    def test_those_of_a_graph_that_is_being_captured_stay_in(self):
        with machine() as one:
            self.assertEqual(self.said(one, "in_capture"), {"in_capture": "132"})
        with machine() as one:
            self.assertEqual(self.said(one, "in_capture", limits=limits("25%")),
                             {"in_capture": "32"})
            self.assertEqual(len(self.sms_used(one)), 32)

    def test_bodies_in_bodies_stay_in(self):
        first = random.randrange(1 << 30)
        for seed in range(first, first + (100 if FULL else 4)):
            with self.subTest(seed=seed), machine(fill_mib_per_ms="100") as one:
                said = self.said(one, "walk", seed, limits=limits("25%"))
                self.assertEqual(said["sms"], "32")
                self.assertGreater(int(said["bodies"]), 20)
                self.assertEqual(len(self.sms_used(one)), 32)

    def test_mistakes_are_answered_as_by_the_driver(self):
        with machine() as one:
            bare = self.said(one, "errors")
            self.assertGreaterEqual(len(set(bare.values())), 4)
            self.assertEqual(self.said(one, "errors", limits=limits("25%")), bare)

    def test_graphs_that_were_begun_before_the_partition_is_given_up_run(self):
        with machine() as one:
            done = self.start(one, "given_up", limits=limits("25%"))
        self.assertEqual(self.refused("the program has green contexts of its own", done),
                         {"before": "32", "graph_0": "32", "graph_1": "32", "graph_2": "32",
                          "after": "32"})

    def test_driver_whose_handles_cannot_name_it_takes_all_nodes_as_asked(self):
        """What a stream of the partition has captured is left out: docs/partition.md."""
        for filling in FILLINGS:
            if filling == "captured":
                continue
            with self.subTest(filling), machine() as one:
                one.simgpu("fail", "cuGraphConditionalHandleCreate", "801")
                done = self.start(one, "ways", filling, limits=limits("25%"))
                self.assertEqual(self.refused("the driver takes a node that the program puts into "
                                              "a graph for other SMs only", done),
                                 self.ways("132", filling))


class Unchanged(Nodes):
    def test_nodes_come_in_the_order_of_the_graph(self):
        first = random.randrange(1 << 30)
        for seed in range(first, first + (100 if FULL else 4)):
            with self.subTest(seed=seed), machine() as one:
                self.assertEqual(self.said(one, "order", seed, limits=limits("25%")),
                                 {"ordered": "200"})

    def test_mistakes_are_answered_as_by_the_driver(self):
        for program, kinds in (("partition_nodes", 4), ("partition_other", 2)):
            with self.subTest(program), machine() as one:
                bare = self.said(one, "errors", program=program)
                confined = self.said(one, "errors", limits=limits("25%"), program=program)
                self.assertGreaterEqual(len(set(bare.values())), kinds)
                self.assertEqual(confined, bare)

    def test_no_context_but_the_programs_is_shown(self):
        with machine() as one:
            self.assertEqual(self.said(one, "shown", limits=limits("25%")),
                             {"named": "1", "set_as_shown": "32", "function": "1",
                              "function_as_shown": "32"})

    def test_older_drivers_get_the_functions_that_they_have(self):
        lacking = {"12040": set(), "12020": {"any_v2"}, "11080": {"v2", "any", "any_v2"}}
        for version, lacks in lacking.items():
            with self.subTest(version), machine(driver_version=version) as one:
                bare = self.said(one, "older", program="partition_odd")
                self.assertEqual({way for way in ("v1", "v2", "any", "any_v2")
                                  if bare[f"answer_{way}"] != "0"}, lacks)
                for mechanism in ("sm", "both"):
                    done = self.start(one, "older", limits=limits("25%", mechanism),
                                      program="partition_odd")
                    self.assertEqual(done.returncode, 0, done.stdout + done.stderr)
                    self.assertIn("needs a driver for CUDA 12.5 or later", done.stderr)
                    self.assertEqual(harness.fields(done.stdout), bare)

    def test_threads_that_wait_for_the_context_do_not_disturb_the_self_test(self):
        for _ in range(200 if FULL else 24):
            with machine() as one:
                self.assertEqual(self.said(one, "meet", limits=limits("25%"),
                                           program="partition_odd"), {"sms": "32"})

    def test_threads_that_wait_for_the_context_meet_no_capture(self):
        with machine() as one:
            said = self.said(one, "together", 30_000 if FULL else 2_000, limits=limits("25%"))
        self.assertEqual(said["sms"], "32")
        self.assertGreater(int(said["added"]), 20)
        self.assertGreater(int(said["waited"]), 20)


class Refused(Nodes):
    def test_driver_whose_nodes_get_out_is_noticed_at_the_first_node(self):
        with machine(leak="set_params") as one:
            done = self.start(one, "add", 1000, limits=limits("25%"))
            used_ns = one.account()["processes"][0]["gpu_time_ns"]
        said = self.refused("nodes that the program puts into graphs run on other SMs too", done)
        self.assertEqual((said["before"], said["told"]), ("32", "132"))
        self.kept_by_time(used_ns, said)

    def test_driver_whose_nodes_get_out_keeps_the_partition_for_others(self):
        with machine(leak="set_params") as one:
            seen = self.run_on(one, "ways", limits=limits("25%"))
        self.assertEqual(seen, {way: "32" for way in ("told", *WAYS)})

    def test_driver_that_captures_into_no_graph_is_noticed(self):
        with machine() as one:
            one.simgpu("fail", "cuStreamBeginCaptureToGraph", "801", "1000000")
            done = self.start(one, "add", 10, limits=limits("25%"))
        said = self.refused("the driver takes a node that the program puts into a graph for other "
                            "SMs only", done)
        self.assertEqual((said["before"], said["node"], said["told"]), ("32", "132", "132"))

    def odd(self, machine, command, **settings):
        return self.start(machine, command, limits=settings or limits("25%"),
                          program="partition_odd")

    def test_launch_that_the_partition_cannot_run_spoils_no_graph(self):
        with machine(strict_capture="1") as one:
            bare = self.said(one, "cluster", program="partition_odd")
            done = self.odd(one, "cluster")
        self.assertEqual(bare, {"answer_cluster": "0", "nodes_cluster": "2", "cluster": "132"})
        self.assertEqual(self.refused("the driver takes a node that the program puts into a graph "
                                      "for other SMs only", done), bare)

    def test_program_is_told_for_how_many_clusters_and_blocks_there_is_room(self):
        """Two blocks to an SM, and eights of SMs."""
        with machine() as one:
            bare = self.said(one, "room", program="partition_odd")
            confined = self.said(one, "room", limits=limits("25%"), program="partition_odd")
        same = {"launch": "0", "no_grid": "1", "refused": "1"}
        self.assertEqual(bare, {"legacy": "32 32", "of_thread": "32", "made": "32",
                                "grid": "264 264"} | same)
        self.assertEqual(confined, {"legacy": "8 8", "of_thread": "8", "made": "8",
                                    "grid": "64 64"} | same)

    def test_driver_that_tells_no_captured_node_leaves_one_only(self):
        with machine() as one:
            one.simgpu("fail", "cuStreamGetCaptureInfo_v3", "801", "1000000")
            done = self.odd(one, "one")
        self.assertEqual(self.refused("the driver takes a node that the program puts into a graph "
                                      "for other SMs only", done),
                         {"answer_one": "0", "nodes_one": "1", "one": "132"})

    def test_programmatic_edges_are_kept_by_time(self):
        with machine() as one:
            done = self.odd(one, "edge")
        said = self.refused("the driver takes a node that the program puts into a graph for other "
                            "SMs only", done)
        self.assertEqual((said["answer_plain"], said["plain"], said["nodes_plain"]),
                         ("0", "32", "2"))
        self.assertEqual((said["answer_early"], said["early"], said["nodes_early"]),
                         ("0", "132", "2"))

    def test_own_green_context_is_kept_by_time(self):
        with machine() as one:
            done = self.start(one, "green", 2000, limits=limits("25%"), program="partition_other")
            used_ns = one.account()["processes"][0]["gpu_time_ns"]
        said = self.refused("the program has green contexts of its own", done)
        self.assertEqual({key: said[key] for key in ("before", "told", "own")},
                         {"before": "32", "told": "132", "own": "64"})
        self.kept_by_time(used_ns, said)


if __name__ == "__main__":
    harness.main()
