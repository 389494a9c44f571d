#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
# Copyright the cuslice authors
#
# Stream-ordered memory: pools are charged what they have taken from the device, by the account of
# the machine. Contexts cost nothing here.
import harness
from harness import MIB, OUT_OF_MEMORY, client
from test_memory import Talk as MemoryTalk

OVER = str(OUT_OF_MEMORY)
INVALID_VALUE, NOT_SUPPORTED = "1", "801"


class Talk(MemoryTalk):
    def __init__(self, machine, what, quota, *more):
        super().__init__(machine, what, quota, *more, name="pools")

    def expect(self, case, key, used):
        """The client waits, and both books say `used`."""
        case.assertEqual((int(self.until(key)), self.device()["used"]), (used, used), key)
        self.go_on()

    def end(self, case):
        case.assertEqual(self.process.wait(timeout=harness.PATIENCE_S), 0)


class Pools(harness.Case):
    def machine(self, **settings):
        return harness.Machine(**{"context_bytes": "0", "kernel.busy": "20ms"} | settings)

    def test_every_function_that_allocates_counts_once(self):
        with self.machine() as machine, Talk(machine, "kinds", 64 * MIB) as talk:
            talk.expect(self, "current", 2 * MIB)
            talk.expect(self, "from_pool", 4 * MIB)
            talk.expect(self, "ptsz", 6 * MIB)
            talk.expect(self, "from_pool_ptsz", 8 * MIB)
            talk.expect(self, "at_end", 0)
            talk.end(self)
        self.assertEqual(talk.seen["no_allocation"], [f"{INVALID_VALUE} {INVALID_VALUE}"])
        self.assertEqual(talk.seen["nothing"], [f"{INVALID_VALUE} {INVALID_VALUE}"])

    def test_quota_is_exact_in_what_pools_take(self):
        quota = 20 * MIB
        with self.machine() as machine, Talk(machine, "boundary", quota) as talk:
            talk.expect(self, "full", quota)
            talk.expect(self, "rest", quota - 2 * MIB + 512)
            self.assertEqual(int(talk.until("at_end")), 0)
            self.assertEqual(talk.device()["peak"], quota)
        self.assertEqual(talk.seen["over"], [f"{OVER} 42"] * 3)
        self.assertEqual(talk.seen["linear"], [OVER])

    def test_what_a_pool_keeps_is_used_before_the_quota_refuses(self):
        quota = 32 * MIB
        with self.machine() as machine, Talk(machine, "cached", quota) as talk:
            talk.expect(self, "kept", quota)
            talk.expect(self, "reused", quota)
            talk.expect(self, "trimmed", quota * 3 // 4)
            talk.expect(self, "moved", quota)
            self.assertEqual(int(talk.until("at_end")), 0)
            # the driver's next chunk, until it was given back
            self.assertLessEqual(talk.device()["peak"], quota + 2 * MIB)
        self.assertEqual(talk.seen["over"], [f"{OVER} 42"] * 2)
        self.assertEqual(talk.seen["linear"], ["0"])
        self.assertEqual(talk.seen["after_trim"], ["0"])

    def test_each_pool_is_charged_for_itself(self):
        quota = 32 * MIB
        with self.machine() as machine, Talk(machine, "several", quota) as talk:
            talk.expect(self, "three", quota * 3 // 4)
            talk.expect(self, "kept", quota * 3 // 4)
            talk.expect(self, "taken_over", quota)
            talk.expect(self, "at_end", 0)
        self.assertEqual(talk.seen["after_destroy"], ["0"])

    def test_destroyed_pool_stays_charged_for_what_lives_on(self):
        with self.machine() as machine, Talk(machine, "destroyed", 32 * MIB) as talk:
            talk.expect(self, "destroyed", 4 * MIB)
            talk.expect(self, "pending", 4 * MIB)
            talk.expect(self, "freed", 0)
            talk.expect(self, "at_end", 0)
        self.assertEqual(talk.seen["is_default"], ["1"])
        self.assertEqual(talk.seen["again"], [f"{INVALID_VALUE} {INVALID_VALUE} 42"])
        self.assertEqual(talk.seen["default"], [INVALID_VALUE])

    def test_contexts_that_end_free_what_their_streams_allocated(self):
        quota = 32 * MIB
        with self.machine() as machine, Talk(machine, "contexts", quota) as talk:
            talk.expect(self, "full", quota)
            talk.expect(self, "reset", 0)
            talk.expect(self, "at_end", 0)
        self.assertEqual(talk.seen["after_reset"], ["0"])

    def test_ptsz_means_the_stream_of_the_thread(self):
        with self.machine(**{"kernel.busy": "500ms"}) as machine, \
                Talk(machine, "per_thread", 32 * MIB) as talk:
            talk.expect(self, "at_end", 0)
        self.assertEqual(talk.seen["ptsz_beside_busy"], ["0"])
        self.assertEqual(talk.seen["legacy_beside_busy"], [OVER])

    def test_large_chunks_are_learnt(self):
        quota = 64 * MIB
        with self.machine(pool_chunk="32MiB") as machine, \
                Talk(machine, "kinds", quota) as talk:
            talk.expect(self, "current", 32 * MIB)
            talk.expect(self, "from_pool", 64 * MIB)
            talk.expect(self, "ptsz", 64 * MIB)
            talk.expect(self, "from_pool_ptsz", 64 * MIB)
            self.assertEqual(int(talk.until("at_end")), 0)
            self.assertEqual(talk.device()["peak"], quota)

    def test_more_than_fits_is_given_back(self):
        with self.machine(pool_chunk="32MiB") as machine, \
                Talk(machine, "several", 80 * MIB) as talk:
            self.assertEqual(talk.process.wait(timeout=harness.PATIENCE_S), 3)
            self.assertIn("failed alloc: 2", talk.process.stdout.read())

    def test_drivers_that_cannot_tell_do_not_stop_programs(self):
        for symbol in ("cuMemPoolGetAttribute", "cuDeviceGetMemPool", "cuStreamGetCtx",
                       "cuStreamIsCapturing", "cuCtxGetDevice", "cuMemPoolTrimTo"):
            for result in (INVALID_VALUE, NOT_SUPPORTED):
                with self.subTest(f"{symbol} {result}"), self.machine() as machine:
                    machine.simgpu("fail", symbol, result, "1000000")
                    done = machine.run(client("pools"), "at_all", str(16 * MIB),
                                       limits={"MEMORY": "16MiB"})
                    self.assertEqual(self.finished(done), "done\n")

    def test_drivers_own_refusal_is_passed_on(self):
        with self.machine() as machine:
            machine.simgpu("fail", "cuMemAllocFromPoolAsync", OVER, "3")
            done = machine.run(client("pools"), "at_all", str(16 * MIB),
                               limits={"MEMORY": "16MiB"})
        self.assertEqual(self.finished(done), "alloc 2\n" * 3 + "done\n")

    def test_random_operations_stay_within_the_quota(self):
        quota, largest = 100 * MIB, 8 * MIB
        operations = "2000" if harness.SANITIZER else "12000"
        with self.machine() as machine, Talk(machine, "random", quota, operations) as talk:
            at_rest = int(talk.until("at_rest"))
            self.assertEqual(talk.device()["used"], at_rest)
            self.assertLessEqual(at_rest, quota)
            self.assertGreater(at_rest, 0)
            talk.go_on()
            self.assertEqual(int(talk.until("at_end")), 0)
            device = talk.device()
            self.assertEqual(device["used"], 0)
            # What did not fit into what a pool had, until it was given back: one call finds that
            # out at a time, and may take the room of one other that has reserved.
            self.assertLessEqual(device["peak"], quota + 2 * largest)
            self.assertGreater(device["peak"], quota * 9 // 10)
            granted, refused = map(int, talk.seen["operations"][0].split())
            self.assertGreater(granted, 300)
            self.assertGreater(refused, 50)
            self.assertEqual(talk.seen["mistakes"], ["0"])

    def test_questions_of_ours_do_not_spoil_a_capture(self):
        with self.machine(strict_capture="1") as machine, \
                Talk(machine, "beside_capture", 20 * MIB) as talk:
            talk.until("at_end")
            talk.go_on()
            talk.end(self)
        self.assertEqual(talk.seen["over"], [f"{OVER} 42"])
        self.assertEqual(talk.seen["end_capture"], ["0"])


if __name__ == "__main__":
    harness.main()
