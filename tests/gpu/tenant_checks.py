# SPDX-License-Identifier: Apache-2.0
# Copyright the cuslice authors
#
# Rows about tenants: processes with slices of their own that use the GPU at the same time. What one
# has of the GPU is told by its work: the rate of kernels of one length, beside their rate when it
# is alone and bare. Beside it stands the time that its kernels note by the GPU's own clock, which
# contains the time slices of others wherever the driver lets several processes in at once.
import os
import signal
import time

from driver_checks import judge
from machine import Failed
from meter import meters_of
from workers import fleet_of

SPLITS = ((50, 50), (70, 30), (90, 10))
PAIRS = (("burn", "burn"), ("copy", "burn"))  # bound by arithmetic, by memory
QUANTA_MS = (1, 2, 5, 10, 20)
DEFAULT_QUANTUM_MS = 5
MOST_OFF = 2.0           # points
MOST_OFF_LONG = 3.0
LEAST_SUM = 97.0         # % of what one has alone
LEAD_MS = 600            # the burst is spent by then
# And what was let go before it was known how long kernels take is repaid by then.
LONG_LEAD_MS = 3000
PERIOD_MS, KERNEL_MS = 10, 1.0   # of requests, about
DEVICE_SLICE_MS = 2.0    # what a driver gives a process at once, as far as is known
MOST_AFTER_KILL_MS, MOST_AFTER_STOP_MS = 20.0, 100.0
STOPPED_S = 0.3
SIMGPU_SETTINGS = ("kernel.gpu_copy=120us", "kernel.gpu_step=5us", "kernel.gpu_advance=1us",
                   "kernel.gpu_short=100us", "kernel.gpu_burn=1ms", "kernel.gpu_long=200ms")


def number(values, key):
    return int(values[key])


def tenant_fleet(machine, key, limits):
    """Workers "bare" and "bare2", and one for each name of `limits`, which gives its variables."""
    argv = [machine.program("gpu-load")]

    def start(fleet):
        for who in ("bare", "bare2"):
            fleet.start(who, argv)
        for who, (share, more) in limits.items():
            fleet.start(who, argv, {**machine.slice(compute=f"{share}%"), **more})
        said = {who: worker.ask("hello") for who, worker in fleet.workers.items()}
        fleet.pids = {who: number(values, "pid") for who, values in said.items()}
        fleet.meter, _ = meters_of(fleet, said["bare"]["uuid"])
        unsliced = [who for who in limits if said[who]["is_sliced"] != "yes"]
        if unsliced:
            raise Failed(f"the library is not in {', '.join(unsliced)}")

    return fleet_of(machine, key, start, SIMGPU_SETTINGS)


def rate_of(values):
    return number(values, "done") * 1e9 / number(values, "wall_ns")


def run_alone(fleet, workload, time_ms=700):
    return rate_of(fleet.workers["bare"].ask(f"run {workload} 200 {time_ms}"))


def run_beside(fleet, orders, time_ms, lead_ms=LEAD_MS):
    """orders: {worker: workload}. Their answers, and how busy the meter saw the GPU."""
    for who, workload in orders.items():
        fleet.workers[who].order(f"run {workload} {lead_ms} {time_ms}")
    for who in orders:
        fleet.workers[who].wait_for("begun")
    fleet.meter.start()
    time.sleep(0.8 * time_ms / 1000)
    percent = fleet.meter.stop().get("percent")
    return {who: fleet.workers[who].answer() for who in orders}, percent


def work_of(answers, orders, bare):
    """% of what each does alone and bare."""
    return {who: 100 * rate_of(values) / bare[orders[who]] for who, values in answers.items()}


def own_time(values):
    """% of the time in which its kernels ran, as they note it; slices of others included."""
    return 100 * number(values, "busy_ns") / number(values, "wall_ns")


def percent_text(value):
    return "-" if value is None else f"{value:.2f} %"


def line_of(name, work, answers, total, metered):
    each = " ".join(f"{work[who]:>7.2f} ({own_time(answers[who]):>6.2f})" for who in work)
    return f"{name:<22} {each} {total:>7.2f} {percent_text(metered):>9}"


