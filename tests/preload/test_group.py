#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
# Copyright the cuslice authors
#
# Processes that spend one slice together: who belongs to a group, and who does not.
import argparse
import json
import os
import pathlib
import subprocess
import tempfile
import unittest

import harness
from harness import CUSLICE, MIB, NO_DEVICE, OUT_OF_MEMORY, client

FOLDER = pathlib.Path(f"/dev/shm/cuslice-{os.geteuid()}")
SOMEBODY = 12345
# A container of its own processes, with a given /dev/shm; of its own users where we are no root.
IN_NAMESPACES = ("unshare", "-pmf" if os.geteuid() == 0 else "-rpmf", "--kill-child", "sh", "-c",
                 'mount --bind "$0" /dev/shm && exec "$@"')
needs_root = unittest.skipUnless(os.geteuid() == 0, "only root can change its user")


class Tenant:
    """A client_tenant that does what it is told."""

    def __init__(self, process):
        self.process = process

    def tell(self, *commands):
        """The answers without their first words; of a single command the answer itself."""
        answers = []
        for command in commands:
            self.process.stdin.write(command + "\n")
            self.process.stdin.flush()
            word, _, rest = self.process.stdout.readline().rstrip("\n").partition(" ")
            answers.append(rest if word == command.split()[0] else f"{word} {rest}")
        return answers if len(answers) > 1 else answers[0]

    def end(self):
        """What it has written to stderr, where that was asked for."""
        self.process.stdin.close()
        text = self.process.stderr.read() if self.process.stderr else ""
        self.process.wait(harness.PATIENCE_S)
        self.process.stdout.close()
        if self.process.stderr:
            self.process.stderr.close()
        return text

    def kill(self):
        self.process.kill()
        return self.end()


class GroupCase(harness.Case):
    def setUp(self):
        self.machine = harness.Machine(context_bytes="0", memory="1GiB")
        self.machine.__enter__()
        self.addCleanup(self.machine.__exit__)
        self.name = f"test-{os.getpid()}-{self.id().rpartition('.')[2][:40]}"
        self.path = FOLDER / f"{self.name}.group"
        self.addCleanup(self.path.unlink, missing_ok=True)

    def environment(self, settings):
        """CUSLICE_<KEY>=<VALUE> for each setting, and none where the value is None."""
        environment = self.machine.environment(settings)
        return {name: value for name, value in environment.items() if value is not None}

    def start(self, *wrapper, is_heard=False, **settings):
        """A tenant; `cuslice run` as the wrapper finds the library by itself."""
        environment = self.environment(settings)
        if CUSLICE in wrapper:
            del environment["LD_PRELOAD"]
        process = subprocess.Popen(
            [*map(str, wrapper), client("tenant")], env=environment, text=True,
            stdin=subprocess.PIPE, stdout=subprocess.PIPE,
            stderr=subprocess.PIPE if is_heard else None)
        tenant = Tenant(process)
        self.addCleanup(lambda: process.poll() is None and tenant.kill())
        return tenant

    def start_two(self, *wrapper, **settings):
        """Two tenants that one wrapper starts. The second is talked to by pipes with names."""
        holder = tempfile.TemporaryDirectory()
        self.addCleanup(holder.cleanup)
        pipes = [pathlib.Path(holder.name) / name for name in ("stdin", "stdout")]
        for pipe in pipes:
            os.mkfifo(pipe)
        script = '"$2" <"$0" >"$1" & exec "$2"'
        first = self.start(*wrapper, "sh", "-c", script, *pipes, **settings)
        second = Tenant(argparse.Namespace(
            stdin=open(pipes[0], "w", encoding="utf-8"),
            stdout=open(pipes[1], encoding="utf-8"), stderr=None, wait=lambda _: None))
        self.addCleanup(second.end)
        return first, second

    def started(self, *wrapper, **settings):
        """The same, initialised."""
        tenant = self.start(*wrapper, **settings)
        self.assertEqual(tenant.tell("init"), "0")
        return tenant

    def open_machine(self):
        """Lets other users to the simulated machine."""
        folder = pathlib.Path(self.machine.folder.name)
        for path in (folder, *folder.iterdir()):
            path.chmod(0o777)

    def share_64_mib(self, one, other):
        """Checks that two tenants spend one quota of 64 MiB, of which nothing is spent yet."""
        self.assertEqual(one.tell("alloc 40", "info"), ["0", "24 64"])
        self.assertEqual(other.tell("info", "alloc 40", "alloc 24", "info"),
                         ["24 64", str(OUT_OF_MEMORY), "0", "0 64"])
        self.assertEqual(one.tell("alloc 1", "free", "info"), [str(OUT_OF_MEMORY), "0", "40 64"])
        self.assertEqual(other.tell("alloc 40", "free", "free"), ["0", "0", "0"])

    def are_apart(self, one, other):
        """Checks that each has 64 MiB for itself."""
        for tenant in (one, other):
            self.assertEqual(tenant.tell("alloc 40", "info"), ["0", "24 64"])
            self.assertEqual(tenant.tell("alloc 40"), str(OUT_OF_MEMORY))


