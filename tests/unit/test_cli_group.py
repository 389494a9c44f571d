#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
# Copyright the cuslice authors
#
# usage: test_cli_group.py CUSLICE EMPTY_LIBRARY LIBDIR CUSLICE_WITH_OTHER_POLICY
#
# The group that `cuslice run` makes of what it starts, and what it removes of earlier ones. The
# segments are real ones, in /dev/shm.
import fcntl
import os
import pathlib
import shutil
import stat
import struct
import subprocess
import sys
import unittest

from test_cli import Tree, run

FOLDER = pathlib.Path(f"/dev/shm/cuslice-{os.geteuid()}")
IS_ROOT = os.geteuid() == 0
SHOW = ("sh", "-c", 'echo "$CUSLICE_GROUP"')
F_OFD_SETLK = 37
OLD_S = 3600


def dead_pid():
    child = subprocess.Popen(["true"])
    child.wait()
    return child.pid


class Group(Tree):
    def setUp(self):
        super().setUp()
        self.made = []
        self.addCleanup(lambda: [path.unlink(missing_ok=True) for path in self.made])

    def group(self, *options, group=None, **environment):
        """CUSLICE_GROUP of the program that is run; its file is removed in the end."""
        done = run(self.program, "run", *options, *SHOW, group=group, **environment)
        self.assertEqual((done.returncode, done.stderr), (0, ""))
        path = done.stdout.rstrip("\n")
        if path.startswith("/"):
            self.made.append(pathlib.Path(path))
        return path

    def refused(self, *options, group=None):
        """What is said where no group can be made."""
        done = run(self.program, "run", *options, *SHOW, group=group)
        self.assertEqual((done.returncode, done.stdout), (125, ""))
        return done.stderr


class Made(Group):
    def test_limited_program_has_one_that_nobody_guesses(self):
        paths = [self.group("-m", "1GiB") for _ in range(2)]
        for path in paths:
            self.assertRegex(path, rf"^{FOLDER}/run-[1-9][0-9]*-[0-9a-f]{{32}}\.group$")
            mode = os.stat(path).st_mode
            self.assertEqual(stat.S_IMODE(mode), 0o666 if IS_ROOT else 0o600)
        self.assertNotEqual(paths[0][-38:], paths[1][-38:])
        self.assertEqual(stat.S_IMODE(FOLDER.stat().st_mode), 0o711 if IS_ROOT else 0o700)

    def test_pid_in_the_name_is_that_of_the_program(self):
        done = run(self.program, "run", "-m", "1GiB", "sh", "-c", 'echo "$$ $CUSLICE_GROUP"',
                   group=None)
        pid, path = done.stdout.split()
        self.made.append(pathlib.Path(path))
        self.assertIn(f"/run-{pid}-", path)

    def test_program_without_limits_has_none(self):
        self.assertEqual(self.group(), "")
        self.assertEqual(self.group("-c", "100%"), "")
        self.assertEqual(self.group(CUSLICE_MEMORY="1GiB", CUSLICE_DISABLE="1"), "")

    def test_limit_of_the_environment_makes_one(self):
        self.assertIn("/run-", self.group(CUSLICE_MEMORY="1GiB"))
        self.assertIn("/run-", self.group(CUSLICE_COMPUTE="50%"))
        self.assertIn("/run-", self.group("-c", "50%"))

    def test_limit_of_a_file_makes_one(self):
        file = self.root / "my.ini"
        file.write_text("[slice]\nmemory = 1GiB\n")
        self.assertIn("/run-", self.group("--config", str(file)))
        file.write_text("[slice]\nmemory = 1GiB\ngroup = none\n")
        self.assertEqual(self.group(CUSLICE_CONFIG=str(file)), "none")

    def test_run_within_run_stays_in_it(self):
        outer = self.group("-m", "1GiB", str(self.program), "run", "-m", "512MiB")
        self.assertIn("/run-", outer)
        done = run(self.program, "run", "-m", "1GiB", "sh", "-c",
                   f'echo "$CUSLICE_GROUP"; {self.program} run -m 1MiB {SHOW[0]} -c \'{SHOW[2]}\'',
                   group=None)
        first, second = done.stdout.split()
        self.made.append(pathlib.Path(first))
        self.assertEqual(first, second)


