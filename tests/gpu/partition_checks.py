# SPDX-License-Identifier: Apache-2.0
# Copyright the cuslice authors
#
# Rows about partitions of SMs: what the driver's green contexts do, and whether a slice with
# mechanism sm stays on its SMs.
import contextlib
import os
import sys
import time

from driver_checks import judge
from machine import HERE, Failed, Skipped, values_of

SHARE = "25%"
HALF = "50%"
WAYS = ("default", "per_thread", "stream", "graph", "graph_on_default", "cooperative", "threads")
# Of a program's graphs: of a function and of a kernel without a context, as added and as set.
NODES = ("function", "function_set", "kernel", "kernel_set", "body_function", "body_captured",
         "body_left_out")
ORDER_S, ORDER_ON_SIMGPU_S = 30, 1.5
EVIDENCE_S = 2
START_S = 8   # until a program that hangs is given up, beyond the time that it works
LIMIT_S = 25
# What the lengths of its kernels are on simgpu.
SIMGPU_SETTINGS = ("kernel.gpu_turn_short=5us", "kernel.gpu_turn_long=200us")
# How a driver says that a launch cannot be, after which all is as it was.
REFUSALS = {"CUDA_ERROR_INVALID_CLUSTER_SIZE", "CUDA_ERROR_LAUNCH_OUT_OF_RESOURCES",
            "CUDA_ERROR_INVALID_VALUE", "CUDA_ERROR_NOT_SUPPORTED"}
TOO_LARGE = "CUDA_ERROR_COOPERATIVE_LAUNCH_TOO_LARGE"
# As NVIDIA documents: more than the partition, once a module has dynamic parallelism.
LEAK_SMS = 2
DYNAMIC_PTX = """.version 7.0
.target sm_90
.address_size 64
.extern .func (.param .b32 result) cudaLaunchDeviceV2 (.param .b64 a, .param .b64 b);
"""


def confined(machine, share=SHARE):
    return machine.slice(compute=share) | {"CUSLICE_MECHANISM": "sm"}


@contextlib.contextmanager
def within(machine, seconds):
    """What hangs must not take the other rows' time: it fails after so many seconds."""
    deadline = machine.deadline
    machine.deadline = min(deadline, time.monotonic() + seconds)
    try:
        yield
    finally:
        machine.deadline = deadline


def run(machine, argv, env=None, settings=()):
    """What it says, with the twins of the kernels that note their SMs."""
    env = dict(env or {})
    if machine.is_simulated:
        env["SIMGPU_TWINS"] = ":".join((
            machine.program("gpu-twins.so"),
            machine.built("tests", "preload", "clients", "libclient_partition_twins.so")))
    try:
        return values_of(machine.run(argv, env=env, settings=(*SIMGPU_SETTINGS, *settings)))
    except Failed as failure:
        if "NOT_SUPPORTED" in str(failure) or "symbol lookup error" in str(failure):
            raise Skipped(f"this driver has no green contexts: {failure}") from failure
        raise


def ask(machine, words, env=None, program="gpu-partition", settings=(), seconds=LIMIT_S):
    """words: what is asked for, and its arguments; a list, or text without a path."""
    words = words.split() if isinstance(words, str) else words
    with within(machine, seconds):
        return run(machine, [machine.program(program), *words], env, settings)


def evidence(machine, words, env=None, settings=()):
    """The same, but no reason to fail: what went wrong is said as `failed`."""
    try:
        return ask(machine, words, env, settings=settings, seconds=EVIDENCE_S + START_S)
    except (Failed, Skipped) as failure:
        return {"failed": str(failure)}


def check_sizes(machine):
    said = ask(machine, "sizes")
    return judge([
        (int(said["plain_sizes"]) > 0, "the driver gives no partition"),
        (said["plain_wrong"] == "0", f"{said['plain_wrong']} partitions ran on another number of SMs"),
        (said["fine_wrong"] == "0", f"{said['fine_wrong']} finer ones ran on another number of SMs"),
        (said["merged_wrong"] == "0", f"{said['merged_wrong']} merged ones ran on another number"),
    ], said)


def check_streams(machine):
    """What the library takes for granted: where a stream was made decides, and events order streams
    of a partition and of its primary context."""
    said = ask(machine, "streams")
    return judge([
        (said["stream_of_partition_ran_on"] == said["partition"],
         "a stream of a partition left it while the primary context was current"),
        (said["event_in_partition"] == "CUDA_SUCCESS", "an event cannot be recorded there"),
        (said["wait_in_primary"] == "CUDA_SUCCESS", "the primary context's streams cannot wait for it"),
    ], said)


def judge_ways(said, bare, ways=WAYS):
    """That none of the ways leads out of what the program is told of, and each does bare."""
    told, all_sms = int(said["told"]), int(bare["told"])
    figures = {"SMs of the device": all_sms, "told": told}
    figures |= {way: f"{said[way]} (bare {bare[way]})" for way in ways}
    claims = [(told < all_sms, "the program is told of all SMs: no partition was made")]
    for way in ways:
        claims.append((0 < int(said[way]) <= told, f"{way}: ran on {said[way]} SMs"))
        claims.append((int(bare[way]) > told, f"{way}: bare on {bare[way]} SMs, which shows nothing"))
    return figures, claims


