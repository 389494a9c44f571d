#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
# Copyright the cuslice authors
#
# Random calls of several threads in a program that is confined to some of a device's SMs: on which
# SMs its kernels ran, by the machine's account, while results and order are looked at in between
# (partition_walk.c). On this machine fills, and copies within the device, are work for SMs.
import argparse
import json
import subprocess
import sys
import time

import harness

TWINS = str(harness.CLIENTS / "libclient_partition_twins.so")
SETTINGS = {"kernel.cuslice_census": "10us", "fill_mib_per_ms": "10", "d2d_mib_per_ms": "10"}


class Escape(Exception):
    """The program ended, or work ran where it should not."""


def sms_used(machine):
    """The SMs on which kernels of any process ran, by the machine's account."""
    used = set()
    for process in machine.account()["processes"]:
        for span in filter(None, process["sms"].split(",")):
            first, _, last = span.partition("-")
            used.update(range(int(first), int(last or first) + 1))
    return used


def walk(seed, seconds, threads, share, sms):
    """What the program says, and the account of the machine; Escape unless it used `sms` SMs."""
    limits = {"COMPUTE": share, "MECHANISM": "sm"} if share != "none" else None
    with harness.Machine(**SETTINGS) as machine:
        command = [harness.client("partition_walk"), seed, int(seconds * 1000), threads]
        done = subprocess.run(list(map(str, command)), text=True, check=False,
                              env=machine.environment(limits) | {"SIMGPU_TWINS": TWINS},
                              capture_output=True, timeout=seconds + harness.PATIENCE_S)
        [process] = machine.account()["processes"]
        used = len(sms_used(machine))
    said = harness.fields(done.stdout)
    if (done.returncode, done.stderr) != (0, ""):
        raise Escape(f"seed {seed}: status {done.returncode}: {done.stdout}{done.stderr}")
    if (int(said["sms"]), used) != (sms, sms):
        raise Escape(f"seed {seed}: {used} SMs by the account of the machine, {said['sms']} by the "
                     f"kernels' own, of {sms}")
    return said, process


def main():
    parser = argparse.ArgumentParser(description="random calls in a partition, on simgpu")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--seconds", type=float, default=5)
    parser.add_argument("--threads", type=int, default=8)
    parser.add_argument("--share", default="25%", help="or none: without cuslice")
    parser.add_argument("--sms", type=int, default=32, help="which these are")
    options = parser.parse_args()
    since = time.monotonic()
    try:
        said, process = walk(options.seed, options.seconds, options.threads, options.share,
                             options.sms)
    except Escape as escape:
        print(escape)
        return 1
    said |= {"kernels": process["kernels"], "sms_by_account": process["sms"],
             "s": round(time.monotonic() - since)}
    print(json.dumps(said, indent=1))
    return 0


if __name__ == "__main__":
    sys.exit(main())
