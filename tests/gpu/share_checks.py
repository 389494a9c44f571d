# SPDX-License-Identifier: Apache-2.0
# Copyright the cuslice authors
#
# Rows about shares: what a workload gets of the GPU under each share, and what being preloaded
# costs it. One worker for each limit, all started at once; they work in turns, so that bare and
# limited runs meet the same GPU.
import importlib.util
import os
import statistics
import sys
import time

from driver_checks import judge
from machine import HERE, Failed, Skipped
from meter import NvmlError, meters_of
from workers import fleet_of

SHARES = (10, 25, 50, 75, 100)
# Percent of the proportional work that has to be done at a share.
LEAST_WORK = {10: 95, 25: 95, 50: 97, 75: 98, 100: 99}
LEAST_WORK_OF_OTHERS = 90  # that leave the GPU idle
DUTY_S = 2e-3          # gpu-load's workloads "duty.*"
MOST_OFF = 1.0         # points of GPU time
MOST_OVERHEAD = 0.5    # percent
MOST_NOISE = 1.0       # percent; beyond it nothing is said
OVERHEAD_ROUNDS = 6
# By how many ns a launch may cost more than a bare one, by worker.
LAUNCH_COSTS = {"bare": 0, "quota": 2, "100%": 2, "50%": 30}
MOST_NOISE_NS = 100
COST_ROUNDS, COST_BATCHES = 5, 20
MOST_DRIFT_PPM = 500
SIMGPU_SETTINGS = ("kernel.gpu_copy=120us", "kernel.gpu_step=5us", "kernel.gpu_advance=1us",
                   "kernel.gpu_spin=2ms")

# Name: program, and whether it alone keeps the GPU busy. One that does not gets less than its share
# without being held back.
WORKLOADS = {
    "copy": ("gpu-load", True),
    "graph": ("gpu-load", True),
    "gemm": ("torch", True),
    "gemm-small": ("torch", True),
    "decode": ("torch", False),
    "decode-graph": ("torch", False),
}


def command_of(program, machine):
    if program == "gpu-load":
        return [machine.program("gpu-load")]
    machine.needs_real_gpu()
    if importlib.util.find_spec("torch") is None:
        raise Skipped("torch is not installed")
    return [sys.executable, "-B", os.path.join(HERE, "torch_load.py")]


def share_fleet(program, machine):
    argv = command_of(program, machine)

    def start(fleet):
        limits = {"bare": {}, "quota": machine.slice(memory="75%")}
        limits.update({f"{share}%": machine.slice(compute=f"{share}%") for share in SHARES})
        for name, env in limits.items():
            fleet.start(name, argv, env)
        said = {name: worker.ask("hello") for name, worker in fleet.workers.items()}
        fleet.clock_step_ns = int(said["bare"]["clock_step_ns"])
        fleet.meter, fleet.others = meters_of(fleet, said["bare"]["uuid"])
        wrong = [name for name in said if (said[name]["is_sliced"] == "yes") == (name == "bare")]
        if wrong:
            raise Failed(f"is preloaded, or not, against what was asked for: {', '.join(wrong)}")

    return fleet_of(machine, program, start, SIMGPU_SETTINGS)


class Run:
    """What one run of a workload did."""

    def __init__(self, values, readings, clock_mhz):
        self.wall_s = int(values["wall_ns"]) / 1e9
        self.rate = int(values["done"]) / self.wall_s
        self.busy = 100 * int(values["busy_ns"]) / int(values["wall_ns"])
        self.most, self.least = float(values["most_per_s"]), float(values["least_per_s"])
        self.readings, self.clock_mhz = readings, clock_mhz

    @property
    def metered(self):
        """Percent, or None."""
        return self.readings[0]

    def gpu_time(self):
        """Percent of the time that the GPU worked for it: by the kernels' own notes, which come
        from the GPU's clock, else by the meter; None where there is neither."""
        return self.busy if self.busy > 0 else self.metered


def read_clock(meter):
    try:
        return meter.nvml.clock_mhz()
    except (AttributeError, NvmlError):
        return None


def stop(meter):
    try:
        return meter.stop().get("percent")
    except NvmlError:
        return None


