# SPDX-License-Identifier: Apache-2.0
# Copyright the cuslice authors
#
# Several programs on one GPU, each with a share of its own. What happens is reported, not judged:
# the suites do that.
import os
from dataclasses import replace

import report
from figures import NS_PER_MS, all_begun_ns, figures_of, sd_of

# The programs start together; none is measured before the last has begun or after the first ends.
SPARE_S = 1.0

TABLE_HEAD = [
    "| tenants | tenant | share | pattern | alone | use | off | sd | sum | p50 ms | p99 ms "
    "| alone p50, p99 ms | bare p50, p99 ms |",
    "|---|---:|---:|---|---:|---:|---:|---:|---:|---:|---:|---|---|",
]
LEGEND = """\
Programs that share a GPU, each held to its *share*. *alone*: its use of the GPU in % with the same share and nobody
beside it. *use*: beside the others; *off*: its distance from the share, or from *alone* where that is less. *sd*: of
windows of 1 s. *sum*: of all tenants. *p50*, *p99*: of requests, 1 launch every 10 ms, from when it was due to its end;
*alone* with the share and nobody beside it, *bare* without the library too.
"""


def run(bench, options, programs):
    spare_s = SPARE_S if len(programs) > 1 else 0.3
    done = bench.run(programs, options.warmup + options.seconds + spare_s)
    begun_ns = all_begun_ns([trace for trace, _ in done]) or 0
    return [(figures_of(trace, options.warmup, options.seconds, share or 100, begun_ns) or {}, said)
            for (trace, said), (_, share) in zip(done, programs)]


def row_of(tenant, alone, bare, together, total):
    (figures, said), (figures_alone, said_alone), said_bare = together, alone, bare[1]
    use, use_alone = figures.get("use", 0.0), figures_alone.get("use", 0.0)
    return {
        "share": tenant.share, "pattern": tenant.load.pattern, "alone": use_alone, "use": use,
        "off": use - min(tenant.share, use_alone), "sd": sd_of(figures.get("windows", ())),
        "sum": total,
        **{f"{name}_ms": said[f"{name}_ns"] / NS_PER_MS if f"{name}_ns" in said else None
           for name in ("p50", "p99")},
        **{f"{name}_{side}_ms": of[f"{name}_ns"] / NS_PER_MS if f"{name}_ns" in of else None
           for name in ("p50", "p99") for side, of in (("alone", said_alone), ("bare", said_bare))},
    }


def measure(bench, options):
    """A list of pairs: the tenants as they were asked for, and a row of each."""
    measured = []
    for tenants in options.tenants:
        programs = [(replace(tenant.load, blocks=options.blocks), tenant.share)
                    for tenant in tenants]
        alone = {program: run(bench, options, [program])[0] for program in programs}
        bare = {load: run(bench, options, [(load, None)])[0] for load, _ in programs}
        together = run(bench, options, programs)
        total = sum(figures.get("use", 0.0) for figures, _ in together)
        measured.append((tenants, [
            row_of(tenant, alone[program], bare[program[0]], this, total)
            for tenant, program, this in zip(tenants, programs, together)]))
    return measured


def name_of(tenants):
    return ":".join(map(str, tenants))


def line_of(tenants, number, row):
    def text(name, decimals=2):
        return report.figure_text(row[name], decimals)

    return "| " + " | ".join([
        name_of(tenants), str(number), f"{row['share']:g}", row["pattern"], text("alone"),
        text("use"), text("off"), text("sd"), text("sum"), text("p50_ms"), text("p99_ms"),
        f"{text('p50_alone_ms')}, {text('p99_alone_ms')}",
        f"{text('p50_bare_ms')}, {text('p99_bare_ms')}"]) + " |"


def table_of(measured):
    return TABLE_HEAD + [line_of(tenants, number, row) for tenants, rows in measured
                         for number, row in enumerate(rows, 1)]


def write(folder, name, head, measured):
    os.makedirs(folder, exist_ok=True)
    path = os.path.join(folder, name)
    with open(path + ".md", "w", encoding="utf-8") as file:
        file.write("\n".join(["# Tenants on simgpu", "", *head.lines(), "",
                              *table_of(measured), "", LEGEND]))
    report.write_json(path + ".json", head, [
        {"tenants": name_of(tenants), "rows": rows} for tenants, rows in measured])
