#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
# Copyright the cuslice authors
#
# Sees that sources.py finds what it is there to find, and nothing else.
import unittest

import sources

LICENCE = "/* SPDX-License-Identifier: Apache-2.0 */\n"


def offences(name, text):
    return [offence for _, offence in sources.offences_of(name, LICENCE + text)]


class Sources(unittest.TestCase):
    def test_clean_file_passes(self):
        self.assertEqual(offences("src/hooks/a.c", "int answer(void);\n"), [])

    def test_missing_licence_is_found(self):
        found = [offence for _, offence in sources.offences_of("src/a.c", "int a;\n")]
        self.assertEqual(found, ["no SPDX-License-Identifier: Apache-2.0"])

    def test_unfinished_work_is_found(self):
        self.assertEqual(offences("README.md", "TO" "DO: write\n"), ["unfinished"])

    def test_path_of_one_machine_is_found(self):
        self.assertEqual(offences("README.md", "cd /ro" "ot/x\n"), ["a path of one machine"])

    def test_variable_before_path_is_allowed(self):
        self.assertEqual(offences("a.sh", "cd $TREE/wo" "rk/x\n"), [])

    def test_getenv_is_found_only_where_it_is_forbidden(self):
        call = "char *a = getenv(name);\n"
        self.assertEqual(offences("src/hooks/a.c", call), ["getenv outside of the settings"])
        self.assertEqual(offences("src/config/a.c", call), [])

    def test_comments_and_strings_are_no_code(self):
        text = "/* never getenv(x)\n * nor dlsym(x, y) */\nchar a[] = \"getenv(\";\n"
        self.assertEqual(offences("src/hooks/a.c", text), [])

    def test_public_dlsym_is_found_but_not_the_real_one(self):
        self.assertEqual(offences("src/entry/a.c", "x = dlsym(a, b);\n"), ["the public dlsym"])
        self.assertEqual(offences("src/entry/a.c", "x = real_dlsym(a, b);\n"), [])
        self.assertEqual(offences("src/cli/a.c", "x = dlsym(a, b);\n"), [])

    def test_long_line_is_found_with_tabs_of_eight(self):
        self.assertEqual(offences("src/a.c", "\t" + "x" * 92 + "\n"), [])
        self.assertEqual(offences("src/a.c", "\t" + "x" * 93 + "\n"),
                         ["longer than 100 columns"])

    def test_long_file_is_found(self):
        self.assertEqual(offences("src/a.c", "\n" * 600), ["601 lines, 600 are allowed"])


if __name__ == "__main__":
    unittest.main()
