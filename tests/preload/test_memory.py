#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
# Copyright the cuslice authors
#
# The quota against the account of the machine: never a byte over it, and none lost. Contexts cost
# nothing here, so that the account holds what the program allocated and nothing else.
import harness
from harness import MIB, OUT_OF_MEMORY, client, fields

OVER = str(OUT_OF_MEMORY)
INVALID_CONTEXT = 201


class Talk:
    """A client of which the account is looked at where it waits."""

    def __init__(self, machine, what, quota, *more, name="memory", prefix=(),
                 **environment):
        self.machine = machine
        self.process = machine.start(*prefix, client(name), what, str(quota), *more,
                                     limits={"MEMORY": str(quota)}, **environment)
        self.seen = {}

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.process.stdin.close()
        self.process.stdout.close()
        self.process.kill()
        self.process.wait()

    def until(self, key):
        """What was said for the key, after reading all that came before it."""
        for line in self.process.stdout:
            word, _, rest = line.rstrip("\n").partition(" ")
            self.seen.setdefault(word, []).append(rest)
            if word == key:
                return rest
        raise AssertionError(f"no {key} from the client, but {self.seen}")

    def go_on(self):
        self.process.stdin.write("\n")
        self.process.stdin.flush()

    def device(self):
        return self.machine.account()["devices"][0]


