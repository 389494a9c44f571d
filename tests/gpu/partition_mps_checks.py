# SPDX-License-Identifier: Apache-2.0
# Copyright the cuslice authors
#
# The row about MPS: whether the share by its percentage holds, and what becomes of green contexts
# beside one. A daemon of our own is started, in a folder of its own, and ended.
import contextlib
import os
import shutil
import signal
import subprocess
import tempfile
import time

import partition_checks as partitions
from driver_checks import judge
from machine import Failed, Skipped, last_line

CONTROL = "nvidia-cuda-mps-control"
PERCENTAGE = "CUDA_MPS_ACTIVE_THREAD_PERCENTAGE"
START_S = 10
# Kernels one at a time: MPS says how many SMs a client has, and not which.
WAYS = partitions.WAYS[:-1]
PAIR = 2  # a percentage is rounded up to SMs, or pairs of them


def control(env, order):
    """What the daemon answers."""
    try:
        return subprocess.run([CONTROL], input=f"{order}\n", env=env, capture_output=True,
                              text=True, timeout=START_S, check=False).stdout
    except subprocess.TimeoutExpired:
        return ""


def begun(pid):
    """When the process began, in the kernel's ticks; None: there is none."""
    try:
        with open(f"/proc/{pid}/stat", encoding="utf-8", errors="replace") as file:
            return int(file.read().rsplit(")", 1)[1].split()[19])
    except OSError:
        return None


def end(machine, daemon, env):
    """The daemon and its servers, by their ids."""
    servers = {int(word): begun(word) for word in control(env, "get_server_list").split()
               if word.isdigit()}
    control(env, "quit -t 2")
    try:
        daemon.wait(START_S)
    except subprocess.TimeoutExpired:
        machine.kill(daemon)
    for pid, tick in servers.items():
        if tick is not None and begun(pid) == tick:
            os.kill(pid, signal.SIGTERM)


def await_start(daemon, folder, output):
    """The daemon listens, or the row is skipped."""
    until = time.monotonic() + START_S
    while not os.path.exists(os.path.join(folder, "control")):
        if daemon.poll() is not None or time.monotonic() > until:
            output.seek(0)
            raise Skipped(f"{CONTROL} does not start here{last_line(output.read())}")
        time.sleep(0.05)


@contextlib.contextmanager
def mps(machine):
    """(variables of its clients, settings of simgpu)"""
    if machine.is_simulated:
        yield {}, ("mps=1",)
        return
    if shutil.which(CONTROL) is None:
        raise Skipped(f"{CONTROL} is not installed")
    machine.dismiss()
    with tempfile.TemporaryDirectory(prefix="cuslice-mps-") as folder, \
            tempfile.TemporaryFile("w+", errors="replace") as output:
        variables = {"CUDA_MPS_PIPE_DIRECTORY": folder, "CUDA_MPS_LOG_DIRECTORY": folder}
        env = {**os.environ, **variables}
        machine.log.write(f"\n$ {CONTROL} -f    ({folder})\n")
        daemon = subprocess.Popen([CONTROL, "-f"], env=env, stdin=subprocess.DEVNULL,
                                  stdout=output, stderr=output, start_new_session=True)
        try:
            await_start(daemon, folder, output)
            yield variables, ()
        finally:
            end(machine, daemon, env)


def judge_mps(bare, said, alone, whole, half):
    """bare, said   `ways` of a client without and with a share of half
    alone        a partition of half of the SMs without MPS
    whole, half  the same partition, of clients with 100 and with 50 %
    """
    figures, claims = partitions.judge_ways(said, bare, WAYS)
    all_sms, told, sms = int(bare["told"]), int(said["told"]), int(alone["partition"])
    figures["threads"] = said["threads"]
    claims.append((2 * told <= all_sms + 2 * PAIR, f"told of {told} of {all_sms} SMs with 50 %"))
    claims.append(partitions.fits(said))
    if "failed" in whole:
        claims.append((False, f"no partition under 100 %: {whole['failed']}"))
    else:
        figures["partition under 100 %"] = f"{whole['ran_on']} of {sms}"
        claims.append((0 < int(whole["ran_on"]) <= sms,
                       f"a partition of {sms} SMs under 100 %: ran on {whole['ran_on']}"))
    if "failed" in half:
        figures["partition under 50 %"] = half["failed"]
    else:
        # NVIDIA says that it may have all SMs of the client.
        figures["partition under 50 %"] = f"{half['ran_on']} of {half['partition']}"
        claims.append((0 < int(half["ran_on"]) <= max(told, sms),
                       f"a partition under 50 %: ran on {half['ran_on']} SMs"))
    return judge(claims, figures)


def check_mps(machine):
    alone = partitions.ask(machine, "part")
    part = f"part {alone['partition']}"
    with mps(machine) as (env, settings):
        try:
            bare = partitions.ask(machine, "ways", env, settings=settings)
        except Failed as failure:
            raise Skipped(f"no client can run under a daemon of ours: {failure}") from failure
        share = machine.slice(compute=partitions.HALF) | {"CUSLICE_MECHANISM": "mps"}
        said = partitions.ask(machine, "ways", env | share, settings=settings)
        whole, half = (partitions.evidence(machine, part, env | {PERCENTAGE: percent}, settings)
                       for percent in ("100", "50"))
    return judge_mps(bare, said, alone, whole, half)
