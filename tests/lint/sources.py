#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
# Copyright the cuslice authors
#
# Rules for the source tree that no compiler knows.
#
#   sources.py TREE    exit status 1 and one line for each offence
import os
import re
import sys

TEXT = (".c", ".h", ".S", ".def", ".py", ".sh", ".cu", ".md", ".txt", ".cmake", ".json")
WITH_LICENCE = (".c", ".h", ".S", ".def", ".py", ".sh", ".cu")
LONGEST_FILE = 600
LONGEST_LINE = 100

# Written apart, so that this file does not offend itself.
UNFINISHED = re.compile(r"\b(TO" r"DO|FIX" r"ME|XX" r"X)\b")
OF_ONE_MACHINE = re.compile(r"(?<![\w.$}*])/(?:wo" r"rk|ho" r"me|ro" r"ot)/\w")

# The environment is read once, by config; a program may change it in another thread later on.
WITHOUT_GETENV = ("src/hooks/", "src/governor/", "src/ledger/")
GETENV = re.compile(r"\b(?:secure_)?getenv\s*\(|\benviron\b")

# Our own dlsym is what programs call; the library itself asks the real one (driver/real_dl.h).
PUBLIC_DLSYM = re.compile(r"(?<![\w_])dlv?sym\s*\(")
COMMENT = re.compile(r"/\*.*?\*/|//[^\n]*|\"(?:\\.|[^\"\\\n])*\"", re.DOTALL)


def files(tree):
    for folder, folders, names in os.walk(tree):
        folders[:] = sorted(name for name in folders
                            if not re.match(r"\.git$|\.deps$|build|shared$|__pycache__$", name))
        for name in sorted(names):
            path = os.path.join(folder, name)
            if name.endswith(TEXT) or is_script(path):
                yield os.path.relpath(path, tree), path


def is_script(path):
    with open(path, "rb") as file:
        return file.read(2) == b"#!"


def blank(match):
    return "\n" * match.group().count("\n")


def in_code(pattern, text):
    """Line numbers where pattern stands in C code, neither in a comment nor in a string."""
    code = COMMENT.sub(blank, text)
    return [code.count("\n", 0, match.start()) + 1 for match in pattern.finditer(code)]


def in_lines(pattern, text):
    return [number for number, line in enumerate(text.splitlines(), 1) if pattern.search(line)]


def offences_of(name, text):
    if name.endswith(WITH_LICENCE) or text.startswith("#!"):
        if "SPDX-License-Identifier: Apache-2.0" not in text[:300]:
            yield 1, "no SPDX-License-Identifier: Apache-2.0"
    for number in in_lines(UNFINISHED, text):
        yield number, "unfinished"
    for number in in_lines(OF_ONE_MACHINE, text):
        yield number, "a path of one machine"
    if name.endswith((".c", ".h")):
        yield from size_offences_of(text)
    if name.startswith("src/") and name.endswith(".c"):
        if not name.startswith("src/cli/"):
            for number in in_code(PUBLIC_DLSYM, text):
                yield number, "the public dlsym"
        if name.startswith(WITHOUT_GETENV):
            for number in in_code(GETENV, text):
                yield number, "getenv outside of the settings"


def size_offences_of(text):
    lines = text.splitlines()
    if len(lines) > LONGEST_FILE:
        yield LONGEST_FILE, f"{len(lines)} lines, {LONGEST_FILE} are allowed"
    for number, line in enumerate(lines, 1):
        if len(line.expandtabs(8)) > LONGEST_LINE:
            yield number, f"longer than {LONGEST_LINE} columns"


def main(tree):
    count = 0
    for name, path in files(tree):
        with open(path, encoding="utf-8") as file:
            text = file.read()
        for number, offence in offences_of(name, text):
            print(f"{name}:{number}: {offence}")
            count += 1
    return 1 if count else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1]))