class Named(Group):
    name = f"test-{os.getpid()}"

    def test_name_leads_to_its_file_for_whoever_changes_user(self):
        path = f"{FOLDER}/{self.name}.group"
        self.assertEqual(self.group(f"--group={self.name}"), path)
        self.assertTrue(os.path.isfile(path))
        self.assertEqual(self.group("--group", self.name, "-m", "1GiB"), path)
        self.assertEqual(self.group(group=self.name), path)
        self.assertEqual(self.group("-m", "1GiB", group=path), path)

    def test_none_is_none(self):
        self.assertEqual(self.group("--group=none", "-m", "1GiB"), "none")
        self.assertEqual(self.group("-m", "1GiB", group="none"), "none")
        self.assertEqual(self.group("--group=none", group=self.name), "none")

    def test_directory_holds_one(self):
        folder = self.root / "mounted"
        folder.mkdir(0o755)
        self.assertEqual(self.group(f"--group={folder}"), f"{folder}/cuslice.group")
        self.assertTrue((folder / "cuslice.group").is_file())

    def test_bad_name_is_quoted(self):
        self.assertIn('--group "a b": use a name', self.refused("--group=a b"))

    def test_directory_that_is_not_there_or_not_trusted_is_said(self):
        folder = self.root / "mounted"
        self.assertIn(f"no group: {folder}: No such file", self.refused(f"--group={folder}"))
        folder.mkdir()
        folder.chmod(0o777)
        self.assertIn("others may write to it; `chmod go-w`", self.refused(group=str(folder)))
        self.assertIn("--group=none goes without", self.refused(group=str(folder)))

    def test_file_that_is_no_segment_is_said(self):
        file = self.root / "a.group"
        file.write_text("nonsense")
        self.assertIn(f"{file}: it is too short", self.refused(f"--group={file}"))
        self.assertEqual(file.read_text(), "nonsense")

    def test_dry_run_says_it_as_it_was_given_and_makes_nothing(self):
        for options, line in ((("--group=name-of-nobody",), "CUSLICE_GROUP=name-of-nobody"),
                              (("--group=/nowhere",), "CUSLICE_GROUP=/nowhere")):
            done = run(self.program, "run", "--dry-run", *options, group=None)
            self.assertEqual(done.stdout.splitlines()[1:], [line])
        self.assertFalse((FOLDER / "name-of-nobody.group").exists())
        done = run(self.program, "run", "--dry-run", "-m", "1GiB", group=None)
        self.assertNotIn("CUSLICE_GROUP", done.stdout)

    @unittest.skipUnless(IS_ROOT, "only root can change its user")
    def test_worker_that_dropped_root_reaches_the_file_and_cannot_list_others(self):
        path = self.group("--group", self.name)
        for command, status in ((["test", "-w", path], 0), (["ls", str(FOLDER)], 2),
                                (["touch", f"{FOLDER}/mine"], 1), (["rm", path], 1)):
            done = subprocess.run(["setpriv", "--reuid=12345", "--regid=12345", "--clear-groups",
                                   *command], capture_output=True, check=False)
            self.assertEqual(done.returncode, status, command)


class Left(Group):
    def leave(self, name, age=OLD_S):
        """A segment that an earlier group has left."""
        source = self.group(f"--group=left-{os.getpid()}")
        path = FOLDER / name
        shutil.copy(source, path)
        os.utime(path, (path.stat().st_mtime - age,) * 2)
        self.made.append(path)
        return path

    def run_another(self):
        self.group("-m", "1GiB")

    def test_that_of_a_run_that_is_over_is_removed(self):
        path = self.leave(f"run-{dead_pid()}-00.group")
        self.run_another()
        self.assertFalse(path.exists())

    def test_that_of_a_container_is_removed(self):
        path = self.leave("pidns-4-1.group")
        self.run_another()
        self.assertFalse(path.exists())

    def test_others_stay(self):
        names = {
            "its program still runs": self.leave(f"run-{os.getpid()}-00.group"),
            "a program of the machine still runs": self.leave("run-1-00.group"),
            "young": self.leave(f"run-{dead_pid()}-01.group", age=0),
            "young, of a container": self.leave("pidns-4-2.group", age=30),
            "a name": self.leave("left-behind.group"),
            "no name of ours": self.leave(f"run-{dead_pid()}x-00.group"),
            "no segment": self.leave(f"run-{dead_pid()}-02.groups"),
        }
        self.run_another()
        for why, path in names.items():
            self.assertTrue(path.exists(), why)

    def test_used_one_stays_until_it_is_no_longer(self):
        path = self.leave(f"run-{dead_pid()}-03.group")
        with open(path, "r+b") as file:
            # struct flock: l_type, l_whence, l_start, l_len, l_pid; the lock of slot 200
            fcntl.fcntl(file, F_OFD_SETLK,
                        struct.pack("hhqqi4x", fcntl.F_WRLCK, os.SEEK_SET, 200, 1, 0))
            self.run_another()
            self.assertTrue(path.exists())
        self.run_another()
        self.assertFalse(path.exists())

    def test_links_and_folders_are_left_alone(self):
        target = self.leave("left-target.group")
        link = FOLDER / f"run-{dead_pid()}-04.group"
        link.symlink_to(target)
        folder = FOLDER / f"run-{dead_pid()}-05.group"
        folder.mkdir()
        fifo = FOLDER / f"run-{dead_pid()}-06.group"
        os.mkfifo(fifo)
        self.made += [link, fifo]
        self.addCleanup(folder.rmdir)
        self.run_another()
        for path in (target, folder, fifo):
            self.assertTrue(path.exists())
        self.assertTrue(link.is_symlink())


if __name__ == "__main__":
    unittest.main(argv=sys.argv[:1], verbosity=2)
