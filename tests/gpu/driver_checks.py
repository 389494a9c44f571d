# SPDX-License-Identifier: Apache-2.0
# Copyright the cuslice authors
#
# Rows about the driver and what the library sees of it: lookups, memory, semantics.
import csv
import functools
import io
import os
import shutil
import subprocess

from machine import GIB, TREE, Failed, Skipped, values_of

QUOTA = 2 * GIB
PROCMAP = os.path.join(TREE, "tests", "data", "driver-procmap.csv")
OUT_OF_MEMORY = {"CUDA_ERROR_OUT_OF_MEMORY", "cudaErrorMemoryAllocation", "OutOfMemoryError"}


def rows_of(text):
    return list(csv.DictReader(io.StringIO(text)))


def check_programs(machine):
    """A copied build may meet an older C library, or a machine without a driver."""
    try:
        machine.run([machine.program("gpu-semantics")])
    except Failed as failure:
        raise Failed(f"{failure} (where a library or GLIBC version is missing, build on this "
                     "machine: cmake -B build && cmake --build build)") from failure
    library = machine.library()
    if not os.path.exists(library):
        raise Failed("lib/libcuslice.so is not in the build")
    said = subprocess.run([shutil.which("true")], env={**os.environ, "LD_PRELOAD": library},
                          capture_output=True, text=True, check=False).stderr
    if said:
        raise Failed(f"libcuslice.so cannot be preloaded here, build on this machine: {said}")


def summary_of(lines):
    """How often which answer was given."""
    counts = {}
    for line in lines:
        kind = line["answer"] if line["answer"].startswith("refused") else \
            line["answer"].split(" ")[0]
        counts[kind] = counts.get(kind, 0) + 1
    return ", ".join(f"{count} {kind}" for kind, count in sorted(counts.items())) or "none"


def text_of(line):
    return (f"{line['name']}@{line['version']} flags {line['flags']} by {line['how']}, "
            f"{line['when']}: {line['answer']} (symbol {line['symbol']})")


def check_identity(machine):
    text = machine.run([machine.program("gpu-identity"), PROCMAP])
    with open(os.path.join(machine.out, "identity.csv"), "w", encoding="utf-8") as file:
        file.write(text)
    lines = rows_of(text)
    exported = [line for line in lines if line["how"] == "dlsym" and line["answer"] == "same"]
    asked = [line for line in lines if line["how"] != "dlsym"]
    before = [line for line in asked if line["when"] == "before cuInit"]
    after = [line for line in asked if line["when"] == "after cuInit"]
    hooked = [line for line in asked if line["hooked"] == "hooked"]
    # A function that this driver no longer has cannot be routed, and need not be.
    differing = [line for line in asked
                 if line["answer"] != "same" and not line["answer"].startswith("refused")]
    wrong = [line for line in hooked if line in differing]
    figures = {
        "symbols": len(exported), "questions": len(asked),
        "hooked differing": len(wrong), "all differing": len(differing),
        "works before cuInit": "yes" if [line["answer"] for line in before] ==
                               [line["answer"] for line in after] else "no",
        "hooked": summary_of(hooked), "before": summary_of(before), "after": summary_of(after),
    }
    if differing:
        figures["differing functions"] = sorted(map(text_of, differing))
    found = {line["symbol"] for line in hooked
             if line["answer"] == "same" and line["when"] == "after cuInit"}
    lost = {line["symbol"] for line in exported if line["hooked"] == "hooked"} - found
    return judge([
        (hooked, "cuGetProcAddress is not there"),
        (not wrong, f"{len(wrong)} answers for hooked functions differ"),
        (not lost, f"cuGetProcAddress never gives {', '.join(sorted(lost))}"),
    ], figures)


def check_routing(machine):
    # Every feature that has hooks.
    env = machine.slice(memory=QUOTA, compute="50%") | {"CUSLICE_MECHANISM": "sm"}
    text = machine.run([machine.program("gpu-identity"), PROCMAP, "libcuslice.so"], env=env)
    lines = [line for line in rows_of(text)
             if line["answer"] != "NULL" and not line["answer"].startswith("refused")]
    lost = [line for line in lines if line["hooked"] == "hooked" and line["where"] != "library"]
    stray = [line for line in lines if line["hooked"] != "hooked" and line["where"] == "library"]
    figures = {"lookups": len(lines), "not routed": len(lost), "wrongly routed": len(stray)}
    if lost or stray:
        figures["wrong lookups"] = sorted(map(text_of, lost + stray))
        raise Failed("some lookups lead elsewhere", figures)
    if not any(line["hooked"] == "hooked" for line in lines):
        raise Failed("no hooked function was found", figures)
    return figures


def judge(claims, figures):
    """Claims are (holds, what is wrong where it does not)."""
    wrong = [text for holds, text in claims if not holds]
    if wrong:
        raise Failed("; ".join(wrong), figures)
    return figures