class Members(GroupCase):
    def test_processes_of_one_name_spend_one_quota(self):
        self.share_64_mib(*(self.started(GROUP=self.name, MEMORY="64MiB") for _ in range(2)))

    def test_what_a_member_held_comes_back_however_it_ends(self):
        stays = self.started(GROUP=self.name, MEMORY="64MiB")
        for leave in (Tenant.end, Tenant.kill):
            goes = self.started(GROUP=self.name, MEMORY="64MiB")
            self.assertEqual(goes.tell("alloc 40"), "0")
            self.assertEqual(stays.tell("info"), "24 64")
            leave(goes)
            joins = self.started(GROUP=self.name, MEMORY="64MiB")
            self.assertEqual(joins.tell("alloc 64", "free"), ["0", "0"])

    def test_processes_of_other_names_and_of_none_are_apart(self):
        self.addCleanup((FOLDER / f"{self.name}-2.group").unlink, missing_ok=True)
        self.are_apart(self.started(GROUP=self.name, MEMORY="64MiB"),
                       self.started(GROUP=f"{self.name}-2", MEMORY="64MiB"))
        self.are_apart(*(self.started(GROUP="none", MEMORY="64MiB") for _ in range(2)))

    def test_strictest_limit_of_the_members_holds_while_they_live(self):
        loose = self.started(GROUP=self.name, MEMORY="100MiB")
        self.assertEqual(loose.tell("info"), "100 100")
        strict = self.started(GROUP=self.name, MEMORY="64MiB")
        self.assertEqual(loose.tell("info"), "64 64")
        self.assertEqual(loose.tell("alloc 65"), str(OUT_OF_MEMORY))
        self.assertEqual(strict.tell("alloc 40"), "0")

    def test_member_without_limits_is_held_to_the_others(self):
        limited = self.started(GROUP=self.name, MEMORY="64MiB")
        self.share_64_mib(self.started(GROUP=self.name), limited)

    def test_group_without_limits_has_the_device(self):
        tenants = [self.started(GROUP=self.name) for _ in range(2)]
        self.assertEqual(tenants[0].tell("alloc 600", "info"), ["0", "424 1024"])
        self.assertEqual(tenants[1].tell("info", "alloc 424"), ["424 1024", "0"])

    def test_directory_makes_a_group(self):
        with tempfile.TemporaryDirectory() as folder:
            self.share_64_mib(self.started(GROUP=folder, MEMORY="64MiB"),
                              self.started(GROUP=f"{folder}/cuslice.group", MEMORY="64MiB"))
            self.assertEqual(os.listdir(folder), ["cuslice.group"])

    def test_two_engines_size_their_caches_as_if_they_knew_of_each_other(self):
        engines = [self.start(GROUP=self.name, MEMORY="512MiB") for _ in range(2)]
        self.assertEqual(engines[0].tell("init", "profile 100 50 50"), ["0", "0 cache 106"])
        self.assertEqual(engines[1].tell("init", "profile 100 50 40"), ["0", "0 cache 54"])
        self.assertEqual(engines[0].tell("info"), "152 512")
        third = self.start(GROUP=self.name, MEMORY="512MiB")
        self.assertEqual(third.tell("init", "profile 100 50 50"),
                         ["0", "no room: 152 of 512 MiB are free, 256 wanted"])


