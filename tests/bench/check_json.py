#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
# Copyright the cuslice authors
#
# Runs the benchmark quickly and looks whether its JSON says all that it has to.
#
#   check_json.py BENCH [OPTION...]    exit status 1 and one line for each thing that is missing
import json
import subprocess
import sys

# A driver that grants everything cannot be asked what it refuses.
MAY_LACK_BARE = {"refused", "refused-group"}


def rows_of(bench):
    listed = subprocess.run([bench, "--list"], check=True, stdout=subprocess.PIPE, text=True)
    return [line.split()[0] for line in listed.stdout.splitlines()]


def problems_of_side(side):
    if not 0 < side["min"] <= side["median"] <= side["p99"] <= side["max"]:
        return "min, median, p99 and max are not in order"
    if "single_p99" in side and not 0 < side["single_median"] <= side["single_p99"]:
        return "the single calls are not in order"
    return None


def problems_of(report, names):
    found = {row["name"]: row for row in report["rows"]}
    for name in names:
        if name not in found:
            yield f"{name} is missing"
            continue
        for side in ("bare", "sliced"):
            if found[name][side] is None:
                if side == "sliced" or name not in MAY_LACK_BARE:
                    yield f"{name}: {side} was not measured"
                continue
            problem = problems_of_side(found[name][side])
            if problem:
                yield f"{name}: {side}: {problem}"
    if not report["device"] or report["clock_ns"] < 0 or report["batches"] < 1:
        yield "the head is not complete"


def main(bench, *options):
    done = subprocess.run([bench, "--quick", "--json", "-", *options], check=False,
                          stdout=subprocess.PIPE, text=True)
    if done.returncode != 0:
        print(f"exit status {done.returncode}")
        return 1
    problems = list(problems_of(json.loads(done.stdout), rows_of(bench)))
    print("\n".join(problems))
    return 1 if problems else 0


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
