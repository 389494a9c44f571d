# SPDX-License-Identifier: Apache-2.0
# Copyright the cuslice authors
#
# Rows about processes that end and processes that belong together.
import os
import signal
import time

from driver_checks import judge
from machine import GIB, Failed, Skipped
from meter import Nvml, NvmlError
from workers import fleet_of

# What docs say of groups. False: not held together yet; judged as soon as it is.
HAS_GROUP_QUOTA, HAS_GROUP_SHARE = True, True
MIB = 1 << 20
CHUNK = 128 * MIB
QUOTA = 4 * GIB
SHARE = 40
MOST_OFF = 2.0      # points of GPU time
PATIENCE_MS = 10000
SIMGPU_SETTINGS = ("kernel.gpu_copy=120us", "reclaim_us=20000")


def number(values, key):
    return int(values[key])


def start_group(machine, key, **limits):
    """Two processes of a group, "a" and "b", and one without the library, "bare"."""
    argv = [machine.program("gpu-load")]
    name = f"gpu-report-{os.getpid()}-{key}"

    def start(fleet):
        fleet.files.append(f"/dev/shm/cuslice-{os.getuid()}/{name}.group")
        for who in ("a", "b"):
            fleet.start(who, argv, {**machine.slice(**limits), "CUSLICE_GROUP": name})
        fleet.start("bare", argv)
        fleet.hello = {who: worker.ask("hello") for who, worker in fleet.workers.items()}

    return fleet_of(machine, key, start, SIMGPU_SETTINGS)


def be_grouped(is_grouped, is_promised, text):
    if not is_grouped and not is_promised:
        raise Skipped(f"CUSLICE_GROUP has no effect in this build: {text}")


def fill_in_turns(fleet):
    """Both take chunks until both are refused; bytes that each was granted."""
    granted, refused = {"a": 0, "b": 0}, {}
    while len(refused) < 2 and max(granted.values()) < QUOTA:
        for who in ("a", "b"):
            if who not in refused:
                result = fleet.workers[who].ask(f"take {CHUNK}")["result"]
                if result == "CUDA_SUCCESS":
                    granted[who] += CHUNK
                else:
                    refused[who] = result
    return granted, refused


def check_group_memory(machine):
    """The two begin with contexts and the buffers of gpu-load, which count too."""
    fleet = start_group(machine, "group-memory", memory=QUOTA)
    infos = {who: fleet.workers[who].ask("info") for who in ("a", "b", "bare")}
    free_before = min(number(infos[who], "free_bytes") for who in ("a", "b"))
    granted, refused = fill_in_turns(fleet)
    taken = number(infos["bare"], "free_bytes") - \
        number(fleet.workers["bare"].ask("info"), "free_bytes")
    total = sum(granted.values())
    be_grouped(total <= QUOTA, HAS_GROUP_QUOTA, f"two processes were granted {total} of {QUOTA}")
    after = {who: fleet.workers[who].ask("info") for who in ("a", "b")}
    free = [number(after[who], "free_bytes") for who in ("a", "b")]
    fleet.workers["a"].ask("give")
    regained = fleet.workers["b"].ask(f"take {CHUNK}")["result"]
    return judge([
        (total <= QUOTA, f"{total} of {QUOTA} were granted"),
        (total >= free_before - 2 * CHUNK, f"only {total} of {free_before} free were granted"),
        (set(refused.values()) == {"CUDA_ERROR_OUT_OF_MEMORY"}, f"refused by {refused}"),
        (max(free) < CHUNK, f"free is {free} when both are refused"),
        (regained == "CUDA_SUCCESS", f"what one gave back the other was not granted: {regained}"),
    ], {"quota": QUOTA, "granted a": granted["a"], "granted b": granted["b"],
        "taken of the device": taken})


def run_side_by_side(fleet, names):
    """{name: launches per second}"""
    for who in names:
        fleet.workers[who].order("run copy 500 2000")
    found = {}
    for who in names:
        values = fleet.workers[who].answer()
        found[who] = int(values["done"]) * 1e9 / int(values["wall_ns"])
    return found


