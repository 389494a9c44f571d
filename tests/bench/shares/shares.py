#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
# Copyright the cuslice authors
#
# Measures what share of a simulated GPU programs get that cuslice holds to one, and judges it:
# a matrix of shares, lengths of kernels and patterns, or suites of tenants side by side.
# docs/testing.md says how; --help names the options. Exit status 0; 1 where a cell or a claim
# misses, 2 for a wrong command line, 3 where nothing could be measured.
import argparse
import os
import sys
from dataclasses import replace
from datetime import datetime, timezone

import cells
import changes
import checks
import report
import sharing
import tenants
from figures import Limits, cell_figures, figures_of, verdict_of
from machine import Bench, Failed

TREE = os.path.dirname(os.path.dirname(os.path.dirname(os.path.dirname(
    os.path.abspath(__file__)))))
SUITES = {"together": sharing.together, "latency": sharing.latency, "long": sharing.long,
          "borrow": changes.borrow, "change": changes.change,
          "holder": changes.holder, "kills": changes.kills}
MISSED, NOT_MEASURED = 1, 3
SPARE_S = 0.3  # a program's time beyond what is measured: its start, and the last window


def variable_of(text):
    name, equals, value = text.partition("=")
    if not name or not equals:
        raise argparse.ArgumentTypeError(f'"{text}": NAME=VALUE is needed')
    return name, value


def suite_of(text):
    if text not in (*SUITES, "all"):
        raise argparse.ArgumentTypeError(f'"{text}": a suite is {", ".join(SUITES)} or all')
    return text


def seconds_of(text):
    try:
        seconds = float(text)
    except ValueError:
        seconds = 0
    if not 0.1 <= seconds <= 3600:
        raise argparse.ArgumentTypeError(f'"{text}": seconds from 0.1 to 3600 are needed')
    return seconds


def parse_arguments(argv):
    parser = argparse.ArgumentParser(
        prog="tests/bench/shares/shares.py",
        description="Measures the shares of programs on simgpu, by simgpu's own account.")
    add = parser.add_argument
    add("--build", default=os.path.join(TREE, "build"), metavar="DIR", help="default: build")
    add("--cells", type=cells.list_of(cells.cell_of), metavar="SHARE:LENGTH:PATTERN,...",
        help="exactly these, instead of the matrix of the three options that follow")
    add("--shares", type=cells.list_of(cells.share_of), metavar="PERCENT,...",
        default=[5.0, 10.0, 25.0, 30.0, 50.0, 70.0, 90.0], help="default: 5,10,25,30,50,70,90")
    add("--lengths", type=cells.list_of(cells.length_of), metavar="TIME,...",
        default=[100_000, 1_000_000, 10_000_000], help="default: 100us,1ms,10ms")
    add("--patterns", type=cells.list_of(cells.pattern_of), metavar="NAME,...",
        default=list(cells.PATTERNS), help=f"of {', '.join(cells.PATTERNS)}; default: all")
    add("--blocks", type=int, default=32, choices=range(1, 4097), metavar="N",
        help="of 1024 threads each, of a kernel; an SM has room for two. Default: 32")
    add("--sm-count", type=int, default=132, choices=range(1, 4097), metavar="N",
        help="SMs of the machine; default: 132")
    add("--seconds", type=seconds_of, default=10.0, metavar="S",
        help="measured of each cell, over all rounds; default: 10")
    add("--rounds", type=int, default=2, choices=range(1, 21), metavar="N",
        help="bare and limited in turns, so often; default: 2")
    add("--warmup", type=seconds_of, default=0.5, metavar="S",
        help="from the first use of the GPU on, not measured; default: 0.5")
    add("--tolerance", type=float, default=1.0, metavar="POINTS", help="default: 1")
    add("--keeps", type=float, default=97.0, metavar="PERCENT",
        help="of what it may have, for a program that is bound by its host; default: 97")
    add("--sd", type=float, default=2.0, metavar="POINTS",
        help="most that windows of a second may vary; default: 2")
    add("--stall", type=float, default=200.0, metavar="MS",
        help="longest time without the GPU, from 10 %% on; default: 200")
    add("--suites", type=cells.list_of(suite_of), metavar="NAME,...",
        help=f"tenants side by side, of {', '.join(SUITES)}, or all; instead of the matrix")
    add("--quick", action="store_true", help="a small part of each suite")
    add("--only", default="", metavar="TEXT", help="cases of suites whose name contains it")
    add("--once", action="store_true", help="a case of a suite that misses is not measured again")
    add("--room", type=float, default=0.0, metavar="N",
        help="points, percent or ms that a suite's targets are missed by at most; default: 0")
    add("--seed", type=int, default=1, metavar="N", help="of what is done at random; default: 1")
    add("--tenants", type=cells.list_of(cells.tenants_of), metavar="SHARE[PATTERN][@TIME]:...,...",
        help="programs side by side, such as 50:50,70queue:30requests@1ms; kernels take 1ms "
             "where nothing else is said. Reported, not judged")
    add("--set", action="append", type=variable_of, default=[], metavar="NAME=VALUE",
        help="a variable for the limited programs; repeatable")
    add("--out", metavar="DIR", help="writes DIR/NAME.md, .json and, with matplotlib, .png")
    add("--name", default="shares-simgpu", help="default: shares-simgpu")
    return parser.parse_args(argv)


