#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
# Copyright the cuslice authors
#
# usage: test_cli.py CUSLICE EMPTY_LIBRARY LIBDIR
#
# `cuslice run`: where it finds the library, what it makes of LD_PRELOAD and the limits, and its
# exit statuses. Runs copies of the real program in trees of their own, beside an empty library, so
# that what lies where is the test's choice.
import os
import pathlib
import shutil
import signal
import subprocess
import sys
import tempfile
import unittest

CUSLICE, LIBRARY, LIBDIR = map(pathlib.Path, sys.argv[1:4])
SHOW = 'echo "$LD_PRELOAD|$CUSLICE_MEMORY|$CUSLICE_COMPUTE"'


def tree(root, *library_folders):
    """Installs the program into ROOT/bin and the library into the folders; returns the program."""
    for folder in (root / "bin", *(root / folder for folder in library_folders)):
        folder.mkdir(parents=True, exist_ok=True)
    for folder in library_folders:
        shutil.copy(LIBRARY, root / folder / "libcuslice.so")
    return shutil.copy(CUSLICE, root / "bin/cuslice")


def run(program, *arguments, **environment):
    kept = {name: value for name, value in os.environ.items()
            if name != "LD_PRELOAD" and not name.startswith("CUSLICE_")}
    return subprocess.run([program, *arguments], env=kept | environment, capture_output=True,
                          text=True, check=False, timeout=60)


class Tree(unittest.TestCase):
    folders = (pathlib.Path("lib"),)

    def setUp(self):
        self.holder = tempfile.TemporaryDirectory()
        self.addCleanup(self.holder.cleanup)
        self.root = pathlib.Path(self.holder.name).resolve()
        self.program = tree(self.root, *self.folders)
        self.library = str(self.root / self.folders[0] / "libcuslice.so")

    def shown(self, *options, **environment):
        """LD_PRELOAD, CUSLICE_MEMORY and CUSLICE_COMPUTE as the program gets them."""
        done = run(self.program, "run", *options, "sh", "-c", SHOW, **environment)
        self.assertEqual((done.returncode, done.stderr), (0, ""))
        return done.stdout.rstrip("\n").split("|")


class Installed(Tree):
    folders = (LIBDIR / "cuslice", pathlib.Path("lib"))

    def test_library_of_the_installation_comes_before_that_of_a_build(self):
        self.assertEqual(self.shown()[0], self.library)

    def test_library_is_found_through_a_symbolic_link_to_the_program(self):
        link = self.root / "elsewhere"
        link.symlink_to(self.program)
        done = run(link, "run", "sh", "-c", SHOW)
        self.assertEqual(done.stdout, f"{self.library}||\n")