class Memory(harness.Case):
    def machine(self, **settings):
        return harness.Machine(**{"context_bytes": "0"} | settings)

    def test_random_operations_of_many_threads_never_exceed_the_quota(self):
        quota = 100 * MIB + 512
        operations = "20000" if harness.SANITIZER else "100000"
        with self.machine() as machine, Talk(machine, "random", quota, operations) as talk:
            at_rest = int(talk.until("at_rest"))
            device = talk.device()
            self.assertEqual(device["used"], at_rest)
            self.assertGreater(at_rest, 0)
            free, total = map(int, talk.seen["info_at_rest"][0].split())
            self.assertEqual((free, total), (quota - at_rest, quota))
            talk.go_on()

            at_end = int(talk.until("at_end"))
            device = talk.device()
            self.assertEqual((at_end, device["used"]), (0, 0))
            self.assertLessEqual(device["peak"], quota)
            self.assertGreater(device["peak"], quota * 9 // 10)
            granted, refused = map(int, talk.seen["operations"][0].split())
            self.assertGreater(granted, 1000)
            self.assertGreater(refused, 100)
            self.assertEqual(talk.seen["mistakes"], ["0"])
            talk.go_on()
            self.assertEqual(talk.process.wait(timeout=harness.PATIENCE_S), 0)

    def test_contexts_that_end_give_their_bytes_back(self):
        quota = 32 * MIB
        with self.machine() as machine, Talk(machine, "contexts", quota) as talk:
            self.assertEqual(int(talk.until("at_end")), quota)
            self.assertEqual(talk.device()["used"], quota)
            self.assertEqual(talk.device()["peak"], quota)
        self.assertEqual(talk.seen["filled"], ["0"] * 4)
        self.assertEqual(talk.seen["over"], [OVER])
        self.assertEqual(talk.seen["after_destroy"], ["0"])
        self.assertEqual(talk.seen["after_first_release"], [str(quota)])
        self.assertEqual(talk.seen["after_last_release"], ["0"])
        self.assertEqual(talk.seen["after_reset"], ["0"])

    def test_last_detach_gives_the_bytes_of_the_context_back(self):
        quota = 32 * MIB
        with self.machine() as machine, Talk(machine, "detach", quota) as talk:
            self.assertEqual(int(talk.until("at_end")), 0)
            self.assertEqual(talk.device()["used"], 0)
            self.assertEqual(talk.device()["peak"], quota)
        self.assertEqual(talk.seen["after_detach"], [str(quota), str(quota), "0"])
        self.assertEqual(talk.seen["filled"], ["0"] * 101)

    def test_last_green_context_gives_the_bytes_of_its_primary_one_back(self):
        with self.machine(context_bytes=str(8 * MIB)) as machine:
            done = machine.run(client("greens"), "memory", limits={"MEMORY": str(64 * MIB)})
        seen = fields(self.finished(done))
        held = str((32 + 8) * MIB)
        self.assertEqual(seen, {"filled": held, "first": held, "second": "0",
                                "mistake": str(INVALID_CONTEXT), "inside": held,
                                "outlived": held, "ended": "0"})

    def test_quota_is_exact_to_the_byte(self):
        quota = 10 * MIB
        with self.machine() as machine, Talk(machine, "boundary", quota) as talk:
            self.assertEqual(int(talk.until("at_end")), 0)
            self.assertEqual(talk.device()["peak"], quota)
        self.assertEqual(talk.seen["all"], ["0"])
        self.assertEqual(talk.seen["one_more"], [f"{OVER} 42"] * 2)
        self.assertEqual(talk.seen["over"], [f"{OVER} 42"])
        self.assertEqual(talk.seen["but_one"], ["0"])
        self.assertEqual(talk.seen["two_granules"], [f"{OVER} 42"])
        self.assertEqual(talk.seen["last_byte"], ["0"])
        self.assertEqual(talk.seen["info_full"], [f"0 {quota}"] * 2)
        self.assertEqual(talk.seen["info_empty"], [f"{quota} {quota}"])

    def test_drivers_own_refusal_is_passed_on_and_costs_nothing(self):
        with self.machine() as machine:
            machine.simgpu("fail", "cuMemAlloc_v2", "2", "3")
            done = machine.run(client("linked"), limits={"MEMORY": "64MiB"})
        seen = fields(self.finished(done))
        self.assertEqual((seen["small"], seen["large"]), (f"{OVER} untouched",) * 2)
        self.assertEqual(seen["info_total"], str(64 * MIB))

    def test_free_that_the_driver_refuses_stays_counted(self):
        quota = 10 * MIB
        with self.machine() as machine, Talk(machine, "refused_free", quota) as talk:
            talk.until("filled")
            machine.simgpu("fail", "cuMemFree_v2", "999", "1")
            talk.go_on()
            self.assertEqual(int(talk.until("at_end")), 0)
        self.assertEqual(talk.seen["free"], ["999", "0"])
        self.assertEqual(talk.seen["alloc"], [OVER, "0"])

    def test_free_in_stream_order_stays_counted_until_the_stream_is_there(self):
        quota = 32 * MIB
        with self.machine() as machine, Talk(machine, "free_async", quota) as talk:
            for _ in range(3):
                self.assertEqual(int(talk.until("pending")), quota)
                self.assertEqual(talk.device()["used"], quota)
                talk.go_on()
            self.assertEqual(int(talk.until("at_end")), 0)
            device = talk.device()
            self.assertEqual((device["used"], device["peak"]), (0, quota))
        self.assertEqual(talk.seen["free"], ["0"] * 3)
        self.assertEqual(talk.seen["over"], [f"{OVER} 42"] * 3)
        self.assertEqual(talk.seen["info_pending"], [f"0 {quota}"] * 3)
        self.assertEqual(talk.seen["many_pending"], [str(1000 * 512)])
        self.assertEqual(talk.seen["read_reached"], ["0"])
        self.assertEqual(talk.seen["info_reached"], [f"{quota} {quota}"] * 4)
        self.assertEqual(talk.seen["waited"], ["0"])

    def test_free_in_stream_order_that_cannot_be_followed_is_given_back(self):
        quota = 10 * MIB
        for symbol in ("cuStreamIsCapturing", "cuStreamGetCtx", "cuCtxPushCurrent_v2",
                       "cuEventCreate", "cuEventRecord", "cuEventQuery"):
            with self.subTest(symbol), self.machine() as machine:
                machine.simgpu("fail", symbol, "400", "1000000")
                with Talk(machine, "free_async_beside_capture", quota) as talk:
                    self.assertEqual(int(talk.until("at_end")) % quota, 0)
                self.assertEqual(talk.seen["free"], ["0"] * 3)
                self.assertEqual(talk.seen["end_capture"], ["0"])
                self.assertEqual(talk.seen["info_reached"], [f"{quota} {quota}"])
                self.assertEqual(talk.seen["again"], ["0"])

    def test_following_a_free_does_not_spoil_a_capture(self):
        quota = 10 * MIB
        with self.machine() as machine, \
                Talk(machine, "free_async_beside_capture", quota) as talk:
            talk.until("at_end")
        self.assertEqual(talk.seen["end_capture"], ["0"])
        self.assertEqual(talk.seen["info_reached"], [f"{quota} {quota}"])


if __name__ == "__main__":
    harness.main()
