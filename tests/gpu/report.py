# SPDX-License-Identifier: Apache-2.0
# Copyright the cuslice authors
#
# tests/gpu/run.sh: runs the rows, writes report.md and report.json, prints the table last.
import argparse
import json
import os
import re
import sys

import rows
from machine import Machine, TREE, facts_of
from runner import run_rows

SIGNS = {"pass": "pass", "fail": "FAIL", "skip": "skip"}


def seconds_of(text):
    found = re.fullmatch(r"(\d+(?:\.\d+)?)(s|m|h)?", text)
    if not found:
        raise argparse.ArgumentTypeError(f'"{text}": a time such as 90s or 5m is needed')
    return float(found.group(1)) * {"s": 1, "m": 60, "h": 3600}[found.group(2) or "s"]


def names_of(text):
    return set(text.split(","))


def parse_arguments(argv):
    parser = argparse.ArgumentParser(
        prog="tests/gpu/run.sh", description="Checks cuslice on this machine's GPU.")
    parser.add_argument("--build", default=os.path.join(TREE, "build"), metavar="DIR",
                        help="build folder, may be a copy (default: build)")
    parser.add_argument("--budget", type=seconds_of, default=300.0, metavar="TIME",
                        help="end within this time: 90s, 5m (default: 5m)")
    parser.add_argument("--out", metavar="DIR",
                        help="folder of the report (default: gpu-report in the build folder)")
    parser.add_argument("--rows", type=names_of, default=set(), metavar="NAME,...",
                        help="only these rows or groups of rows")
    parser.add_argument("--without", type=names_of, default=set(), metavar="NAME,...",
                        help="all but these")
    parser.add_argument("--commit", metavar="NAME",
                        help="what was built, where neither the build nor git tells")
    parser.add_argument("--list", action="store_true", help="list the rows and end")
    parser.add_argument("--simgpu", action="store_true",
                        help="on the simulated machine, as far as that goes")
    parser.add_argument("--set", action="append", default=[], metavar="KEY=VALUE",
                        help="a setting of the simulated machine; repeatable")
    return parser.parse_args(argv)


def refuse(text):
    print(f"tests/gpu/run.sh: {text}", file=sys.stderr)
    sys.exit(2)


def choose(all_rows, wanted, unwanted):
    """Without the programs no other row would mean anything, so that one is always run."""
    unknown = (wanted | unwanted) - {row.name for row in all_rows} - {row.group for row in all_rows}
    if unknown:
        refuse(f"no row {', '.join(sorted(unknown))}; --list names them")
    return [row for row in all_rows if row.name == "programs" or
            (not wanted or {row.name, row.group} & wanted) and
            not {row.name, row.group} & unwanted]


def figures_text(figures):
    return ", ".join(f"{name} {value}" for name, value in figures.items()
                     if not isinstance(value, (list, dict)))


def table_of(some_rows):
    lines = [f"{'row':<30} {'':<4} {'s':>5}  "]
    for row in some_rows:
        said = row.reason or figures_text(row.figures)
        said = said if len(said) <= 88 else said[:85] + "..."
        lines.append(f"{row.name:<30} {SIGNS[row.status]:<4} {row.seconds:>5.1f}  {said}".rstrip())
    return lines


def total_of(some_rows):
    count = {status: sum(row.status == status for row in some_rows) for status in SIGNS}
    return f"{count['pass']} passed, {count['fail']} failed, {count['skip']} skipped"


def markdown_of(facts, some_rows):
    lines = ["# cuslice on a GPU", "", "| | |", "|---|---|"]
    lines += [f"| {name} | {value} |" for name, value in facts.items()]
    lines += ["", total_of(some_rows), "", "| row | holds | result | figures |", "|---|---|---|---|"]
    for row in some_rows:
        said = "; ".join(text for text in (row.reason, figures_text(row.figures)) if text)
        lines.append(f"| {row.name} | {row.title} | {row.status} | {said.replace('|', '/')} |")
    for row in some_rows:
        for name, value in row.figures.items():
            if isinstance(value, list):
                lines += ["", f"## {row.name}: {name}", "", "```", *map(str, value), "```"]
    return "\n".join(lines) + "\n"


def write_report(out, facts, some_rows):
    """Written whole after each row, so that a machine that is taken away leaves what was found."""
    with open(os.path.join(out, "report.md"), "w", encoding="utf-8") as file:
        file.write(markdown_of(facts, some_rows))
    with open(os.path.join(out, "report.json"), "w", encoding="utf-8") as file:
        json.dump({"facts": facts, "rows": [
            {"name": row.name, "title": row.title, "status": row.status, "reason": row.reason,
             "seconds": round(row.seconds, 2), "figures": row.figures} for row in some_rows]},
                  file, indent=1)


def main(argv):
    arguments = parse_arguments(argv)
    chosen = choose(rows.all_rows(), arguments.rows, arguments.without)
    if arguments.list:
        for row in chosen:
            print(f"{row.name:<30} {row.estimate:>4} s  {row.title}")
        return 0
    if not os.path.isdir(arguments.build):
        refuse(f"no build folder {arguments.build}; --build names it")
    arguments.out = arguments.out or os.path.join(arguments.build, "gpu-report")
    machine = Machine(arguments.build, arguments.out, arguments.simgpu, arguments.set)
    facts = facts_of(machine)
    facts["commit"] = arguments.commit or facts["commit"]
    facts["command"] = " ".join(["tests/gpu/run.sh", *argv])
    run_rows(chosen, machine, arguments.budget,
             lambda: write_report(arguments.out, facts, chosen))
    write_report(arguments.out, facts, chosen)
    print("\n".join(f"{name}: {value}" for name, value in facts.items()))
    print(f"report: {os.path.join(arguments.out, 'report.md')}\n")
    for row in chosen:
        if row.status == "fail":
            print(f"{row.name}: {row.reason}\n")
    print("\n".join(table_of(chosen)))
    print(total_of(chosen))
    is_good = all(row.status != "fail" for row in chosen)
    return 0 if is_good and sum(row.status == "pass" for row in chosen) > 1 else 1


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