class Children(GroupCase):
    def test_child_of_a_fork_is_a_member_of_its_own(self):
        other = self.started(GROUP=self.name, MEMORY="64MiB")
        parent = self.start(GROUP=self.name, MEMORY="64MiB")
        self.assertEqual(parent.tell("fork", "init"), ["0", "0"])
        self.share_64_mib(parent, other)
        self.assertEqual(parent.tell("alloc 40"), "0")
        # The child ends; its parent begins.
        self.assertEqual(parent.tell("end"), "0")
        self.assertEqual(parent.tell("init", "alloc 64"), ["0", "0"])

    def test_program_that_is_executed_is_a_member(self):
        other = self.started(GROUP=self.name, MEMORY="64MiB")
        tenant = self.started(GROUP=self.name, MEMORY="64MiB")
        self.assertEqual(tenant.tell("alloc 40", "exec", "init"), ["0", "0", "0"])
        self.share_64_mib(tenant, other)


@unittest.skipIf(harness.SANITIZER, "shells and cuslice itself would need the sanitizer's library")
class Run(GroupCase):
    def test_all_that_it_starts_is_one_group(self):
        tenants = self.start_two(CUSLICE, "run", "-m", "64MiB", "--", GROUP=None)
        for tenant in tenants:
            self.assertEqual(tenant.tell("init"), "0")
        self.share_64_mib(*tenants)

    def test_two_runs_are_apart(self):
        run = (CUSLICE, "run", "-m", "64MiB", "--")
        self.are_apart(*(self.started(*run, GROUP=None) for _ in range(2)))

    @needs_root
    def test_worker_that_dropped_root_stays_in_the_group(self):
        self.open_machine()
        parent, worker = self.start_two(CUSLICE, "run", "-m", "64MiB", "--", GROUP=None)
        self.assertEqual(worker.tell(f"user {SOMEBODY}", "init"), [str(SOMEBODY), "0"])
        self.assertEqual(parent.tell("init"), "0")
        self.share_64_mib(worker, parent)

    def test_explain_shows_members_and_bytes(self):
        tenants = [self.started(GROUP=self.name, MEMORY="64MiB") for _ in range(2)]
        self.assertEqual(tenants[0].tell("alloc 40"), "0")
        done = subprocess.run([CUSLICE, "explain", "--json"], capture_output=True, text=True,
                              env=self.environment({"GROUP": self.name}), check=True)
        group = json.loads(done.stdout)["group"]
        self.assertEqual((group["exists"], group["members"]), (True, 2))
        self.assertEqual([(device["used_bytes"], device["quota_bytes"])
                          for device in group["devices"]], [(40 * MIB, 64 * MIB)])
        done = subprocess.run([CUSLICE, "explain"], capture_output=True, text=True,
                              env=self.environment({"GROUP": self.name}), check=True)
        self.assertIn(f"{self.path}, 2 members\n", done.stdout)
        self.assertRegex(done.stdout, r"used +40.00 MiB +of 64.00 MiB")


