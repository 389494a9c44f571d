# SPDX-License-Identifier: Apache-2.0
# Copyright the cuslice authors
#
# Rows about partitions of SMs: what the driver's green contexts do, and whether a slice with
# mechanism sm stays on its SMs.
from driver_checks import judge
from machine import Failed, Skipped, values_of

SHARE = "25%"
WAYS = ("default", "per_thread", "stream", "graph", "graph_on_default", "cooperative", "threads")


def ask(machine, what, env=None):
    env = dict(env or {})
    if machine.is_simulated:
        # The twin of the kernel that notes its SMs.
        env["SIMGPU_TWINS"] = machine.built("tests", "preload", "clients",
                                            "libclient_partition_twins.so")
    try:
        return values_of(machine.run([machine.program("gpu-partition"), what], env=env))
    except Failed as failure:
        if "NOT_SUPPORTED" in str(failure) or "symbol lookup error" in str(failure):
            raise Skipped(f"this driver has no green contexts: {failure}") from failure
        raise


def check_sizes(machine):
    said = ask(machine, "sizes")
    return judge([
        (int(said["plain_sizes"]) > 0, "the driver gives no partition"),
        (said["plain_wrong"] == "0", f"{said['plain_wrong']} partitions ran on another number of SMs"),
        (said["fine_wrong"] == "0", f"{said['fine_wrong']} finer ones ran on another number of SMs"),
        (said.get("merged") == said.get("merged_ran_on"), "merged groups ran on another number"),
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


def check_ways(machine):
    bare = ask(machine, "ways")
    env = machine.slice(compute=SHARE) | {"CUSLICE_MECHANISM": "sm"}
    said = ask(machine, "ways", env)
    told, all_sms = int(said["told"]), int(bare["told"])
    figures = {"SMs of the device": all_sms, "told": told}
    figures |= {way: f"{said[way]} (bare {bare[way]})" for way in WAYS}
    claims = [(told < all_sms, "the program is told of all SMs: no partition was made"),
              (said["cooperative_fits"] == "CUDA_SUCCESS", "a cooperative launch of the size that the "
               f"program is told of is refused: {said['cooperative_fits']}")]
    for way in WAYS:
        claims.append((0 < int(said[way]) <= told, f"{way}: ran on {said[way]} SMs"))
        claims.append((int(bare[way]) > told, f"{way}: bare on {bare[way]} SMs, which shows nothing"))
    return judge(claims, figures)