def fits(said):
    return (said["cooperative_fits"] == "CUDA_SUCCESS", "a cooperative launch of the size that the "
            f"program is told of is refused: {said['cooperative_fits']}")


def check_ways(machine):
    """And by ctypes, which finds the driver in a way of its own."""
    side = [sys.executable, "-B", os.path.join(HERE, "side_census.py")]
    bare, said = (ask(machine, "ways", env) | {"ctypes": run(machine, side, env)["ran_on"]}
                  for env in ({}, confined(machine)))
    figures, claims = judge_ways(said, bare, (*WAYS, "ctypes"))
    return judge([*claims, fits(said)], figures)


def judge_nodes(green, said):
    """green  nodes beside a green context
    said   those of a program in a slice
    """
    part, told, left = green["partition"], int(said["told"]), int(said["told_afterwards"])
    claims = [(green[key] == part, f"{key}: ran on {green[key]} SMs, not on {part} as cuda.h says")
              for key in ("captured", "kernel_named")]
    claims.append((0 < int(said["default"]) <= told, f"default: ran on {said['default']} SMs"))
    claims += [(0 < int(said[key]) <= left, f"{key}: ran on {said[key]} SMs, told of {left}")
               for key in NODES]
    figures = {"partition": part} | {key: value for key, value in green.items()
                                     if key not in ("partition", "told")}
    figures["in a slice"] = ", ".join(f"{key} {said[key]}" for key in NODES)
    return judge(claims, {**figures, "told": f"{told}, then {left}"})


def check_nodes(machine):
    return judge_nodes(ask(machine, "nodes"), ask(machine, "own-nodes", confined(machine)))


def check_runtime(machine):
    """Threads of the CUDA runtime, each of which chooses the device itself."""
    machine.needs_real_gpu()
    program = "gpu-partition-runtime"
    bare = ask(machine, "", program=program)
    said = ask(machine, "", confined(machine), program)
    figures, claims = judge_ways(said, bare, ("default", "threads"))
    return judge(claims, figures)


def out_of_order(said):
    return int(said["wrong"]) + int(said["wrong_on_host"])


def judge_order(bare, forgetful, said):
    """Streams in a slice, beside the same bare, and beside a program that forgets its events, which
    has to be noticed."""
    told = int(said["told"])
    return judge([
        (out_of_order(bare) == 0, f"bare: {out_of_order(bare)} steps out of order"),
        (out_of_order(forgetful) > 0, "nothing is seen where events are left out: this shows nothing"),
        (int(bare["ran_on"]) > told, f"bare on {bare['ran_on']} SMs, which shows nothing"),
        (int(said["steps"]) > 0, "nothing was done"),
        (out_of_order(said) == 0, f"{out_of_order(said)} of {said['steps']} steps out of order"),
        (0 < int(said["ran_on"]) <= told, f"ran on {said['ran_on']} SMs, told of {told}"),
    ], {"told": told, "ran on": said["ran_on"], "steps": said["steps"],
        "out of order": out_of_order(said), "bare steps": bare["steps"],
        "without events": f"{out_of_order(forgetful)} of {forgetful['steps']} out of order"})


def order_text(said):
    if "failed" in said:
        return said["failed"]
    return (f"{out_of_order(said)} of {said['steps']} out of order, on {said['ran_on']} SMs of "
            f"{said['partition']}")


def check_order(machine):
    """Judged in a slice. Evidence: how it would be if a green context were current instead."""
    seconds = ORDER_ON_SIMGPU_S if machine.is_simulated else ORDER_S
    brief = f"order {int(1000 * min(seconds / 3, EVIDENCE_S))}"
    bare, forgetful = ask(machine, f"{brief} plain"), ask(machine, f"{brief} forget")
    said = ask(machine, f"order {int(1000 * seconds)} plain", confined(machine),
               seconds=2 * seconds + START_S)
    figures = judge_order(bare, forgetful, said)
    for variant, name in (("green", "green current"), ("inside", "all made inside")):
        figures[name] = order_text(evidence(machine, f"{brief} {variant}"))
    return figures


def judge_clusters(said, where, size):
    """(figure, claims). They run, or are refused where the driver says that there is no room."""
    key = f"{where}_cluster{size}"
    result, room = said[key], said[f"{key}_room"]
    if result == "CUDA_SUCCESS":
        return f"{room} at once", [
            (said[f"{key}_ran"] == said[f"{key}_blocks"],
             f"{where}: {said[f'{key}_ran']} of {said[f'{key}_blocks']} blocks of clusters of {size}"),
            (said[f"{key}_wrong"] == "0", f"{where}: clusters of {size} had another size"),
            (0 < int(said[f"{key}_ran_on"]) <= int(said[f"{where}_sms"]),
             f"{where}: clusters of {size} ran on {said[f'{key}_ran_on']} SMs"),
        ]
    return result, [
        (result in REFUSALS, f"{where}: clusters of {size}: {result}"),
        (room == "0", f"{where}: clusters of {size}: {result}, and there is room for {room}"),
    ]