def check_group_share(machine):
    fleet = start_group(machine, "group-share", compute=f"{SHARE}%")
    run_side_by_side(fleet, ["bare"])
    before = run_side_by_side(fleet, ["bare"])["bare"]
    rates = run_side_by_side(fleet, ["a", "b"])
    bare = (before + run_side_by_side(fleet, ["bare"])["bare"]) / 2
    work = {who: 100 * rate / bare for who, rate in rates.items()}
    total = sum(work.values())
    be_grouped(total <= SHARE + MOST_OFF, HAS_GROUP_SHARE,
               f"two processes with {SHARE} % did {total:.1f} % of the work")
    return judge([(abs(total - SHARE) <= MOST_OFF,
                   f"{total:.2f} % of the work was done with {SHARE} %")],
                 {"a": f"{work['a']:.2f} %", "b": f"{work['b']:.2f} %",
                  "both": f"{total:.2f} %", "share": f"{SHARE} %"})


# Of what a worker holds beside what it was told to take, so that the other one may take as much at
# once and the bare one still sees that it came back.
OWN = 512 * MIB


def nvml_of(fleet):
    if fleet.simulated:
        return None
    try:
        return Nvml(fleet.hello["bare"]["uuid"])
    except NvmlError:
        return None


def poll_nvml(nvml, wanted_bytes, since_ns):
    """Milliseconds until NVML's count is down; None where it cannot be asked or never is."""
    while nvml is not None and time.monotonic_ns() - since_ns < PATIENCE_MS * 1e6:
        if nvml.used_bytes() <= wanted_bytes:
            return (time.monotonic_ns() - since_ns) / 1e6
    return None


def came_after_ms(values, since_ns):
    return (number(values, "at_ns") - since_ns) / 1e6 if values["came"] == "yes" else None


def ms_text(value):
    return "-" if value is None else f"{value:.1f} ms"


def check_kill(machine):
    """One of the group holds most of the quota and is killed. The bare process looks at what the
    driver calls free, the other of the group asks for the memory again and again."""
    fleet = start_group(machine, "group-kill", memory=QUOTA)
    nvml = nvml_of(fleet)
    victim, peer, bare = (fleet.workers[who] for who in ("a", "b", "bare"))
    held = number(victim.ask("info"), "free_bytes") * 6 // 10
    if victim.ask(f"take {held}")["result"] != "CUDA_SUCCESS":
        raise Failed(f"{held} bytes were not granted, though they were called free")
    free_bytes = number(bare.ask("info"), "free_bytes")
    used_bytes = nvml.used_bytes() if nvml else 0
    is_refused = peer.ask(f"take {held}")["result"] != "CUDA_SUCCESS"
    if not is_refused:
        peer.ask("give")
    else:
        peer.order(f"wait {held} {PATIENCE_MS}")
    bare.order(f"watch {free_bytes + OWN} {PATIENCE_MS}")
    time.sleep(0.2)
    killed_ns = time.monotonic_ns()
    os.kill(number(fleet.hello["a"], "pid"), signal.SIGKILL)
    by_nvml = poll_nvml(nvml, used_bytes - OWN, killed_ns)
    by_driver = came_after_ms(bare.answer(), killed_ns)
    by_ledger = came_after_ms(peer.answer(), killed_ns) if is_refused else None
    machine.dismiss()  # one of them is dead
    figures = {"held": held, "free at the driver after": ms_text(by_driver),
               "by NVML after": ms_text(by_nvml),
               "granted to the other after": ms_text(by_ledger) if is_refused else "not grouped"}
    return judge([
        (by_driver is not None and by_driver > 0, "the driver did not give it back"),
        (is_refused or not HAS_GROUP_QUOTA, "the other was not held by what the first had"),
        (not is_refused or by_ledger is not None, "the other was never granted it"),
    ], figures)
