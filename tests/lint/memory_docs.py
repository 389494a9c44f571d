#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
# Copyright the cuslice authors
#
# docs/memory.md against the list of the driver's entry points and against the tests.
#
#   memory_docs.py TREE [DOCUMENT]    exit status 1 and one line for each offence
#
# A row whose second column begins with `not counted` or `nothing` claims no bytes and needs no test.
import csv
import pathlib
import re
import sys

# What takes or gives device memory, and host memory, which must be told apart from it.
CLASSES = {"alloc", "alloc-host", "alloc-implicit", "free", "free-host"}
ENTRY_POINT = re.compile(r"`(cu[A-Z]\w*)`")
TEST = re.compile(r"`(preload|unit|simgpu|lint)\.(\w+)(?:\.(\w+))?`")
WITHOUT_TEST = ("not counted", "nothing")


def allocating(tree):
    with open(tree / "tests/data/driver-entry-points.csv", encoding="utf-8") as file:
        return {row["symbol"] for row in csv.DictReader(file)
                if CLASSES & set(row["class"].split("|"))}


def rows(document):
    for line in document.splitlines():
        columns = [column.strip() for column in line.strip().strip("|").split("|")]
        if line.startswith("| `cu") and len(columns) == 3:
            yield columns


def files_of(tree, label, name):
    if label == "simgpu":
        folder, _, rest = name.partition("_")
        places = [tree / "tests/simgpu" / folder / f"test_{rest}.c"]
    else:
        places = [tree / "tests" / label / f"test_{name}.{end}" for end in ("c", "py")]
    return [place for place in places if place.exists()]


def offences_of_test(tree, label, name, function):
    found = files_of(tree, label, name)
    test = ".".join(filter(None, (label, name, function)))
    if not found:
        yield f"there is no test {test}"
    elif function and not any(re.search(rf"\b{function}\(", place.read_text(encoding="utf-8"))
                              for place in found):
        yield f"there is no test {test}: {found[0].name} has no such function"


def offences(tree, document):
    named = set()
    for entry_points, how, tests in rows(document):
        symbols = ENTRY_POINT.findall(entry_points)
        named.update(symbols)
        if not TEST.search(tests) and not how.startswith(WITHOUT_TEST):
            yield f"{symbols[0]} is counted and names no test"
        for label, name, function in TEST.findall(tests):
            yield from offences_of_test(tree, label, name, function)
    for symbol in sorted(allocating(tree) - named):
        yield f"{symbol} has no row"


def main():
    tree = pathlib.Path(sys.argv[1])
    document = pathlib.Path(sys.argv[2]) if len(sys.argv) > 2 else tree / "docs/memory.md"
    found = list(offences(tree, document.read_text(encoding="utf-8")))
    for offence in found:
        print(f"{document.name}: {offence}")
    return 1 if found else 0


if __name__ == "__main__":
    sys.exit(main())