def judge_launches(said, where, needs_clusters):
    """(figure, claims) of one set of SMs. needs_clusters: those of 8 have to run."""
    sms = said[f"{where}_sms"]
    figure = f"{sms} SMs: cooperative {said[f'{where}_cooperative']}"
    claims = [
        (said[f"{where}_cooperative"] == "CUDA_SUCCESS",
         f"{where}: cooperative: {said[f'{where}_cooperative']}"),
        (said[f"{where}_cooperative_ran_on"] == sms,
         f"{where}: cooperative ran on {said[f'{where}_cooperative_ran_on']} of {sms} SMs"),
        (said[f"{where}_cooperative_over"] == TOO_LARGE,
         f"{where}: cooperative, too large: {said[f'{where}_cooperative_over']}"),
        (said[f"{where}_afterwards_ran_on"] == sms,
         f"{where}: afterwards on {said[f'{where}_afterwards_ran_on']} of {sms} SMs"),
    ]
    if f"{where}_cluster8" not in said:
        return figure, claims
    for size in (8, 16):
        text, more = judge_clusters(said, where, size)
        figure += f", clusters of {size} {text}"
        claims += more
    return f"{figure}, dependent {said[f'{where}_dependent']}", [
        *claims,
        (not needs_clusters or said[f"{where}_cluster8"] == "CUDA_SUCCESS",
         f"{where}: no clusters of 8: {said[f'{where}_cluster8']}"),
        (said[f"{where}_dependent"] == "CUDA_SUCCESS",
         f"{where}: dependent: {said[f'{where}_dependent']}"),
        (int(said[f"{where}_dependent_ran"]) > 0 and said[f"{where}_dependent_wrong"] == "0",
         f"{where}: {said[f'{where}_dependent_wrong']} of {said[f'{where}_dependent_ran']} dependent "
         "launches did not find what they wait for"),
        (0 < int(said[f"{where}_dependent_ran_on"]) <= int(sms),
         f"{where}: dependent launches ran on {said[f'{where}_dependent_ran_on']} SMs"),
    ]


def check_launches(machine):
    program = "gpu-launches"
    bare = ask(machine, "partitions", program=program)
    whole = ask(machine, "here", program=program)
    said = ask(machine, "here", confined(machine, HALF), program)
    claims = [(int(said["told"]) < int(whole["told"]), "no partition was made"),
              (0 < int(said["here_default_ran_on"]) <= int(said["told"]),
               f"default stream: ran on {said['here_default_ran_on']} SMs"),
              ("half_sms" in bare, "the driver gives no half of the SMs")]
    figures = {}
    for name, values, where in (("bare", whole, "here"), ("slice", said, "here"),
                                *((where, bare, where)
                                  for where in ("half", "fine_half", "fine_tenth"))):
        if f"{where}_sms" in values:
            # Without co-scheduling there may be no clusters.
            figures[name], more = judge_launches(values, where, not where.startswith("fine"))
            claims += more
        else:
            figures[name] = "not given"
    return judge(claims, figures)


def judge_dynamic(later, first):
    """A module with dynamic parallelism, loaded after work has begun, and before."""
    told = int(later["told"])
    before, after = ([int(value) for key, value in later.items() if key.startswith(when)]
                     for when in ("before_", "after_"))
    seen_first = max(int(value) for key, value in first.items()
                     if key.startswith(("before_", "after_", "child")) and key != "child_error")
    left = int(first["told_afterwards"])
    claims = [
        (0 < max(before) <= told, f"ran on {max(before)} SMs before it was loaded, told of {told}"),
        (0 < max(after) <= told + LEAK_SMS, f"ran on {max(after)} SMs, told of {told}"),
        (later["told_afterwards"] == later["told"], "the partition was given up"),
        (0 < seen_first <= left + LEAK_SMS, f"loaded first: ran on {seen_first} SMs, told of {left}"),
    ]
    figures = {"told": told, "ran on before": max(before), "ran on after": max(after),
               "loaded first": f"{seen_first} SMs, told of {left}"}
    if "child" in later:
        figures["ran on from the device"] = later["child"]
        claims += [(later["child_error"] == "0", f"a kernel cannot launch: {later['child_error']}"),
                   (0 < int(later["child"]) <= told + LEAK_SMS,
                    f"launched from the device: ran on {later['child']} SMs")]
    return judge(claims, figures)


def dynamic_module(machine):
    if not machine.is_simulated:
        return machine.program("gpu-dynamic.fatbin")
    path = os.path.join(machine.out, "dynamic.ptx")
    with open(path, "w", encoding="utf-8") as file:
        file.write(DYNAMIC_PTX)
    return path


def check_dynamic(machine):
    path = dynamic_module(machine)
    asked = [(machine, [what, path], confined(machine), "gpu-launches", ("leak=cdp",))
             for what in ("dynamic", "dynamic-first")]
    try:
        return judge_dynamic(*(ask(*one) for one in asked))
    except Failed as failure:
        if "NO_BINARY_FOR_GPU" in str(failure):
            raise Skipped("gpu-dynamic.fatbin has no code for this GPU") from failure
        raise
