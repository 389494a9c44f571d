# SPDX-License-Identifier: Apache-2.0
# Copyright the cuslice authors
#
# From samples of a process's GPU time to figures. Use is in percent of the time, a share as well.
import bisect
import statistics

NS_PER_S = 1_000_000_000
NS_PER_MS = 1_000_000
WINDOW_NS = NS_PER_S

# A bare program that uses the GPU less than this is bound by its host.
BUSY = 95


class Trace:
    """Samples in order of time: GPU time used and kernels ended until then."""

    def __init__(self):
        self.at_ns, self.used_ns, self.ended = [], [], []

    def add(self, at_ns, used_ns, ended):
        self.at_ns.append(at_ns)
        self.used_ns.append(used_ns)
        self.ended.append(ended)

    def begin(self):
        """The last sample before any GPU time was used; None where none was."""
        for i, used_ns in enumerate(self.used_ns):
            if used_ns > 0:
                return max(i - 1, 0)
        return None

    def since(self, at_ns):
        """The first sample that is not before at_ns; the last one where all are."""
        return min(bisect.bisect_left(self.at_ns, at_ns), len(self.at_ns) - 1)

    def use(self, first, last):
        """Between two samples, which both tell the time they hold for: exact."""
        span_ns = self.at_ns[last] - self.at_ns[first]
        return 100 * (self.used_ns[last] - self.used_ns[first]) / span_ns if span_ns else 0.0


def windows_apart(trace, first, last):
    """Uses of windows of a second, one behind the other."""
    uses = []
    while True:
        end = trace.since(trace.at_ns[first] + WINDOW_NS)
        if end > last or trace.at_ns[end] - trace.at_ns[first] < WINDOW_NS:
            return uses
        uses.append(trace.use(first, end))
        first = end


def windows_sliding(trace, first, last):
    """Uses of windows of a second from every sample on."""
    uses = []
    for begin in range(first, last):
        end = trace.since(trace.at_ns[begin] + WINDOW_NS)
        if end > last or trace.at_ns[end] - trace.at_ns[begin] < WINDOW_NS:
            break
        uses.append(trace.use(begin, end))
    return uses


def longest_stall_ns(trace, first, last):
    """The longest time between two samples without any GPU time in between."""
    longest, begin = 0, first
    for i in range(first + 1, last + 1):
        if trace.used_ns[i] != trace.used_ns[i - 1]:
            begin = i
        longest = max(longest, trace.at_ns[i] - trace.at_ns[begin])
    return longest


def figures_of(trace, warmup_s, seconds, share):
    """Of one run, from `warmup_s` after the first use of the GPU on, for at most `seconds`; the
    beginning, in which the burst is spent, has a figure of its own. None where there is nothing."""
    begin = trace.begin()
    if begin is None:
        return None
    first = trace.since(trace.at_ns[begin] + int(warmup_s * NS_PER_S))
    last = trace.since(trace.at_ns[first] + int(seconds * NS_PER_S))
    span_ns = trace.at_ns[last] - trace.at_ns[first]
    if span_ns < 0.9 * seconds * NS_PER_S:
        return None
    sliding = windows_sliding(trace, first, last) or [trace.use(first, last)]
    second = trace.since(trace.at_ns[begin] + NS_PER_S)
    return {
        "use": trace.use(first, last),
        "windows": windows_apart(trace, first, last),
        "lowest": min(sliding),
        "highest": max(sliding),
        "stall_ms": longest_stall_ns(trace, first, last) / NS_PER_MS,
        "kernels_per_s": (trace.ended[last] - trace.ended[first]) * NS_PER_S / span_ns,
        "start_ms": (trace.used_ns[second] - trace.used_ns[begin] -
                     share / 100 * (trace.at_ns[second] - trace.at_ns[begin])) / NS_PER_MS,
    }


def cell_figures(share, bare_runs, runs):
    """Medians over the rounds of a cell; the worst of all rounds for what is worst."""
    bare = statistics.median(run["use"] for run in bare_runs)
    bare_rate = statistics.median(run["kernels_per_s"] for run in bare_runs)
    rate = statistics.median(run["kernels_per_s"] for run in runs)
    windows = [use for run in runs for use in run["windows"]]
    highest = max(run["highest"] for run in runs)
    proportional = bare_rate * min(1, share / bare) if bare else 0
    return {
        "bare": bare,
        "bare_least": min(run["use"] for run in bare_runs),
        "use": statistics.median(run["use"] for run in runs),
        "sd": statistics.stdev(windows) if len(windows) > 1 else None,
        "lowest": min(run["lowest"] for run in runs),
        "highest": highest,
        "overshoot": max(0.0, highest - share),
        "stall_ms": max(run["stall_ms"] for run in runs),
        "start_ms": statistics.median(run["start_ms"] for run in runs),
        "sampled": statistics.median(run["sampled"] for run in runs),
        "work": 100 * rate / proportional if proportional else 0.0,
    }


def verdict_of(share, tolerance, keeps, figures):
    """None where the cell holds, else what is wrong. tolerance in points; keeps: what a program
    that is bound by its host has to keep, in % of what it may have."""
    use, wanted = figures["use"], min(share, figures["bare"])
    if use > share + tolerance:
        return f"more than {share:g} + {tolerance:g} %"
    if figures["bare"] >= BUSY and use < wanted - tolerance:
        return f"less than {wanted:.1f} - {tolerance:g} %"
    if figures["bare"] < BUSY and use < keeps / 100 * wanted:
        return f"less than {keeps:g} % of {wanted:.1f} %"
    return None