def run_once(fleet, who, workload, lead_s, time_s):
    worker = fleet.workers[who]
    worker.order(f"run {workload} {int(lead_s * 1000)} {int(time_s * 1000)}")
    worker.wait_for("begun")
    meters = [fleet.meter, *fleet.others]
    for meter in meters:
        meter.start()
    time.sleep(time_s / 2)
    clock_mhz = read_clock(fleet.meter)
    worker.wait_for("ended")
    readings = [stop(meter) for meter in meters]
    return Run(worker.answer(), readings, clock_mhz)


def number_text(value):
    return "-" if value is None else f"{value:.2f}"


def percent_text(value):
    return "-" if value is None else f"{value:.2f} %"


def judge_with_noise(claims, figures, noise, most_noise):
    """What fails by more than the noise fails; but what holds only within a noise that hides
    everything is not decided."""
    figures = judge(claims, figures)
    if noise > most_noise:
        raise Skipped("bare runs differ too much among themselves to tell", figures)
    return figures


def judge_overhead(rates):
    """Each limited run is compared with the mean of the bare ones before and after it; the median
    of the rounds counts. How far bare runs differ from their successors is the noise."""
    bare = rates["bare"]
    noise = 100 * statistics.median(abs(after / before - 1)
                                    for before, after in zip(bare, bare[1:]))
    figures, claims = {"bare per s": f"{statistics.median(bare):.1f}"}, []
    for who in ("100%", "quota"):
        cost = statistics.median(100 * (1 - 2 * rate / (before + after)) for rate, before, after
                                 in zip(rates[who], bare, bare[1:]))
        figures[f"{who} costs"] = f"{cost:.2f} %"
        claims.append((cost <= MOST_OVERHEAD + noise, f"{who} costs {cost:.2f} %"))
    figures["noise"] = f"{noise:.2f} %"
    return judge_with_noise(claims, figures, noise, MOST_NOISE)


def check_overhead(workload, machine):
    """Rounds of bare, whole GPU, quota only, and a last bare one."""
    fleet = share_fleet(WORKLOADS[workload][0], machine)
    rates = {"bare": [], "100%": [], "quota": []}
    run_once(fleet, "bare", workload, 0.2, 0.5)  # raises the clocks
    for _ in range(OVERHEAD_ROUNDS):
        for who, found in rates.items():
            found.append(run_once(fleet, who, workload, 0.1, 0.7).rate)
    rates["bare"].append(run_once(fleet, "bare", workload, 0.1, 0.7).rate)
    return judge_overhead(rates)


def judge_share(share, run, bare_rate, fills_gpu, bare_time):
    """(line of the table, claims). A program that leaves the GPU idle when nothing holds it back,
    `bare_time` being what it uses, is entitled to that at most."""
    work, gpu_time = 100 * run.rate / bare_rate, run.gpu_time()
    entitled = share if fills_gpu or not bare_time else 100 * min(1, share / bare_time)
    done = 100 * work / entitled
    line = (f"{share:>5} {work:>9.2f} {done:>14.2f} {number_text(run.busy or None):>12} "
            f"{number_text(run.metered):>7} {100 * run.least / bare_rate:>12.2f} "
            f"{100 * run.most / bare_rate:>9.2f} {run.clock_mhz or '-':>5}")
    claims = []
    if gpu_time is not None:
        least = share * (bare_time or 100) / 100 - MOST_OFF if fills_gpu else 0
        claims.append((gpu_time <= share + MOST_OFF,
                       f"{share} %: {gpu_time:.2f} % of the GPU's time"))
        claims.append((gpu_time >= least, f"{share} %: only {gpu_time:.2f} % of the GPU's time"))
    if fills_gpu or bare_time:
        least = LEAST_WORK[share] if fills_gpu else LEAST_WORK_OF_OTHERS
        claims.append((done >= least, f"{share} %: {done:.1f} % of the work it is entitled to"))
    return line, claims


