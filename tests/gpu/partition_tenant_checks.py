# SPDX-License-Identifier: Apache-2.0
# Copyright the cuslice authors
#
# The row about two processes with parts of the SMs, without MPS: green contexts of the same SMs, of
# different ones, and beside them what turns give.
import tenant_checks as tenants
from driver_checks import judge
from machine import Failed, Skipped

BURN, COPY = "wide.burn", "wide.copy"  # bound by arithmetic, by memory
PAIRS = ((BURN, BURN), (COPY, COPY), (COPY, BURN))
# Who works side by side: bare, in green contexts, or in slices that take turns.
SETTINGS = {"none": ("bare", "bare2"), "same SMs": ("same", "same2"),
            "different SMs": ("first", "second"), "turns": ("a", "b")}
PARTS = {"same": 0, "same2": 0, "first": 0, "second": 1}  # index of the device's halves
TIME_MS = 1500
LEAST_SUM = 95.0     # % of what one has alone, by turns
# Of two on different SMs: docs/partition.md says that they have the GPU by turns all the same.
MOST_APART = 75.0
# How far the work of one on half of the SMs may be from their part of all: waves, clocks.
LEAST_PART, MOST_PART = 0.8, 1.2


def side_fleet(machine):
    half = (50, {"CUSLICE_MECHANISM": "time"})
    fleet = tenants.tenant_fleet(machine, "partition-tenants", {"a": half, "b": half})
    for who in PARTS:
        fleet.start(who, [machine.program("gpu-load")])
    return fleet


def confine(fleet):
    """How many SMs each has that has a part."""
    sms = tenants.number(fleet.workers["bare"].ask("half"), "sms")
    for who, index in PARTS.items():
        given = tenants.number(fleet.workers[who].ask(f"confine {sms} {index}"), "sms")
        if given == 0:
            raise Skipped(f"the driver gives no part {index} of {sms} SMs")
        if given != sms:
            raise Failed(f"{who}: {given} SMs instead of {sms}")
    return sms


def judge_sides(part, alone, sums, turns):
    """part     % of the SMs that each has that has a part
    alone    % of its work on all SMs that a program bound by arithmetic does on them alone
    sums     {setting: % of one alone on all SMs, of two bound by arithmetic}
    turns    {pair: (% of one, % of the other)}
    """
    claims = [
        (LEAST_PART * part <= alone <= MOST_PART * part,
         f"alone on {part:.1f} % of the SMs: {alone:.1f} % of the work"),
        (sums["different SMs"] <= MOST_APART,
         f"on different SMs together {sums['different SMs']:.1f} % of one alone: these overlap, "
         "which docs/partition.md denies"),
    ]
    for pair, work in turns.items():
        claims += [(abs(each - 50) <= tenants.MOST_OFF, f"turns, {pair}: {each:.2f} % with 50 %")
                   for each in work]
        claims.append((sum(work) >= LEAST_SUM, f"turns, {pair}: together {sum(work):.2f} %"))
    return claims


def check_tenants(machine):
    fleet = side_fleet(machine)
    part = 100 * confine(fleet) / tenants.number(fleet.workers["bare"].ask("sms"), "sms")
    bare = {workload: tenants.run_alone(fleet, workload) for workload in (BURN, COPY)}
    alone = {workload: 100 * tenants.rate_of(
        fleet.workers["first"].ask(f"run {workload} 200 700")) / bare[workload] for workload in bare}
    lines = [f"alone on {part:.1f} % of the SMs: {BURN} {alone[BURN]:.2f} %, {COPY} "
             f"{alone[COPY]:.2f} %", tenants.HEAD]
    sums, turns, figures = {}, {}, {}
    for setting, sides in SETTINGS.items():
        for pair in PAIRS:
            orders = dict(zip(sides, pair))
            answers, metered = tenants.run_beside(fleet, orders, TIME_MS)
            work = tenants.work_of(answers, orders, bare)
            name, total = ", ".join(pair), sum(work.values())
            lines.append(tenants.line_of(f"{setting}: {name}", work, answers, total, metered))
            if pair == (BURN, BURN):
                sums[setting] = total
                figures[setting] = " + ".join(f"{each:.1f}" for each in work.values()) + " %"
            if setting == "turns" and pair[0] == pair[1]:
                turns[name] = tuple(work.values())
    figures["alone on its part"] = f"{alone[BURN]:.1f} % of the work, {part:.1f} % of the SMs"
    figures["memory-bound alone on its part"] = f"{alone[COPY]:.1f} %"
    return judge(judge_sides(part, alone[BURN], sums, turns), {**figures, "table": lines})
