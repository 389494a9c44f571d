#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
# Copyright the cuslice authors
#
# Virtual memory management against the account of the machine: physical memory is charged from its
# making until the last that holds it lets go.
import harness
from harness import MIB, OUT_OF_MEMORY, client
from test_memory import Talk as MemoryTalk

UNIT = 2 * MIB
QUOTA = 64 * MIB
OVER = str(OUT_OF_MEMORY)
INVALID_VALUE, INVALID_DEVICE, MAP_FAILED, UNKNOWN = "1", "101", "205", "999"


class Talk(MemoryTalk):
    def __init__(self, machine, what, quota=QUOTA, name="vmm"):
        super().__init__(machine, what, quota, name=name)

    def expect(self, case, key, used):
        """The client waits, and both books say `used`."""
        case.assertEqual((int(self.until(key)), self.device()["used"]), (used, used), key)
        self.go_on()

    def ended(self, case):
        case.assertEqual(self.process.wait(timeout=harness.PATIENCE_S), 0)


class Vmm(harness.Case):
    def machine(self, **settings):
        return harness.Machine(**{"context_bytes": "0"} | settings)

    def test_memory_is_charged_until_neither_handle_nor_mapping_holds_it(self):
        with self.machine() as machine, Talk(machine, "lifetime") as talk:
            for key, used in (("released", 2 * UNIT), ("unmapped", 0), ("mapped_twice", UNIT),
                              ("retained", UNIT), ("gone", 0), ("four", 4 * UNIT), ("one", UNIT),
                              ("gone", 0)):
                talk.expect(self, key, used)
            talk.ended(self)
        self.assertEqual(talk.seen["full"], [f"{OVER} 42"])

    def test_refusals_of_the_driver_and_ours_change_nothing(self):
        with self.machine() as machine, Talk(machine, "refusals") as talk:
            for key, symbol, used in (("create_fails", "cuMemCreate", 0),
                                      ("map_fails", "cuMemMap", QUOTA),
                                      ("release_fails", "cuMemRelease", QUOTA),
                                      ("unmap_fails", "cuMemUnmap", QUOTA),
                                      ("retain_fails", "cuMemRetainAllocationHandle", QUOTA)):
                self.assertEqual((int(talk.until(key)), talk.device()["used"]), (used, used), key)
                machine.simgpu("fail", symbol, UNKNOWN, "1")
                talk.go_on()
            talk.expect(self, "gone", 0)
            talk.ended(self)
            self.assertEqual(talk.device()["peak"], QUOTA)
        self.assertEqual(talk.seen["over"], [f"{OVER} 42"] * 2)
        for key in ("map", "release", "unmap", "retain"):
            self.assertEqual(talk.seen[key], [UNKNOWN], key)
        for key in ("map_again", "unmap_part", "unmap_again", "no_prop"):
            self.assertEqual(talk.seen[key], [INVALID_VALUE], key)
        for key in ("nothing", "odd"):
            self.assertEqual(talk.seen[key], [f"{INVALID_VALUE} 42"], key)
        self.assertEqual(talk.seen["refused"], [f"{UNKNOWN} 42"])
        self.assertEqual(talk.seen["wild"], [f"{INVALID_VALUE} {INVALID_VALUE}"])

    def test_memory_counts_where_its_properties_say_and_outlives_contexts(self):
        with self.machine(devices=2) as machine, Talk(machine, "placement") as talk:
            for key in ("without_context", "on_other_device", "of_host", "context_gone"):
                talk.expect(self, key, UNIT)
            talk.expect(self, "gone", 0)
            talk.ended(self)
            self.assertEqual(machine.account()["devices"][1]["peak"], 3 * UNIT)
        self.assertEqual(talk.seen["other_device"], [str(3 * UNIT)])
        self.assertEqual(talk.seen["no_device"], [INVALID_DEVICE])

    def test_multicast_objects_cost_nothing(self):
        with self.machine() as machine, Talk(machine, "multicast") as talk:
            talk.expect(self, "bound", UNIT)
            talk.expect(self, "gone", 0)
            talk.ended(self)

    def test_threads_never_exceed_the_quota_and_lose_nothing(self):
        quota = 16 * UNIT
        with self.machine() as machine, Talk(machine, "random", quota) as talk:
            at_rest = int(talk.until("at_rest"))
            self.assertEqual(talk.device()["used"], at_rest)
            self.assertGreater(at_rest, 0)
            talk.go_on()
            talk.expect(self, "gone", 0)
            talk.ended(self)
            self.assertEqual(talk.device()["peak"], quota)
        self.assertEqual(talk.seen["mistakes"], ["0"])
        granted, refused = map(int, talk.seen["operations"][0].split())
        self.assertGreater(granted, 100)
        self.assertGreater(refused, 10)

    def test_expandable_segments_of_pytorch_hold_the_quota(self):
        page = 10 * UNIT
        with self.machine() as machine, Talk(machine, "segments", 5 * page + UNIT) as talk:
            for key, used in (("grown", 5 * page), ("trimmed", 3 * page),
                              ("grown_again", 5 * page), ("gone", 0)):
                talk.expect(self, key, used)
            talk.ended(self)
        self.assertEqual(talk.seen["pages"], [f"5 {OVER}"])

    def test_sleep_mode_of_vllm_frees_the_quota_for_others(self):
        tensor = QUOTA // 5 // UNIT * UNIT
        with self.machine() as machine, Talk(machine, "sleep") as talk:
            talk.expect(self, "awake", 5 * tensor)
            talk.expect(self, "asleep", 0)
            talk.expect(self, "half_awake", QUOTA)
            talk.ended(self)
            self.assertEqual(talk.device()["used"], 0)  # the process held all of it
        self.assertEqual(talk.seen["no_room"], [f"{OVER} 42"])


