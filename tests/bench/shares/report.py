# SPDX-License-Identifier: Apache-2.0
# Copyright the cuslice authors
#
# The table, the same as JSON, and a plot.
import json
import os
import subprocess
from dataclasses import dataclass

import cells
import plot

# Name in the figures, what stands above it, decimals.
COLUMNS = (
    ("bare", "bare", 1), ("use", "use", 2), ("off", "off", 2), ("sd", "sd", 2),
    ("lowest", "lowest s", 1), ("highest", "highest s", 1), ("overshoot", "over", 1),
    ("stall_ms", "stall ms", 0), ("start_ms", "start ms", 1), ("work", "work", 1),
    ("sampled", "sampled", 1),
)
TABLE_HEAD = [
    "| share | length | pattern | " + " | ".join(title for _, title, _ in COLUMNS) + " | |",
    "|" + "---:|---:|---|" + "---:|" * len(COLUMNS) + "---|",
]
LEGEND = """\
A cell is a program that is held to *share* % of the GPU; a graph of 20 kernels takes *length* in all. Measured by
simgpu's account, from outside of the program and of the library; all but *start* leave out the beginning, in which the
burst is spent.

* *bare*: use of the GPU by the same program without the library, in %, measured in turns with the limited runs. *use*:
  of the limited program. *off*: its distance from what it may have, the share or what it uses bare. Medians of rounds.
* *sd*: standard deviation of windows of 1 s that follow each other. *lowest*, *highest s*: of all windows of 1 s,
  wherever they begin. *over*: by how much the highest is above the share; the burst alone, 20 ms or one kernel, may be
  2 points or more.
* *stall ms*: the longest time without any GPU time, to within 5 ms. *start ms*: GPU time beyond the share in the first
  second.
* *work*: kernels ended, in % of the part of the bare program's that the share stands for. *sampled*: launches
  that were measured by a pair of events, in %.
* The last column says *ok*, or what is missed. *2nd try*: the cell had missed, by what is told, and was measured once
  more.
"""


@dataclass
class Row:
    cell: cells.Cell
    figures: dict
    missed: str | None
    first_try: "Row | None" = None

    @property
    def off(self):
        return self.figures["use"] - min(self.cell.share, self.figures["bare"])

    def remark(self):
        words = f"**missed**: {self.missed}" if self.missed else "ok"
        if self.first_try:
            words += f", 2nd try: was {self.first_try.figures['use']:.2f} %"
        return words

    def as_json(self):
        load = self.cell.load
        return {"share": self.cell.share, "length_ns": load.length_ns, "pattern": load.pattern,
                "off": round(self.off, 3), "missed": self.missed,
                **{name: value if value is None else round(value, 3)
                   for name, value in self.figures.items()},
                "first_try": self.first_try.as_json() if self.first_try else None}


class Head:
    """When, on what and by which command; Markdown and JSON have the same."""

    def __init__(self, begun, argv):
        self.facts = {
            "date": begun.strftime("%Y-%m-%d %H:%M UTC"),
            "commit": commit(),
            "machine": machine(),
            "command": " ".join(["tests/bench/shares/shares.py", *without_places(argv)]),
            "priority": priority(),
            "load average": f"{os.getloadavg()[0]:.1f} at the beginning",
        }

    def end(self):
        self.facts["load average"] += f", {os.getloadavg()[0]:.1f} at the end"

    def lines(self):
        return [f"* {name}: {value}" for name, value in self.facts.items()]


def without_places(argv):
    """Where it was built and where this is written to tells nothing."""
    kept = [(i, word) for i, word in enumerate(argv) if word not in ("--build", "--out")]
    return [word for i, word in kept if i == 0 or argv[i - 1] not in ("--build", "--out")]


def priority():
    if os.sched_getscheduler(0) in (os.SCHED_RR, os.SCHED_FIFO):
        return "real-time, so that other work on the computer does not count"
    return f"nice {os.getpriority(os.PRIO_PROCESS, 0)}"


def commit():
    """The last one that changed the library."""
    def git(*arguments):
        return subprocess.run(["git", "-C", os.path.dirname(os.path.abspath(__file__)),
                               *arguments], capture_output=True, text=True, check=False).stdout

    try:
        name = git("log", "-1", "--format=%h", "--", ":/src").strip() or "unknown"
        changed = git("status", "--porcelain", "--untracked-files=no", ":/src").strip()
    except FileNotFoundError:
        return "unknown"
    return name + (", with changes" if changed else "")


def machine():
    model = "processor unknown"
    with open("/proc/cpuinfo", encoding="utf-8") as lines:
        for line in lines:
            if line.startswith("model name"):
                model = line.partition(":")[2].strip()
                break
    return f"{model}, {os.cpu_count()} cores; no GPU: simgpu"


def figure_text(value, decimals):
    return "-" if value is None else f"{value:.{decimals}f}"


def line_of(row):
    values = {**row.figures, "off": row.off}
    cells_of_line = [f"{row.cell.share:g}", cells.length_text(row.cell.load.length_ns),
                     row.cell.load.pattern]
    cells_of_line += [figure_text(values[name], decimals) for name, _, decimals in COLUMNS]
    return "| " + " | ".join([*cells_of_line, row.remark()]) + " |"


def total_of(rows):
    missed = sum(row.missed is not None for row in rows)
    again = sum(row.first_try is not None for row in rows)
    return f"{len(rows)} cells: {len(rows) - missed} hold, {missed} missed; {again} measured twice"


def write_json(path, head, rows):
    with open(path, "w", encoding="utf-8") as file:
        json.dump({**head.facts, "rows": rows}, file, indent=1)
        file.write("\n")


def write(folder, name, head, rows):
    os.makedirs(folder, exist_ok=True)
    path = os.path.join(folder, name)
    has_plot = plot.write(path + ".png", rows)
    lines = ["# Shares on simgpu", "", *head.lines(), "", total_of(rows), ""]
    if has_plot:
        lines += [f"![use against share, windows of 1 s]({name}.png)", ""]
    with open(path + ".md", "w", encoding="utf-8") as file:
        file.write("\n".join([*lines, *TABLE_HEAD, *map(line_of, rows), "", LEGEND]))
    write_json(path + ".json", head, [row.as_json() for row in rows])