def judge_slice(bare, sliced, quota, equal=()):
    """What any client has to see, bare and under a quota. `equal`: keys of results."""
    def number(values, key):
        return int(values.get(key, -1))

    figures = {
        "bare total": number(bare, "total_bytes"), "quota": quota,
        "total seen": number(sliced, "total_bytes"), "granted": number(sliced, "granted_bytes"),
        **{key: sliced[key] for key in ("pool_over",) if key in sliced},
    }
    claims = [
        (number(bare, "total_bytes") > quota, "the bare program sees no more than the quota"),
        (bare.get("over") in OUT_OF_MEMORY, f"bare: more than all gave {bare.get('over')}"),
        (bare.get("recovered") == "yes", "bare: did not end well"),
        (number(sliced, "total_bytes") == quota,
         f"total seen is {sliced.get('total_bytes')}, not the quota"),
        (number(sliced, "device_total_bytes") == quota,
         f"the device's size is {sliced.get('device_total_bytes')}, not the quota"),
        (0 < number(sliced, "free_bytes") <= quota,
         f"free is {sliced.get('free_bytes')}"),
        (sliced.get("over") == bare.get("over"), f"beyond the quota gave {sliced.get('over')}"),
        (sliced.get("over_untouched") == bare.get("over_untouched"), "outputs of a refusal differ"),
        (sliced.get("refused") in OUT_OF_MEMORY, f"filling ended with {sliced.get('refused')}"),
        (quota // 2 <= number(sliced, "granted_bytes") <= quota,
         f"granted {sliced.get('granted_bytes')} of {quota}"),
        (sliced.get("recovered") == "yes", "no recovery after a refusal"),
    ]
    claims += [(bare.get(key) == sliced.get(key), f"{key} differs from the bare run")
               for key in equal]
    claims += [(key in bare, f"{key} is missing") for key in equal]
    return judge(claims, figures)


def check_client(executable, kind, machine):
    client = machine.program(executable)
    if kind == "libcuda.so" and not machine.is_simulated and not has_development_name():
        raise Skipped("no libcuda.so is installed here, only libcuda.so.1")
    bare = values_of(machine.run([client, kind]))
    sliced = values_of(machine.run([client, kind, str(QUOTA)],
                                   env=machine.slice(memory=QUOTA)))
    return judge_slice(bare, sliced, QUOTA, equal=("data",))


def has_development_name():
    """In a process of its own: a driver that is loaded here would answer for it."""
    probe = "import ctypes; ctypes.CDLL('libcuda.so')"
    return subprocess.run(["python3", "-c", probe], capture_output=True,
                          check=False).returncode == 0


def check_semantics(name, machine):
    values = values_of(machine.run([machine.program("gpu-semantics"), name]))
    holds = values.pop("holds", None)
    if holds != "yes":
        raise Failed("does not hold" if holds == "no" else "did not come to an end", values)
    return values


def key_of(line):
    return line["kind"], int(line["width"]), int(line["height"])


def taken_of(line):
    """Bytes; a neighbour who frees at the same time makes nonsense of a difference."""
    first, every = int(line["first_bytes"]), int(line["all_bytes"])
    return (first, every) if max(first, every) < 1 << 60 else (None, None)


@functools.lru_cache(maxsize=1)
def measure_allocations(machine):
    text = machine.run([machine.program("gpu-allocations")])
    return {key_of(line): line for line in rows_of(text)}


def size_text(key):
    kind, width, height = key
    return f"{kind} {width}" + (f" x {height}" if height > 1 else "")


def check_allocations(machine):
    lines = ["allocation                count   first takes     each takes       stride"]
    taken = measure_allocations(machine)
    for key, line in taken.items():
        first, every = taken_of(line)
        count = int(line["count"])
        if first is None or count == 0:
            lines.append(f"{size_text(key):<24} {count:>6}   not measured")
            continue
        lines.append(f"{size_text(key):<24} {count:>6} {first:>13} {every / count:>14.1f} "
                     f"{int(line['stride']) if count > 1 else 0:>12}")
    if not any(key[0] == "linear" for key in taken):
        raise Failed("nothing was measured")
    return {"kinds": len(taken), "table": lines}


def check_charges(machine):
    """For a batch of equal allocations: what the driver took of the device beside what the ledger
    charged. A block that the driver takes for the first small ones is not yet full, so one block of
    2 MiB is allowed for. What a context takes is a figure only: it is no allocation of the
    program's."""
    allowance = 2 << 20
    bare = measure_allocations(machine)
    quota = int(values_of(machine.run([machine.program("gpu-client-lookup"), "dlsym"]))
                ["total_bytes"]) * 3 // 4
    sliced = rows_of(machine.run([machine.program("gpu-allocations")],
                                 env=machine.slice(memory=quota)))
    lines = ["allocation                count          taken        charged"]
    short, worst, context = [], 0, "not measured"
    for line in sliced:
        key = key_of(line)
        taken, charged = taken_of(bare[key])[1], taken_of(line)[1]
        if taken is None or charged is None or line["count"] != bare[key]["count"]:
            lines.append(f"{size_text(key):<24} {line['count']:>6}   not comparable")
            continue
        lines.append(f"{size_text(key):<24} {line['count']:>6} {taken:>14} {charged:>14}")
        if key[0] == "context":
            context = f"{taken}, charged {charged}"
            continue
        worst = max(worst, taken - charged)
        if taken > charged + allowance:
            lines[-1] += "  short"
            short.append(size_text(key))
    figures = {"most not charged in a batch": worst, "a context takes": context, "table": lines}
    if short:
        raise Failed(f"charged less than taken: {', '.join(short)}", figures)
    return figures
