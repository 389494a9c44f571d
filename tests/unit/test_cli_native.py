#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
# Copyright the cuslice authors
#
# usage: test_cli_native.py CUSLICE EMPTY_LIBRARY LIBDIR CUSLICE_WITH_OTHER_FOLDERS
#
# What `cuslice explain` says of limits of memory that the driver keeps itself, by a build whose
# /sys/fs/cgroup is cgroup/, and whose /proc/self/cgroup is proc_cgroup, in the folder it is started in.
import json
import os
import pathlib
import socket
import subprocess
import sys
import tempfile
import unittest

EXPLAINER = sys.argv[4]
ONE, TWO = "nvidia/0000:01:00.0/vidmem", "nvidia/0000:02:00.0/vidmem"
ASKED = "NVIDIA_GPU_MEMORY_LIMIT"
PINNED = "CUDA_MPS_PINNED_DEVICE_MEM_LIMIT"


class Native(unittest.TestCase):
    def setUp(self):
        holder = tempfile.TemporaryDirectory()
        self.addCleanup(holder.cleanup)
        self.folder = pathlib.Path(holder.name)

    def write(self, name, *lines):
        path = self.folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text("".join(f"{line}\n" for line in lines))

    def run_explain(self, *options, **variables):
        kept = {name: value for name, value in os.environ.items()
                if not name.startswith(("CUDA_MPS_", "CUSLICE_", "NVIDIA_", "LD_"))}
        done = subprocess.run([EXPLAINER, "explain", *options], env=kept | variables,
                              cwd=self.folder, capture_output=True, text=True, check=False,
                              timeout=60)
        self.assertEqual((done.returncode, done.stderr), (0, ""))
        return done.stdout

    def limits(self, **variables):
        found = json.loads(self.run_explain("--json", **variables))["driver_limits"]
        return [row for row in found if row["by"] != "nvml"]

    def hard(self):
        return {row["device"]: row["hard_bytes"] for row in self.limits()}

    def test_nothing_is_said_where_there_is_nothing(self):
        for line in None, "0::/", "0::/a/b", "1:cpu:/x", "", "0:/":
            with self.subTest(line):
                if line is not None:
                    self.write("proc_cgroup", line)
                self.assertEqual(self.limits(), [])
                self.assertNotIn("driver's own", self.run_explain())

    def test_limit_of_a_container(self):
        """It sees its own cgroup as the root."""
        self.write("proc_cgroup", "0::/")
        self.write("cgroup/dmem.max", f"{ONE} 4294967296", f"{TWO} max")
        self.write("cgroup/dmem.min", f"{ONE} 1073741824", f"{TWO} 0")
        self.write("cgroup/dmem.current", f"{TWO} 5", f"{ONE} 524288")
        self.assertEqual(self.limits(), [{
            "by": "cgroup", "device": ONE, "hard_bytes": 1 << 32, "soft_bytes": 1 << 30,
            "used_bytes": 524288, "file": "cgroup/dmem.max"}])
        text = self.run_explain()
        self.assertRegex(text, rf"\n  hard +4.00 GiB +{ONE}, 512.00 KiB used, by cgroup/dmem.max\n"
                               r"  soft +1.00 GiB\n")
        self.assertIn("which is made without them; the lesser refuses first", text)

    def test_limit_of_zero_is_one(self):
        self.write("proc_cgroup", "0::/")
        self.write("cgroup/dmem.max", f"{ONE} 0")
        self.assertEqual(self.limits(), [{"by": "cgroup", "device": ONE, "hard_bytes": 0,
                                          "file": "cgroup/dmem.max"}])

    def test_folders_above_limit_too(self):
        self.write("proc_cgroup", "11:memory:/x", "0::/pods/one")
        self.write("cgroup/pods/one/dmem.max", f"{ONE} 3000", f"{TWO} max")
        self.write("cgroup/pods/dmem.max", f"{ONE} 2000", f"{TWO} 7000")
        self.write("cgroup/pods/two/dmem.max", f"{ONE} 1")
        self.assertEqual(self.hard(), {ONE: 2000, TWO: 7000})
        self.write("cgroup/pods/one/dmem.max", f"{ONE} 1999", f"{TWO} max")
        self.assertEqual({row["file"] for row in self.limits()},
                         {"cgroup/pods/one/dmem.max", "cgroup/pods/dmem.max"})

    def test_cgroup_that_cannot_be_seen_from_here(self):
        self.write("proc_cgroup", "0::/../other")
        self.write("cgroup/dmem.max", f"{ONE} 2000")
        self.write("other/dmem.max", f"{ONE} 1000")
        self.assertEqual(self.limits(), [])

    def test_lines_that_mean_nothing(self):
        self.write("proc_cgroup", "0::/")
        self.write("cgroup/dmem.max", "", ONE, f"{ONE} much", "x" * 5000, f"{TWO} 2000", "1 2 3 4")
        self.assertEqual(self.hard(), {TWO: 2000, "1": 2})

    def test_more_devices_than_are_shown(self):
        self.write("proc_cgroup", "0::/")
        self.write("cgroup/dmem.max", *(f"device{i} {i}" for i in range(100)))
        self.assertEqual(len(self.hard()), 64)

    def test_paths_of_any_length(self):
        for length in 900, 1010, 1015, 1020, 1030, 3000:
            self.write("proc_cgroup", "0::/" + "a" * length)
            self.assertEqual(self.limits(), [])

    def test_what_the_runtime_is_asked_for_is_no_limit(self):
        self.assertEqual(self.limits(**{ASKED: "4096", "NVIDIA_GPU_MEMORY_REQUEST": "1024"}), [
            {"by": "asked", "variable": ASKED, "hard_bytes": 1 << 32},
            {"by": "asked", "variable": "NVIDIA_GPU_MEMORY_REQUEST", "soft_bytes": 1 << 30}])
        text = self.run_explain(**{ASKED: "4096"})
        self.assertRegex(text, rf"\n  asked +4.00 GiB +{ASKED}, in MiB, of the container's runtime\n")
        self.assertIn("nothing shows that it was set; CUSLICE_MEMORY=4096MiB", text)
        self.write("proc_cgroup", "0::/")
        self.write("cgroup/dmem.max", f"{ONE} 4294967296")
        self.assertNotIn("nothing shows", self.run_explain(**{ASKED: "4096"}))

    def test_what_is_asked_for_and_is_no_number(self):
        for value in "4GiB", "", "-1", "0", " 5", "99999999999999999999999", "1e3":
            with self.subTest(value):
                self.assertEqual(self.limits(**{ASKED: value}), [])
                text = self.run_explain(**{ASKED: value})
                self.assertIn(f'{ASKED}="{value}", which is no whole number of MiB', text)
                self.assertNotIn("would be kept", text)

    def test_what_mps_is_asked_for(self):
        folder = self.folder / "mps"
        folder.mkdir()
        variables = {PINNED: "0=8G,1=512M", "CUDA_MPS_PIPE_DIRECTORY": str(folder)}
        self.assertEqual(self.limits(**variables), [
            {"by": "asked", "variable": PINNED, "value": "0=8G,1=512M"}])
        text = self.run_explain(**variables)
        self.assertRegex(text, rf"\n  asked +0=8G,1=512M +{PINNED}; no MPS at {folder}/control: .*\n")
        self.assertNotIn("keeps it", text)
        with socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET) as daemon:
            daemon.bind(str(folder / "control"))
            daemon.listen()
            text = self.run_explain(**variables)
        self.assertIn(f"{PINNED}; MPS at {folder}/control keeps it for each of its clients", text)


if __name__ == "__main__":
    unittest.main(argv=sys.argv[:1], verbosity=2)