def sampled_of(said):
    """Launches around which others than the program recorded a pair of events, in %."""
    return 100 * said["records_of_others"] / 2 / said["launches"]


class Measurer:
    def __init__(self, bench, options):
        self.bench = bench
        self.options = options
        self.run_s = options.seconds / options.rounds
        # A bare program has no windows that would be too short.
        self.bare_s = min(max(1.0, self.run_s / 2), 3.0)

    def run(self, load, share, seconds):
        """The figures of one run; once more where the machine did not let it run."""
        warmup_s = self.options.warmup
        for _ in range(2):
            (trace, said), = self.bench.run([(load, share)], warmup_s + seconds + SPARE_S)
            figures = figures_of(trace, warmup_s, seconds, share or 100)
            if figures:
                return figures | {"sampled": sampled_of(said)}
        raise Failed(f"{load}: too little of a run was seen")

    def measure(self, some_cells):
        """Figures of cells of one load, bare and limited in turns."""
        load = some_cells[0].load
        bare, limited = [], {cell: [] for cell in some_cells}
        for _ in range(self.options.rounds):
            bare.append(self.run(load, None, self.bare_s))
            for cell in some_cells:
                limited[cell].append(self.run(load, cell.share, self.run_s))
        return {cell: cell_figures(cell.share, bare, runs) for cell, runs in limited.items()}

    def judged(self, cell, figures):
        options = self.options
        limits = Limits(options.tolerance, options.keeps, options.sd, options.stall)
        return report.Row(cell, figures, verdict_of(cell.share, limits, figures))

    def rows_of(self, some_cells):
        """One that misses is measured once more, and says so: the machine is shared with others.
        What the first try gave is kept."""
        for cell, figures in self.measure(some_cells).items():
            row = self.judged(cell, figures)
            if row.missed:
                first = row
                row = self.judged(cell, self.measure([cell])[cell])
                row.first_try = first
            yield row


def by_load(some_cells):
    loads = {}
    for cell in some_cells:
        loads.setdefault(cell.load, []).append(cell)
    return loads.values()


def measure_matrix(bench, options, head):
    measurer = Measurer(bench, options)
    chosen = options.cells or cells.matrix(options.shares, options.lengths, options.patterns)
    chosen = [cells.Cell(cell.share, replace(cell.load, blocks=options.blocks)) for cell in chosen]
    rows = []
    print("\n".join(report.TABLE_HEAD))
    for group in by_load(chosen):
        for row in measurer.rows_of(group):
            rows.append(row)
            print(report.line_of(row), flush=True)
    head.end()
    print(report.total_of(rows))
    if options.out:
        report.write(options.out, options.name, head, rows)
    return MISSED if any(row.missed for row in rows) else 0


def measure_tenants(bench, options, head):
    rows = tenants.measure(bench, options)
    head.end()
    print("\n".join(tenants.table_of(rows)))
    if options.out:
        tenants.write(options.out, options.name, head, rows)
    return 0


def measure_suites(bench, options, head):
    names = SUITES if "all" in options.suites else dict.fromkeys(options.suites)
    found = []
    print("\n".join(checks.TABLE_HEAD))
    for name in names:
        found += checks.run_suite(name, SUITES[name](bench, options), not options.once,
                                  options.only)
    head.end()
    print(checks.total_of(found))
    if options.out:
        checks.write(options.out, options.name, head, found)
    return MISSED if any(check.is_missed for check in found) else 0


def measure_chosen(bench, options, head):
    if options.tenants:
        return measure_tenants(bench, options, head)
    return (measure_suites if options.suites else measure_matrix)(bench, options, head)


def main(argv):
    options = parse_arguments(argv)
    head = report.Head(datetime.now(timezone.utc), argv)
    try:
        bench = Bench(os.path.abspath(options.build), dict(options.set),
                      [f"sm_count={options.sm_count}"])
        return measure_chosen(bench, options, head)
    except Failed as failed:
        print(f"shares.py: {failed}", file=sys.stderr)
        return NOT_MEASURED


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
