# SPDX-License-Identifier: Apache-2.0
# Copyright the cuslice authors
#
# What a suite finds out: claims with a target and what was measured, and how they are told.
import os
from dataclasses import asdict, dataclass

import plot
import report
from machine import Failed, TooLittle
from stalls import Stalls

TABLE_HEAD = ["| suite | case | what | target | measured | |", "|---|---|---|---|---:|---|"]
LEGEND = """\
Programs that share a GPU, each held to its share, in % of the device's time by simgpu's account: from outside of the
programs and of the library. A tenant is its share and what it does; its kernels take 1 ms where nothing else is said. What
is measured of several tenants is measured while all of them are at work. [testing.md](../testing.md#shares) tells what each
suite does.

The last column says *ok*, or that the target is missed. *2nd try*: a claim of the case had been missed and the whole case
was measured once more; what the first try gave is told. More tries than two there are only where the computer was seen to
stand still meanwhile, as a virtual one does when its host serves others.
"""

MOST_TRIES = 5
ORDINALS = {2: "2nd", 3: "3rd"}


@dataclass
class Check:
    what: str
    target: str
    measured: float
    unit: str
    is_missed: bool
    case: str = ""
    suite: str = ""
    first_try: float | None = None
    tries: int = 1

    def text(self):
        return f"{self.measured:.2f} {self.unit}"

    def remark(self):
        words = "**missed**" if self.is_missed else "ok"
        if self.first_try is not None:
            ordinal = ORDINALS.get(self.tries, f"{self.tries}th")
            words += f", {ordinal} try: was {self.first_try:.2f}"
        return words


def within(what, measured, wanted, points):
    is_missed = abs(measured - wanted) > points
    return Check(what, f"{wanted:g} ± {points:g} %", measured, "%", is_missed)


def at_least(what, measured, least, unit="%"):
    return Check(what, f"≥ {least:.1f} {unit}", measured, unit, measured < least)


def at_most(what, measured, most, unit="%"):
    return Check(what, f"≤ {most:.2f} {unit}", measured, unit, measured > most)


def line_of(check):
    return "| " + " | ".join([check.suite, check.case, check.what, check.target, check.text(),
                              check.remark()]) + " |"


def total_of(found):
    missed = sum(check.is_missed for check in found)
    again = len({(check.suite, check.case) for check in found if check.first_try is not None})
    return f"{len(found)} claims: {len(found) - missed} hold, {missed} missed; " \
           f"{again} cases measured twice"


def table_of(found):
    return TABLE_HEAD + [line_of(check) for check in found]


def measure_patiently(measure):
    """What cannot be measured misses as well."""
    for is_last in (False, True):
        try:
            return measure()
        except TooLittle as failed:
            if is_last:
                return [failure_of(failed)]
        except Failed as failed:
            return [failure_of(failed)]


def failure_of(failed):
    text = " ".join(str(failed).replace("|", "/").split())
    return Check(f"not measured: {text}", "is measured", 0, "", True)


def measure_case(measure, is_repeated=True, stalls=Stalls):
    """One that misses is measured once more, and says so: the machine is shared with others. It is
    measured again as long as the computer stands still meanwhile, a few times."""
    first, tries = {}, 0
    while True:
        with stalls() as seen:
            found = measure_patiently(measure)
        tries += 1
        if not is_repeated or not any(check.is_missed for check in found) or \
                tries == MOST_TRIES or (tries > 1 and not seen.stood_still()):
            break
        first = first or {check.what: check.measured for check in found}
    for check in found:
        check.first_try, check.tries = first.get(check.what), tries
    return found


def run_suite(suite, cases, is_repeated, wanted=""):
    """cases: pairs of a name and a function that returns Checks; only those whose name contains
    `wanted`."""
    found = []
    for name, measure in cases:
        if wanted not in name:
            continue
        of_case = measure_case(measure, is_repeated)
        for check in of_case:
            check.suite, check.case = suite, name
            print(line_of(check), flush=True)
        found += of_case
    return found


def write(folder, name, head, found):
    os.makedirs(folder, exist_ok=True)
    path = os.path.join(folder, name)
    lines = ["# Tenants on simgpu", "", *head.lines(), "", total_of(found), ""]
    if plot.write_claims(path + ".png", found):
        lines += [f"![what tenants use against what they may]({name}.png)", ""]
    with open(path + ".md", "w", encoding="utf-8") as file:
        file.write("\n".join([*lines, *table_of(found), "", LEGEND]))
    report.write_json(path + ".json", head, [asdict(check) for check in found])
