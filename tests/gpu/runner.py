# SPDX-License-Identifier: Apache-2.0
# Copyright the cuslice authors
#
# Runs rows one after the other within a budget. Whatever a row does, the next one is run.
import time
import traceback

from machine import Failed, OutOfTime, Skipped

# A row may take this much longer than estimated before it counts as hung.
PATIENCE = 4
LEAST_S = 20


class Row:
    """One line of the report.

    name      group.detail, or group alone; --rows takes either
    title     what holds where it passes
    estimate  seconds on a real GPU
    check     called with the machine; returns figures ({name: number or text}), raises Failed or
              Skipped
    """

    def __init__(self, name, title, estimate, check):
        self.name, self.title, self.estimate, self.check = name, title, estimate, check
        self.status, self.reason, self.figures, self.seconds = "skip", "not reached", {}, 0.0

    @property
    def group(self):
        return self.name.split(".")[0]

    def passed(self, figures):
        self.status, self.reason, self.figures = "pass", "", figures or {}

    def ended(self, status, reason, figures=None):
        self.status, self.reason, self.figures = status, reason, figures or {}


def figures_of(finding):
    """A finding may bring the figures that it is about."""
    return finding.args[1] if len(finding.args) > 1 else {}


def run_row(row, machine):
    try:
        row.passed(row.check(machine))
    except Skipped as reason:
        row.ended("skip", str(reason.args[0]), figures_of(reason))
    except OutOfTime:
        row.ended("skip", "the budget was used up while it ran")
    except Failed as failure:
        row.ended("fail", str(failure.args[0]), figures_of(failure))
    except Exception as error:  # a mistake in a row must not cost the others
        machine.log.write(traceback.format_exc())
        row.ended("fail", f"{type(error).__name__}: {error}")


def run_rows(rows, machine, budget_s, after_each=lambda: None):
    """Runs the rows in order; those whose estimate no longer fits are skipped, and say so. A row
    named "programs" that fails ends it: nothing else could run either."""
    start = time.monotonic()
    machine.budget_end = start + budget_s
    is_hopeless = False
    for row in rows:
        now = time.monotonic()
        if is_hopeless:
            row.ended("skip", "the programs do not run on this machine")
            continue
        if now + row.estimate > machine.budget_end:
            row.ended("skip", f"budget used up ({now - start:.0f} of {budget_s:.0f} s; "
                              f"it takes about {row.estimate} s)")
            continue
        machine.deadline = min(now + max(PATIENCE * row.estimate, LEAST_S), machine.budget_end)
        machine.log.write(f"\n==== {row.name}\n")
        run_row(row, machine)
        if row.status != "pass":
            machine.dismiss()  # workers that may be in the middle of something
        row.seconds = time.monotonic() - now
        is_hopeless = row.name == "programs" and row.status == "fail"
        after_each()
    machine.dismiss()
