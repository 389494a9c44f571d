#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
# Copyright the cuslice authors
#
# usage: test_hooks_table.py TREE CUDA_INCLUDE COMPILER...
#
# Holds the hook table to what is known of the driver, and what is known to the toolkit's header:
#   hooks.def      each row is a known entry point, and its `since` is the version at which
#                  cuGetProcAddress gives this symbol
#   cuda.h         each function that it declares is in driver-entry-points.csv, so that those of
#                  a new toolkit show up here, unclassified
#   cuda_api.h     each row has a declaration (it would not compile otherwise; said more clearly)
import csv
import pathlib
import re
import subprocess
import sys

HOOK = re.compile(r"^HOOK\((\w+), (\d+), (FEATURE_\w+(?: \| FEATURE_\w+)*)\)$")
DECLARED = re.compile(r"\bCUresult\s+(cu[A-Z]\w*)\s*\(")


def hook_rows(path):
    """The rows of hooks.def: (symbol, since)."""
    text = re.sub(r"/\*.*?\*/", "", path.read_text(), flags=re.S)
    rows = []
    for line in filter(None, map(str.strip, text.splitlines())):
        match = HOOK.match(line)
        if not match:
            sys.exit(f"{path}: not a row: {line}")
        rows.append((match[1], int(match[2])))
    return rows


def read_csv(path):
    with path.open(newline="") as file:
        return list(csv.DictReader(file))


def declared_functions(include, compiler):
    """What cuda.h declares when names stand for themselves, as src/driver/cuda_api.h has it."""
    source = "#define __CUDA_API_VERSION_INTERNAL\n#include <cuda.h>\n"
    command = [*compiler, "-E", "-P", "-x", "c", f"-I{include}", "-"]
    text = subprocess.run(command, input=source, capture_output=True, text=True, check=True)
    return set(DECLARED.findall(text.stdout))


def main():
    tree = pathlib.Path(sys.argv[1])
    rows = hook_rows(tree / "src/driver/hooks.def")
    known = {row["symbol"] for row in read_csv(tree / "tests/data/driver-entry-points.csv")}
    versions = {
        row["abi_symbol"]: int(row["min_cuda_version"])
        for row in reversed(read_csv(tree / "tests/data/driver-procmap.csv"))
    }
    declared = declared_functions(sys.argv[2], sys.argv[3:])
    problems = []

    if len(rows) < 30 or len(known) < 600 or len(versions) < 500 or len(declared) < 500:
        problems.append(f"too little was read: {len(rows)} rows, {len(known)} entry points, "
                        f"{len(versions)} versions, {len(declared)} declarations")
    for symbol, since in rows:
        if symbol not in known:
            problems.append(f"hooks.def: {symbol} is not in driver-entry-points.csv")
        if symbol not in declared:
            problems.append(f"hooks.def: cuda.h does not declare {symbol}")
        if versions.get(symbol) != since:
            problems.append(f"hooks.def: {symbol} since {since}, "
                            f"but driver-procmap.csv says {versions.get(symbol)}")
    if len(set(rows)) != len(rows):
        problems.append("hooks.def: a row stands twice")
    for symbol in sorted(declared - known):
        problems.append(f"cuda.h: {symbol} is not classified in driver-entry-points.csv")

    print(f"{len(rows)} hooks, {len(declared)} declarations, {len(known)} known entry points")
    print("\n".join(problems))
    return 1 if problems else 0


if __name__ == "__main__":
    sys.exit(main())
