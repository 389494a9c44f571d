# SPDX-License-Identifier: Apache-2.0
# Copyright the cuslice authors
#
# Rows about each family of device memory: what it takes of the device, as a process without the
# library sees it, beside what is charged for it.
from driver_checks import judge, rows_of
from machine import Skipped

FAMILIES = ("linear", "pitch", "managed", "array", "mipmap", "pool", "vmm", "graph", "module",
            "context", "heap")
# Bytes that may be taken and not charged: a block of the driver that is not full.
ALLOWANCE = 2 << 20


def line_text(line):
    if line["result"] != "CUDA_SUCCESS":
        return f"{line['name']:<38} {line['when']:<12} {line['result']}"
    real, charged = int(line["real"]), int(line["charged"])
    return f"{line['name']:<38} {line['when']:<12} {real:>13} {charged:>13} {charged - real:>+13}"


def judge_family(lines):
    done = [line for line in lines if line["result"] == "CUDA_SUCCESS"]
    if not done:
        raise Skipped(f"the driver has it not: {lines[0]['result'] if lines else 'nothing said'}")
    figures = {"table": ["name                                   when                  taken"
                         "       charged     more by", *map(line_text, lines)]}
    errors = {line["name"] + ", " + line["when"]: int(line["charged"]) - int(line["real"])
              for line in done}
    figures = {"least charged beyond taken": min(errors.values()),
               "most charged beyond taken": max(errors.values()), **figures}
    return judge([(error >= -ALLOWANCE, f"{what}: {-error} bytes are not charged")
                  for what, error in errors.items()], figures)


def check_family(name, machine):
    """A quota that nothing here reaches."""
    lines = rows_of(machine.run([machine.program("gpu-families"), name],
                                env=machine.slice(memory="75%")))
    return judge_family(lines)