def check_share(workload, machine):
    """Each share's run stands between two bare ones, whose mean is what it is compared with."""
    program, fills_gpu = WORKLOADS[workload]
    fleet = share_fleet(program, machine)
    run_once(fleet, "bare", workload, 0.2, 0.5)
    bare = [run_once(fleet, "bare", workload, 0.1, 0.7)]
    by_kernels = bare[0].busy > 0
    figures = {"bare per s": f"{bare[0].rate:.1f}",
               "GPU time by": "the kernels themselves" if by_kernels else fleet.meter.name,
               "of bare": percent_text(bare[0].gpu_time())}
    lines = ["share      work    of entitled  own kernels   meter  least in 1 s   most 1 s   MHz",
             f"{'bare':>5} {100:>9.2f} {'':>14} {number_text(bare[0].busy or None):>12} "
             f"{number_text(bare[0].metered):>7} {'':>12} {'':>9} {bare[0].clock_mhz or '-':>5}"]
    claims = []
    for share in SHARES:
        # The lead-in uses up what a program may do at once after a pause.
        run = run_once(fleet, f"{share}%", workload, 0.4, 2.0)
        bare.append(run_once(fleet, "bare", workload, 0.1, 0.7))
        bare_rate = (bare[-2].rate + bare[-1].rate) / 2
        line, found = judge_share(share, run, bare_rate, fills_gpu, bare[0].gpu_time())
        lines.append(line)
        claims += found
        figures[f"{share} %"] = f"{100 * run.rate / bare_rate:.2f} %"
    return judge(claims, {**figures, "table": lines})


def check_launch_cost(machine):
    """The workers in turns, some rounds; of each the median of the rounds. How far the bare ones
    are apart is the noise. With a share the GPU is used so little that tokens are always left."""
    fleet = share_fleet("gpu-load", machine)
    found = {who: [] for who in LAUNCH_COSTS}
    for _ in range(COST_ROUNDS):
        for who, values in found.items():
            values.append({key: float(text) for key, text in
                           fleet.workers[who].ask(f"launch {COST_BATCHES}").items()})

    def median(who, key):
        return statistics.median(values[key] for values in found[who])

    bare = [values["p50_ns"] for values in found["bare"]]
    noise = (max(bare) - min(bare)) / 2
    figures, claims = {"bare": f"{median('bare', 'p50_ns'):.0f} ns"}, []
    lines = ["                    batch      p50      p99   two streams (ns)"]
    for who, most in LAUNCH_COSTS.items():
        costs = [median(who, key) for key in ("batch_ns", "p50_ns", "p99_ns", "measured_ns")]
        lines.append(f"{who:<16} " + " ".join(f"{cost:>8.0f}" for cost in costs))
        more = costs[1] - median("bare", "p50_ns")
        if who != "bare":
            figures[who] = f"{more:+.0f} ns"
        claims.append((more <= most + noise, f"{who}: {more:.0f} ns more, meant: {most}"))
    measured = costs[3] - median("bare", "measured_ns")  # of the last one, which has a share
    figures.update({"each measured": f"{measured:+.0f} ns", "noise": f"{noise:.0f} ns",
                    "table": lines})
    return judge_with_noise(claims, figures, noise, MOST_NOISE_NS)


def check_clocks(machine):
    """Shares are told by events, and here by %globaltimer: both have to go as the host's clock."""
    fleet = share_fleet("gpu-load", machine)
    values = fleet.workers["bare"].ask(f"clocks {500 if machine.is_simulated else 5000}")
    error = float(values["error_ppm"])
    return judge([(abs(float(values[key])) <= MOST_DRIFT_PPM + error,
                   f"{key}: {values[key]}") for key in ("events_ppm", "timer_ppm")], values)


def check_gpu_time(machine):
    """Two ways to know GPU time without the library, against kernels whose length is known: one
    that is busy for 2 ms and then rests, and one that notes its own times."""
    fleet = share_fleet("gpu-load", machine)
    if fleet.meter.name == "none":
        raise Skipped("neither NVML nor a simulated machine tells how busy the GPU is")
    figures = {"meter": fleet.meter.name, "step of the GPU's clock": f"{fleet.clock_step_ns} ns"}
    claims = []
    for duty in (10, 50):
        run = run_once(fleet, "bare", f"duty.{duty}", 0.3, 2.0)
        known = 100 * run.rate * DUTY_S
        figures[f"busy {known:.2f} %"] = ", ".join(map(percent_text, run.readings))
        claims.append((run.metered is not None and abs(run.metered - known) <= MOST_OFF,
                       f"of {known:.2f} % the meter sees {percent_text(run.metered)}"))
    run = run_once(fleet, "bare", "copy", 0.3, 1.0)
    if run.busy > 0:
        figures[f"kernels note {run.busy:.2f} %"] = ", ".join(map(percent_text, run.readings))
    return judge(claims, figures)