HEAD = "                       work, (own notes), % of alone       sum     meter"


def check_native(machine):
    """Two bare processes, as the driver divides the GPU between them: evidence."""
    fleet = tenant_fleet(machine, "tenants-native", {})
    lines, figures = [HEAD], {}
    for first, second in (*PAIRS, ("copy", "copy")):
        orders = {"bare": first, "bare2": second}
        bare = {workload: run_alone(fleet, workload) for workload in set(orders.values())}
        answers, metered = run_beside(fleet, orders, 1500)
        work = work_of(answers, orders, bare)
        total = sum(work.values())
        lines.append(line_of(f"{first}, {second}", work, answers, total, metered))
        figures[f"{first}, {second}"] = ", ".join(percent_text(each) for each in work.values())
    return judge([(total > 0, "nothing was done")], {**figures, "table": lines})


def judge_split(split, work, name, least_sum=LEAST_SUM):
    total = sum(work.values())
    claims = [(abs(done - share) <= MOST_OFF, f"{name}: {done:.2f} % of the work with {share} %")
              for share, done in zip(split, work.values())]
    claims.append((total >= least_sum, f"{name}: together {total:.2f} % of what one does alone"))
    return claims


def check_split(split, machine):
    fleet = tenant_fleet(machine, f"tenants-{split}", {
        "a": (split[0], {}), "b": (split[1], {})})
    lines, claims, figures = [HEAD], [], {}
    for first, second in PAIRS:
        orders = {"a": first, "b": second}
        before = {workload: run_alone(fleet, workload) for workload in set(orders.values())}
        answers, metered = run_beside(fleet, orders, 3000)
        after = {workload: run_alone(fleet, workload) for workload in set(orders.values())}
        bare = {workload: (before[workload] + after[workload]) / 2 for workload in before}
        work = work_of(answers, orders, bare)
        name = f"{first}, {second}"
        lines.append(line_of(name, work, answers, sum(work.values()), metered))
        figures[name] = ", ".join(percent_text(each) for each in work.values())
        claims += judge_split(split, work, name)
    return judge(claims, {**figures, "table": lines})


def check_quantum(machine):
    """Each quantum: two at 50 %, and requests at 50 % beside one that keeps the GPU busy. Judged
    with the default, told of the others."""
    limits = {f"{who}{quantum}": (50, {"CUSLICE_QUANTUM": f"{quantum}ms"})
              for quantum in QUANTA_MS for who in "ab"}
    fleet = tenant_fleet(machine, "tenants-quantum", limits)
    lines = ["quantum     work of each       sum    least and most in 1 s   requests p50    p99"]
    claims = []
    bare = {"burn": run_alone(fleet, "burn")}
    for quantum in QUANTA_MS:
        orders = {f"a{quantum}": "burn", f"b{quantum}": "burn"}
        answers, _ = run_beside(fleet, orders, 2500)
        work = work_of(answers, orders, bare)
        windows = [100 * float(values[key]) / bare["burn"] for values in answers.values()
                   for key in ("least_per_s", "most_per_s")]
        fleet.workers[f"b{quantum}"].order(f"run burn 100 {LEAD_MS + 2500}")
        found = fleet.workers[f"a{quantum}"].ask(f"requests {PERIOD_MS} 2500")
        fleet.workers[f"b{quantum}"].answer()
        each = " ".join(f"{done:.2f}" for done in work.values())
        lines.append(f"{quantum:>4} ms  {each:>16} {sum(work.values()):>9.2f} "
                     f"{min(windows):>12.2f} {max(windows):>9.2f} "
                     f"{number(found, 'p50_ns') / 1e6:>13.2f} {number(found, 'p99_ns') / 1e6:>8.2f}")
        if quantum == DEFAULT_QUANTUM_MS:
            claims += judge_split((50, 50), work, f"{quantum} ms", 95)
    return judge(claims, {"table": lines})