class Sharing(harness.Case):
    def machine(self):
        return harness.Machine(context_bytes="0")

    def used_by(self, machine):
        """What living processes hold, of all that ever held anything."""
        return sorted(line["held"] for line in machine.account()["processes"] if line["peak"])

    def test_import_is_charged_to_the_importer_while_it_is_mapped(self):
        with self.machine() as machine, Talk(machine, "physical", name="sharing") as talk:
            talk.until("end")
            self.assertEqual(talk.device()["used"], 0)
            self.assertEqual(talk.device()["peak"], 8 * UNIT)
            talk.go_on()
            talk.ended(self)
        seen = {key: values[0] for key, values in talk.seen.items()}
        self.assertEqual(seen["imported"], "0 0")
        self.assertEqual(seen["mapped"], f"0 {8 * UNIT}")
        self.assertEqual(seen["data"], "same")
        self.assertEqual(seen["mapped_again"], f"0 {8 * UNIT}")
        self.assertEqual(seen["no_room"], OVER)
        self.assertEqual(seen["released"], f"0 {8 * UNIT}")
        self.assertEqual(seen["unmapped"], "0 0")

    def test_own_export_is_counted_once(self):
        with self.machine() as machine, Talk(machine, "own", name="sharing") as talk:
            for key in ("exported", "imported", "mapped_both", "original_gone"):
                talk.expect(self, key, QUOTA)
            talk.expect(self, "gone", 0)
            talk.ended(self)

    def test_importer_keeps_the_memory_of_a_dead_process(self):
        with self.machine() as machine, Talk(machine, "orphan", name="sharing") as talk:
            self.assertEqual(int(talk.until("parent_dead")), 8 * UNIT)
            self.assertEqual(self.used_by(machine), [8 * UNIT])
            talk.go_on()
            self.assertEqual(int(talk.until("end")), 0)
            self.assertEqual(talk.device()["used"], 0)
            talk.go_on()

    def test_ipc_is_charged_once_however_often_it_is_opened(self):
        with self.machine() as machine, Talk(machine, "ipc", name="sharing") as talk:
            talk.until("end")
            self.assertEqual(talk.device()["used"], 0)
            talk.go_on()
            talk.ended(self)
        seen = {key: values[0] for key, values in talk.seen.items()}
        self.assertEqual(seen["opened"], f"0 {8 * UNIT} set")
        self.assertEqual(seen["data"], "same")
        self.assertEqual(seen["opened_again"], f"0 {8 * UNIT} same")
        self.assertEqual(seen["no_room"], OVER)
        self.assertEqual(seen["closed_once"], f"0 {8 * UNIT}")
        self.assertEqual(seen["closed"], "0 0")
        self.assertEqual(seen["closed_thrice"], f"{INVALID_VALUE} 0")
        self.assertEqual(seen["over"], f"{MAP_FAILED} untouched")
        self.assertEqual(seen["after_context"], "0")
        self.assertEqual(seen["in_new_context"], f"0 {8 * UNIT}")


if __name__ == "__main__":
    harness.main()
