#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
# Copyright the cuslice authors
#
# docs/compute.md against the list of the driver's entry points, the hooks and the tests.
#
#   compute_docs.py TREE [DOCUMENT]    exit status 1 and one line for each offence
#
# The second column of a row begins with what the third has to show: `billed` and `changes` are hooked
# for compute, `free` and `not gateable` are not.
import csv
import pathlib
import re
import sys

import memory_docs

CLASSES = {"submit", "graph"}
HOOK = re.compile(r"^HOOK\((\w+), \d+, (.*)\)$", re.M)
HOOKED = {"billed": True, "changes": True, "free": False, "not gateable": False}


def submitting(tree):
    with open(tree / "tests/data/driver-entry-points.csv", encoding="utf-8") as file:
        return {row["symbol"] for row in csv.DictReader(file)
                if CLASSES & set(row["class"].split("|"))}


def hooked(tree):
    rows = HOOK.findall((tree / "src/driver/hooks.def").read_text(encoding="utf-8"))
    return {symbol for symbol, features in rows if "FEATURE_COMPUTE" in features}


def treatments(document):
    """Of each symbol how its row begins, or None."""
    for entry_points, how, tests in memory_docs.rows(document):
        begins = next((word for word in HOOKED if how.startswith(word)), None)
        for symbol in memory_docs.ENTRY_POINT.findall(entry_points):
            yield symbol, begins, tests


def offences(tree, document):
    ours = hooked(tree)
    seen = set()
    for symbol, begins, tests in treatments(document):
        if symbol in seen:
            yield f"{symbol} has two rows"
        seen.add(symbol)
        if begins is None:
            yield f"{symbol} is not said to be one of {', '.join(HOOKED)}"
        elif HOOKED[begins] != (symbol in ours):
            yield f"{symbol} is {begins}, and hooks.def " \
                  f"{'routes' if symbol in ours else 'does not route'} it for compute"
        if not memory_docs.TEST.search(tests):
            yield f"{symbol} names no test"
        for label, name, function in memory_docs.TEST.findall(tests):
            yield from memory_docs.offences_of_test(tree, label, name, function)
    for symbol in sorted(submitting(tree) - seen):
        yield f"{symbol} has no row"


def main():
    tree = pathlib.Path(sys.argv[1])
    document = pathlib.Path(sys.argv[2]) if len(sys.argv) > 2 else tree / "docs/compute.md"
    found = sorted(set(offences(tree, document.read_text(encoding="utf-8"))))
    for offence in found:
        print(f"{document.name}: {offence}")
    return 1 if found else 0


if __name__ == "__main__":
    sys.exit(main())