def check_latency(machine):
    """1 ms of work every 10 ms, of class latency and with half of the GPU, beside a batch."""
    fleet = tenant_fleet(machine, "tenants-latency", {
        "latency": (50, {"CUSLICE_CLASS": "latency"}), "batch": (50, {})})
    asked = f"requests {PERIOD_MS} 4000"
    bare = fleet.workers["bare"].ask(asked)
    alone = fleet.workers["latency"].ask(asked)
    fleet.workers["batch"].order("run burn 100 4500")
    fleet.workers["batch"].wait_for("begun")
    beside = fleet.workers["latency"].ask(asked)
    batch = fleet.workers["batch"].answer()
    most_ms = 1.1 * number(alone, "p99_ns") / 1e6 + KERNEL_MS + DEVICE_SLICE_MS
    figures = {f"{key[:3]} {name}": f"{number(values, key) / 1e6:.2f} ms"
               for key in ("p50_ns", "p99_ns")
               for name, values in (("bare", bare), ("alone", alone), ("beside", beside))}
    figures["batch per s"] = f"{rate_of(batch):.1f}"
    return judge([(number(beside, "p99_ns") / 1e6 <= most_ms,
                   f"p99 {number(beside, 'p99_ns') / 1e6:.2f} ms, meant: {most_ms:.2f} ms")],
                 figures)


def check_long(machine):
    """Kernels of about 200 ms: beside some of about 0.1 ms, and alone."""
    fleet = tenant_fleet(machine, "tenants-long", {"a": (50, {}), "b": (50, {}), "c": (30, {})})
    bare = {"short": run_alone(fleet, "short"), "long": run_alone(fleet, "long", 1500)}
    orders = {"a": "long", "b": "short"}
    answers, _ = run_beside(fleet, orders, 5000, LONG_LEAD_MS)
    work = work_of(answers, orders, bare)
    alone = 100 * rate_of(fleet.workers["c"].ask(f"run long {LONG_LEAD_MS} 5000")) / bare["long"]
    claims = [(abs(done - 50) <= MOST_OFF_LONG, f"{orders[who]}: {done:.2f} % with 50 %")
              for who, done in work.items()]
    claims.append((abs(alone - 30) <= MOST_OFF_LONG, f"long, alone: {alone:.2f} % with 30 %"))
    return judge(claims, {"long beside short": percent_text(work["a"]),
                          "short beside long": percent_text(work["b"]),
                          "one long kernel": f"{1000 / bare['long']:.0f} ms",
                          "long with 30 % alone": percent_text(alone)})


def disturb(fleet, victim, signal_number):
    """Both at work; in the middle the victim gets the signal. Milliseconds that the survivor was
    longest without the end of a kernel."""
    for who in ("survivor", victim):
        fleet.workers[who].order(f"run burn {LEAD_MS} 1500")
    for who in ("survivor", victim):
        fleet.workers[who].wait_for("begun")
    time.sleep(0.5)
    os.kill(fleet.pids[victim], signal_number)
    if signal_number == signal.SIGSTOP:
        time.sleep(STOPPED_S)
        os.kill(fleet.pids[victim], signal.SIGCONT)
        fleet.workers[victim].answer()
    return number(fleet.workers["survivor"].answer(), "gap_ns") / 1e6


def check_holder(machine):
    """A tenant is stopped, three times, and then killed, wherever in its turn it is. The other one
    has half of the GPU, and a gap of a turn is its usual one."""
    fleet = tenant_fleet(machine, "tenants-holder", {"survivor": (50, {}), "victim": (50, {})})
    stops = [disturb(fleet, "victim", signal.SIGSTOP) for _ in range(3)]
    killed = disturb(fleet, "victim", signal.SIGKILL)
    machine.dismiss()  # one of them is dead
    return judge([
        (max(stops) <= MOST_AFTER_STOP_MS + KERNEL_MS,
         f"without the GPU for {max(stops):.1f} ms when the other was stopped"),
        (killed <= MOST_AFTER_KILL_MS + KERNEL_MS,
         f"without the GPU for {killed:.1f} ms when the other was killed"),
    ], {"stopped": ", ".join(f"{each:.1f} ms" for each in stops), "killed": f"{killed:.1f} ms"})