class Built(Tree):
    def test_library_beside_the_program_is_found(self):
        self.assertEqual(self.shown(), [self.library, "", ""])

    def test_library_stands_in_front_of_what_was_preloaded(self):
        other = shutil.copy(LIBRARY, self.root / "other.so")
        self.assertEqual(self.shown(LD_PRELOAD=str(other))[0], f"{self.library}:{other}")

    def test_library_is_not_preloaded_twice(self):
        other = shutil.copy(LIBRARY, self.root / "other.so")
        for separator in (":", " "):
            there = f"{other}{separator}{self.library}"
            self.assertEqual(self.shown(LD_PRELOAD=there)[0], there)

    def test_similar_path_is_not_taken_for_the_library(self):
        other = shutil.copy(LIBRARY, f"{self.library}.1")
        self.assertEqual(self.shown(LD_PRELOAD=str(other))[0], f"{self.library}:{other}")

    def test_empty_preload_leaves_no_colon(self):
        self.assertEqual(self.shown(LD_PRELOAD="")[0], self.library)

    def test_run_within_run_is_preloaded_once(self):
        done = run(self.program, "run", "-m", "1GiB", self.program, "run", "-c", "50%",
                   "sh", "-c", SHOW)
        self.assertEqual(done.stdout, f"{self.library}|1GiB|50%\n")

    def test_limits_go_into_the_environment_as_written(self):
        self.assertEqual(self.shown("--memory", "4GiB", "--compute", "25%")[1:], ["4GiB", "25%"])
        self.assertEqual(self.shown("-m1.5GiB", "-c", "32sm")[1:], ["1.5GiB", "32sm"])
        self.assertEqual(self.shown("--memory=4GiB", "--")[1:], ["4GiB", ""])

    def test_limits_that_were_not_given_stay_what_they_are(self):
        self.assertEqual(self.shown("-m", "1GiB", CUSLICE_MEMORY="2GiB", CUSLICE_COMPUTE="5%")[1:],
                         ["1GiB", "5%"])

    def test_bad_limit_is_quoted_with_its_reason(self):
        for options, quoted in ((("-m", "4 GG"), '"4 GG": unknown unit'),
                                (("--memory=0",), '"0": zero'),
                                (("-c", "101%"), '"101%": more than 100%'),
                                (("--compute", "25"), '"25": a unit is missing')):
            done = run(self.program, "run", *options, "true")
            self.assertEqual(done.returncode, 125)
            self.assertIn(quoted, done.stderr)
            self.assertEqual(done.stdout, "")

    def test_command_keeps_its_own_options(self):
        done = run(self.program, "run", "-m", "1GiB", "echo", "-m", "x", "--compute", "--help")
        self.assertEqual((done.returncode, done.stdout), (0, "-m x --compute --help\n"))

    def test_status_of_the_command_is_passed_on(self):
        for status in (0, 1, 42, 125, 255):
            self.assertEqual(run(self.program, "run", "sh", "-c", f"exit {status}").returncode,
                             status)

    def test_command_killed_by_a_signal_is_killed_by_it(self):
        done = run(self.program, "run", "sh", "-c", "kill -TERM $$")
        self.assertEqual(done.returncode, -signal.SIGTERM)

    def test_signal_to_the_program_reaches_the_command(self):
        script = 'trap "echo heard; exit 7" USR1; echo ready; while :; do sleep 0.05; done'
        with subprocess.Popen([self.program, "run", "sh", "-c", script], text=True,
                              stdout=subprocess.PIPE) as process:
            self.assertEqual(process.stdout.readline(), "ready\n")
            process.send_signal(signal.SIGUSR1)
            self.assertEqual(process.stdout.readline(), "heard\n")
            self.assertEqual(process.wait(timeout=20), 7)

    def test_command_that_is_not_found_ends_with_127(self):
        for name in ("no-such-command-here", "/no/such/path"):
            done = run(self.program, "run", name)
            self.assertEqual(done.returncode, 127)
            self.assertIn(f'cannot run "{name}"', done.stderr)

    def test_command_that_cannot_be_run_ends_with_126(self):
        text = self.root / "text"
        text.write_text("no program\n")
        done = run(self.program, "run", text)
        self.assertEqual(done.returncode, 126)
        self.assertIn(str(text), done.stderr)

    def test_wrong_use_ends_with_125(self):
        for arguments in ((), ("no-such-subcommand",), ("run",), ("run", "--no-such-option"),
                          ("run", "-m"), ("--no-such-option",)):
            done = run(self.program, *arguments)
            self.assertEqual(done.returncode, 125, arguments)
            self.assertNotEqual(done.stderr, "")
            self.assertEqual(done.stdout, "")

    def test_help_and_version_are_no_errors(self):
        for arguments, part in ((("--help",), "Usage: cuslice"), (("help",), "run"),
                                (("--version",), "cuslice 0."), (("run", "--help"), "--memory")):
            done = run(self.program, *arguments)
            self.assertEqual((done.returncode, done.stderr), (0, ""), arguments)
            self.assertIn(part, done.stdout)


class Elsewhere(unittest.TestCase):
    def test_library_in_a_path_with_a_separator_is_refused(self):
        for name in ("with space", "with:colon"):
            with tempfile.TemporaryDirectory() as holder:
                program = tree(pathlib.Path(holder) / name, pathlib.Path("lib"))
                done = run(program, "run", "true")
                self.assertEqual(done.returncode, 125)
                self.assertIn("LD_PRELOAD cannot name", done.stderr)

    def test_program_without_library_says_where_it_looked(self):
        with tempfile.TemporaryDirectory() as holder:
            done = run(tree(pathlib.Path(holder)), "run", "true")
            self.assertEqual(done.returncode, 125)
            self.assertIn("libcuslice.so was found neither", done.stderr)


if __name__ == "__main__":
    unittest.main(argv=sys.argv[:1], verbosity=2)
