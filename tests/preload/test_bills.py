#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
# Copyright the cuslice authors
#
# What calls are billed, against what the machine says that they took. Measures time.
import csv
import re
import statistics
import tempfile

import harness
from harness import TREE, client, fields

UNIT_NS = 62500
TAKES_NS = {"KERNEL": UNIT_NS, "FILL": UNIT_NS, "COPY": UNIT_NS, "GRAPH": 3 * UNIT_NS}
# 64 KiB take the time of the kernel.
SETTINGS = {"kernel.busy": f"{UNIT_NS}ns", "fill_mib_per_ms": "1", "d2d_mib_per_ms": "1"}
COUNT = 128
# A sanitizer makes the host slow, and commands seem longer by that: no bill is too low there either.
SLOW = 100 if harness.SANITIZER else 1


class Calls(harness.Case):
    """Every call of bills.def, and nothing else in between."""

    def bills(self, machine, *only):
        """Of each call: symbol, variant, kind, billed and taken in ns."""
        done = machine.run(client("bills"), str(COUNT), *only, limits={"COMPUTE": "90%"})
        calls = []
        for line in self.finished(done).splitlines():
            symbol, variant, kind, result, billed_ns = line.split()
            self.assertEqual(result != "0", kind == "REFUSED", line)
            calls.append((symbol, variant, kind, int(billed_ns), COUNT * TAKES_NS.get(kind, 0)))
        return calls

    def part(self, machine, symbol, variant, part):
        """A host that is held up makes one command seem longer, but not each time."""
        for _ in range(5):
            if 0.95 < part < 1.25 * SLOW:
                break
            print(f"{symbol} {variant}: {part:.3f}, once more")
            (*_, billed_ns, taken_ns), = self.bills(machine, symbol, variant)
            part = billed_ns / taken_ns
        return part

    def check(self, devices):
        parts = []
        with harness.Machine(devices=str(devices), **SETTINGS) as machine:
            calls = self.bills(machine)
            account = machine.account()
            # what the calls are said to take is what the machine saw, and it has all of them
            self.assertEqual(sum(taken_ns for *_, taken_ns in calls),
                             sum(row["gpu_time_ns"] for row in account["processes"]))
            self.assertEqual(account["unsupported"], [])
            for symbol, variant, kind, billed_ns, taken_ns in calls:
                with self.subTest(f"{symbol} {variant}"):
                    if kind == "NOTHING":
                        # the host's time between its events, and no body's
                        self.assertLess(billed_ns, COUNT * UNIT_NS * SLOW)
                        continue
                    if kind not in TAKES_NS:
                        self.assertEqual(billed_ns, 0)
                        continue
                    parts.append(self.part(machine, symbol, variant, billed_ns / taken_ns))
                    self.assertGreater(parts[-1], 0.95)
                    self.assertLess(parts[-1], 1.25 * SLOW)
        print(f"{len(parts)} calls, billed in parts of what they took: {min(parts):.3f} to "
              f"{max(parts):.3f}, median {statistics.median(parts):.4f}")
        self.assertGreater(statistics.median(parts), 0.99)
        self.assertLess(statistics.median(parts), 1.05 * SLOW)
        return calls

    def test_each_call_is_billed_as_it_took(self):
        calls = self.check(1)
        self.assertGreater(sum(kind in TAKES_NS for _, _, kind, *_ in calls), 95)
        self.assertGreater(sum(kind == "FREE" for _, _, kind, *_ in calls), 30)
        self.assertGreater(sum(kind == "REFUSED" for _, _, kind, *_ in calls), 20)

    def test_copies_between_devices_are_free(self):
        calls = self.check(2)
        self.assertGreater(sum(variant == "peer" for _, variant, *_ in calls), 8)


    def test_grid_beyond_32_bits_is_billed(self):
        """8589934588 blocks, of which 132 SMs have 4224 at a time."""
        takes_ns = -(-4 * 2147483647 // (132 * 32))
        with harness.Machine(**{"kernel.busy": "1ns"}) as machine:
            done = machine.run(client("bills"), "20", "cuLaunchKernel", "huge",
                               limits={"COMPUTE": "90%"})
            used_ns = sum(row["gpu_time_ns"] for row in machine.account()["processes"])
        symbol, _, _, result, billed_ns = self.finished(done).split()
        self.assertEqual((symbol, result, used_ns), ("cuLaunchKernel", "0", 20 * takes_ns))
        self.assertGreater(int(billed_ns) / used_ns, 0.95)
        self.assertLess(int(billed_ns) / used_ns, 1.25 * SLOW)


class Changes(harness.Case):
    """Executable graphs that come to take ten times as long, and again as before."""

    def billed_units(self, change):
        with harness.Machine(**SETTINGS) as machine:
            done = machine.run(client("changes"), change, limits={"COMPUTE": "50%"})
        seen = fields(self.finished(done))
        return int(seen["longer"]) / UNIT_NS, int(seen["shorter"]) / UNIT_NS

    def check(self, change):
        """Four launches are billed 40 and then 4 units, and not what they had cost before."""
        least = 8 if harness.SANITIZER else 32
        for _ in range(4):
            longer, shorter = self.billed_units(change)
            print(f"{change}: {longer:.1f} and {shorter:.1f}")
            if least < longer < 48 * SLOW and 3.2 < shorter < 8 * SLOW:
                return
        self.fail(f"{change} is billed {longer:.1f} and {shorter:.1f} units, not 40 and 4")

    def test_update(self):
        for change in ("cuGraphExecUpdate", "cuGraphExecUpdate_v2"):
            self.check(change)

    def test_parameters_of_nodes(self):
        for kind in ("KernelNode", "MemcpyNode", "MemsetNode", "ChildGraphNode", "Node"):
            self.check(f"cuGraphExec{kind}SetParams")
        self.check("cuGraphExecKernelNodeSetParams_v2")

    def test_bodies_of_conditional_nodes(self):
        self.check("cuGraphExecUpdate_v2 to another body")
        self.check("cuGraphExecKernelNodeSetParams_v2 in a body")

    def test_node_that_is_enabled(self):
        self.check("cuGraphNodeSetEnabled")

    def test_graph_in_place_of_another(self):
        self.check("cuGraphExecDestroy")


class Greens(harness.Case):
    def test_contexts_after_a_green_one_are_billed(self):
        """Whose handles may be theirs: as many launches in each of two, of 2 ms."""
        with harness.Machine() as machine:
            done = machine.run(client("greens"), "bills", limits={"COMPUTE": "90%"})
        billed_ns = int(fields(self.finished(done))["billed"])
        print(f"contexts after a green one: billed {billed_ns / 80e6:.3f}")
        self.assertGreater(billed_ns, 0.95 * 80e6)
        self.assertLess(billed_ns, 1.25 * SLOW * 80e6)


class Devices(harness.Case):
    """Each has its own bill."""

    def bills(self, how, count, limits, *more, **settings):
        """Of each device: time, billed and used, in ns."""
        with harness.Machine(devices="2", **SETTINGS | settings) as machine:
            done = machine.run(client("crowd"), how, str(count), *more, limits=limits)
            used = {row["device"]: row["gpu_time_ns"] for row in machine.account()["processes"]}
        seen = fields(self.finished(done))
        return [(*map(int, seen[f"device{device}"].split()), used[device]) for device in (0, 1)]

    def test_launch_on_several_devices_is_billed_on_each(self):
        for _ in range(4):
            bills = self.bills("together", 100, {"COMPUTE": "50%"})
            self.assertEqual([used_ns for *_, used_ns in bills], [100 * UNIT_NS] * 2)
            parts = [billed_ns / used_ns for _, billed_ns, used_ns in bills]
            print(f"together: billed {parts[0]:.3f} and {parts[1]:.3f}")
            self.assertGreater(min(parts), 0.95)
            if max(parts) < 1.3 * SLOW:
                return
        self.fail(f"{max(parts):.3f} times what it took is billed")

    def check_by_streams(self, how):
        for _ in range(4):
            bills = self.bills(how, 150, {"COMPUTE": "50%"})
            parts = [billed_ns / used_ns for _, billed_ns, used_ns in bills]
            print(f"{how}: billed {parts[0]:.3f} and {parts[1]:.3f}")
            self.assertGreater(min(parts), 0.95)
            if max(parts) < 1.3 * SLOW:
                return
        self.fail(f"{max(parts):.3f} times what it took is billed")

    def test_work_for_a_device_that_is_not_current_is_its_own(self):
        self.check_by_streams("elsewhere")

    def test_work_of_a_thread_without_a_context_is_billed(self):
        self.check_by_streams("nowhere")

    def test_launch_on_several_devices_waits_for_the_strictest(self):
        limits = {"COMPUTE_0": "90%", "COMPUTE_1": "10%"}
        bills = self.bills("together", 1000, limits)
        for wall_ns, billed_ns, used_ns in bills:
            print(f"together {limits}: {used_ns / wall_ns:.3f} of the time, billed "
                  f"{billed_ns / wall_ns:.3f}")
            self.assertEqual(used_ns, 1000 * UNIT_NS)
            # 62.5 ms, of which 20 ms may be used at once
            self.assertGreater(wall_ns, 400_000_000)
            self.assertGreater(billed_ns / used_ns, 0.95)


class Crowd(harness.Case):
    """64 threads on streams of their own or of the thread, of many priorities, on two devices. A host
    that has more to run than cores makes commands seem longer: the bill may be too high then, and is
    told. Exact bills of streams beside each other are in virtual time (unit.shares)."""

    def check(self, threads, contexts):
        """Never less is billed than was used, nor more of it used than the share."""
        limits = {"COMPUTE_0": "50%", "COMPUTE_1": "25%"}
        bills = Devices.bills(self, "threads", threads, limits, str(contexts),
                              **{"kernel.busy": "500us"})
        for share, (wall_ns, billed_ns, used_ns) in zip((0.5, 0.25), bills):
            print(f"{threads} threads, {contexts} contexts: {used_ns / wall_ns:.3f} of the time, "
                  f"billed {billed_ns / used_ns:.3f} of that")
            self.assertGreater(used_ns, 0)
            self.assertGreater(billed_ns / used_ns, 0.97)
            self.assertLess(used_ns, share * wall_ns + 40_000_000)

    def test_64_threads_of_one_context(self):
        self.check(64, 1)

    def test_few_threads_of_one_context(self):
        self.check(4, 1)

    def test_64_threads_of_four_contexts(self):
        self.check(64, 4)


class Document(harness.Case):
    """What docs/compute.md says of each entry point."""

    @classmethod
    def setUpClass(cls):
        cls.symbols = {}
        rows = re.findall(r"^\| (`cu[^|]*) \| (billed|changes|free|not gateable)",
                          (TREE / "docs/compute.md").read_text(encoding="utf-8"), re.M)
        for entry_points, how in rows:
            cls.symbols.setdefault(how, set()).update(re.findall(r"`(\w+)`", entry_points))

    def test_what_is_billed_is_called(self):
        text = (TREE / "tests/preload/bills.def").read_text(encoding="utf-8")
        called = re.findall(r"^CALL\((\w+), \w+, (\w+),", text, re.M)
        self.assertEqual(self.symbols["billed"],
                         {symbol for symbol, kind in called if kind in TAKES_NS})
        changes = (TREE / "tests/preload/changes.c").read_text(encoding="utf-8")
        self.assertEqual(self.symbols["changes"],
                         set(re.findall(r'^\t{"(\w+)", ', changes, re.M)))

    def test_what_is_free_is_the_drivers_own(self):
        free = self.symbols["free"] | self.symbols["not gateable"]
        with (TREE / "tests/data/driver-procmap.csv").open(newline="") as file:
            rows = [row for row in csv.DictReader(file) if row["abi_symbol"] in free]
        # those for graphics are in no driver that is linked without it
        self.assertEqual({symbol for symbol in free if not symbol.startswith("cuGL")},
                         {row["abi_symbol"] for row in rows})
        with tempfile.NamedTemporaryFile("w", suffix=".csv") as table:
            print("name,version,flags,symbol", file=table)
            for row in rows:
                flags = 1 if row["per_thread"] == "-" else 2
                print(row["name"], row["min_cuda_version"], flags, row["abi_symbol"], sep=",",
                      file=table, flush=True)
            with harness.Machine() as machine:
                bare = self.finished(machine.run(client("lookups"), table.name))
                sliced = self.finished(machine.run(client("lookups"), table.name,
                                                   limits={"COMPUTE": "50%"}))
        self.assertEqual(sliced, bare)
        lines = sliced.splitlines()
        self.assertEqual(len(lines), len(rows))
        for line in lines:
            self.assertIn(" libcuda.so.1+0x", line)
            self.assertTrue(line.endswith(" same"), line)


if __name__ == "__main__":
    harness.main()
