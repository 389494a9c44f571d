#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
# Copyright the cuslice authors
#
# usage: test_config_docs.py TREE
#
# The documents show what config.def and not_counted.def say, and a document that does not is
# noticed.
import pathlib
import shutil
import subprocess
import sys
import tempfile
import unittest

TREE = pathlib.Path(sys.argv[1])
FILES = ("src/config/generate_docs.py", "src/config/config.def", "src/cli/not_counted.def",
         "docs/configuration.md", "docs/man/cuslice.1", "docs/man/cuslice.ini.5")


def generate(tree, *options):
    return subprocess.run([sys.executable, "-B", tree / "src/config/generate_docs.py", *options,
                           tree], capture_output=True, text=True, check=False)


class Docs(unittest.TestCase):
    def setUp(self):
        holder = tempfile.TemporaryDirectory()
        self.addCleanup(holder.cleanup)
        self.copy = pathlib.Path(holder.name)
        for name in FILES:
            (self.copy / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(TREE / name, self.copy / name)

    def change(self, name, old, new):
        text = (self.copy / name).read_text()
        self.assertIn(old, text)
        (self.copy / name).write_text(text.replace(old, new))

    def test_documents_of_the_tree_are_current(self):
        done = generate(TREE, "--check")
        self.assertEqual((done.returncode, done.stdout, done.stderr), (0, "", ""))

    def test_another_row_is_noticed_in_all_and_written(self):
        self.change("src/config/config.def", "Device memory of the slice",
                    "Bytes of it")
        done = generate(self.copy, "--check")
        self.assertEqual(done.returncode, 1)
        self.assertEqual(done.stdout.count("is not current"), 3)
        self.assertEqual(generate(self.copy).returncode, 0)
        self.assertEqual(generate(self.copy, "--check").returncode, 0)
        for name in FILES[3:]:
            self.assertIn("Bytes of it", (self.copy / name).read_text())

    def test_another_hole_is_noticed(self):
        self.change("src/cli/not_counted.def", "NVML", "nobody")
        self.assertEqual(generate(self.copy, "--check").returncode, 1)

    def test_row_that_is_not_understood_is_an_error(self):
        self.change("src/config/config.def", 'OPTION(LOG, log, PROCESS, "warn"',
                    'OPTION(LOG, log, PROCESS, WARN')
        self.assertIn("not understood", generate(self.copy).stderr)

    def test_lost_mark_is_an_error(self):
        self.change("docs/configuration.md", "generated: settings", "")
        done = generate(self.copy, "--check")
        self.assertEqual(done.returncode, 1)
        self.assertIn("does not have the marks", done.stderr)


if __name__ == "__main__":
    unittest.main(argv=sys.argv[:1], verbosity=2)