@unittest.skipIf(harness.SANITIZER, "shells would need the sanitizer's library")
class Containers(GroupCase):
    @classmethod
    def setUpClass(cls):
        if subprocess.run([*IN_NAMESPACES, "/dev/shm", "true"], capture_output=True,
                          check=False).returncode != 0:
            raise unittest.SkipTest("no PID namespace can be made here")

    def setUp(self):
        super().setUp()
        holder = tempfile.TemporaryDirectory(dir="/dev/shm")
        self.addCleanup(holder.cleanup)
        self.shm = pathlib.Path(holder.name)
        self.shm.chmod(0o1777)
        self.container = (*IN_NAMESPACES, self.shm)

    def segments(self):
        return sorted(path.name for path in self.shm.glob("*/*"))

    def test_processes_of_one_container_spend_one_quota(self):
        tenants = self.start_two(*self.container, GROUP=None, MEMORY="64MiB")
        for tenant in tenants:
            self.assertEqual(tenant.tell("init"), "0")
        self.share_64_mib(*tenants)
        self.assertEqual(len(self.segments()), 1)

    def test_containers_with_one_dev_shm_are_apart(self):
        self.are_apart(*(self.started(*self.container, GROUP=None, MEMORY="64MiB")
                         for _ in range(2)))
        self.assertEqual(len(self.segments()), 2)
        for name in self.segments():
            self.assertRegex(name, r"^pidns-[0-9a-f]+-[0-9]+\.group$")

    def test_none_leaves_each_process_to_itself(self):
        tenants = self.start_two(*self.container, GROUP="none", MEMORY="64MiB")
        for tenant in tenants:
            self.assertEqual(tenant.tell("init"), "0")
        self.are_apart(*tenants)
        self.assertEqual(self.segments(), [])

    def test_container_without_limits_is_left_alone(self):
        tenant = self.started(*self.container, GROUP=None)
        self.assertEqual(tenant.tell("info", "alloc 600"), ["1024 1024", "0"])
        self.assertEqual(os.listdir(self.shm), [])

    def test_run_does_not_leave_a_limited_container(self):
        tenants = self.start_two(*self.container, CUSLICE, "run", "--", GROUP=None, MEMORY="64MiB")
        for tenant in tenants:
            self.assertEqual(tenant.tell("init"), "0")
        self.share_64_mib(*tenants)
        self.assertRegex(self.segments()[0], "^pidns-")

    def test_run_makes_a_group_in_a_container_without_limits(self):
        tenant = self.started(*self.container, CUSLICE, "run", "-m", "64MiB", "--", GROUP=None)
        self.assertEqual(tenant.tell("info"), "64 64")
        self.assertRegex(self.segments()[0], "^run-")

    @needs_root
    def test_worker_that_dropped_root_spends_with_root(self):
        self.open_machine()
        parent, worker = self.start_two(*self.container, GROUP=None, MEMORY="64MiB")
        self.assertEqual(parent.tell("init"), "0")
        self.assertEqual(worker.tell(f"user {SOMEBODY}", "init"), [str(SOMEBODY), "0"])
        self.share_64_mib(parent, worker)

    def test_full_dev_shm_takes_the_gpu_away(self):
        script = 'mount -t tmpfs -o size=64k tmpfs /dev/shm && exec "$0" "$@"'
        tenant = self.start(*self.container, "sh", "-c", script, is_heard=True, GROUP=None,
                            MEMORY="64MiB")
        self.assertEqual(tenant.tell("init"), str(NO_DEVICE))
        self.assertIn("there is no room for it", tenant.end())


class Refused(GroupCase):
    def refused(self, *parts, result=NO_DEVICE, **settings):
        """What is said, in one line, of a group that cannot be joined."""
        tenant = self.start(is_heard=True, **settings)
        self.assertEqual(tenant.tell("init"), str(result))
        if result == 0:
            self.assertEqual(tenant.tell("alloc 40", "alloc 40"), ["0", str(OUT_OF_MEMORY)])
        text = tenant.end()
        self.assertEqual(text.count("\n"), 1, text)
        for part in parts:
            self.assertIn(part, text)

    def test_folder_that_is_not_there_takes_the_gpu_away(self):
        self.refused("group: /nowhere/at/all: No such file", "no GPU for this program",
                     GROUP="/nowhere/at/all", MEMORY="64MiB")

    def test_folder_of_others_takes_the_gpu_away(self):
        with tempfile.TemporaryDirectory() as folder:
            os.chmod(folder, 0o777)
            self.refused(f"{folder} of user {os.geteuid()} has mode 0777", "chmod go-w",
                         GROUP=folder, MEMORY="64MiB")

    def test_file_that_is_no_segment_takes_the_gpu_away(self):
        with tempfile.TemporaryDirectory() as folder:
            path = pathlib.Path(folder) / "cuslice.group"
            path.symlink_to("/etc/passwd")
            self.refused(f"{path}: it is no regular file", GROUP=folder, MEMORY="64MiB")
            path.unlink()
            path.write_text("nonsense" * 100)
            self.refused(f"{path}: it is no segment", GROUP=folder)

    def test_warn_keeps_the_quota_for_the_process(self):
        self.refused("this process has its limits for itself", result=0,
                     GROUP="/nowhere", MEMORY="64MiB", ON_ERROR="warn")

    def test_warn_makes_nobody_unlimited(self):
        self.refused("no GPU for this program", GROUP="/nowhere", ON_ERROR="warn")


if __name__ == "__main__":
    harness.main()
