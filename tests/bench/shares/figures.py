# SPDX-License-Identifier: Apache-2.0
# Copyright the cuslice authors
#
# From samples of a process's GPU time to figures. Use is in percent of the time, a share as well.
import bisect
import statistics
from dataclasses import dataclass

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


def figures_of(trace, warmup_s, seconds, share, begun_ns=0):
    """Of one run, from `warmup_s` after its first use of the GPU on, or after begun_ns where that
    is later, for at most `seconds`; the beginning, in which the burst is spent, has a figure of its
    own. None where there is nothing."""
    begin = trace.begin()
    if begin is None:
        return None
    begin = max(begin, trace.since(begun_ns))
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


def sd_of(uses):
    return statistics.stdev(uses) if len(uses) > 1 else None


def all_begun_ns(traces):
    """When the last of them first used the GPU; None where one never did."""
    begins = [(trace, trace.begin()) for trace in traces]
    if any(begin is None for _, begin in begins):
        return None
    return max(trace.at_ns[begin] for trace, begin in begins)


def lag_ns(trace, share, from_ns, span_ns):
    """The longest that it was behind the GPU time that its share gives from from_ns on: one that
    gets nothing for 40 ms and then all that is its due is 40 ms behind."""
    first, last = trace.since(from_ns), trace.since(from_ns + span_ns)
    used_ns = trace.used_ns[max(first - 1, 0)]
    return max(trace.at_ns[i] - from_ns - (trace.used_ns[i] - used_ns) * 100 / share
               for i in range(first, last + 1))


def late_ns(trace, before, after, from_ns, span_ns):
    """For how long it seems to have gone on at the share `before` when, from from_ns on, it should
    have had `after`, which is less."""
    first, last = trace.since(from_ns), trace.since(from_ns + span_ns)
    used_ns = trace.used_ns[max(first - 1, 0)]
    return max((trace.used_ns[i] - used_ns - after / 100 * (trace.at_ns[i] - from_ns)) * 100 /
               (before - after) for i in range(first, last + 1))


def cell_figures(share, bare_runs, runs):
    """Medians over the rounds of a cell; the worst of all rounds for what is worst."""
    bare = statistics.median(run["use"] for run in bare_runs)
    bare_rate = statistics.median(run["kernels_per_s"] for run in bare_runs)
    rate = statistics.median(run["kernels_per_s"] for run in runs)
    windows = [use for run in runs for use in run["windows"]]
    bare_windows = [use for run in bare_runs for use in run["windows"]]
    highest = max(run["highest"] for run in runs)
    proportional = bare_rate * min(1, share / bare) if bare else 0
    return {
        "bare": bare,
        "bare_least": min(run["use"] for run in bare_runs),
        "use": statistics.median(run["use"] for run in runs),
        "sd": sd_of(windows),
        "bare_sd": sd_of(bare_windows),
        "lowest": min(run["lowest"] for run in runs),
        "highest": highest,
        "overshoot": max(0.0, highest - share),
        "stall_ms": max(run["stall_ms"] for run in runs),
        "start_ms": statistics.median(run["start_ms"] for run in runs),
        "sampled": statistics.median(run["sampled"] for run in runs),
        "work": 100 * rate / proportional if proportional else 0.0,
    }


@dataclass(frozen=True)
class Limits:
    """What a cell has to hold. Points of the GPU's time, but for keeps: what a program that is
    bound by its host has to keep, in % of what it may have. None: not looked at."""
    tolerance: float
    keeps: float
    sd: float | None = None
    stall_ms: float | None = None


# Below this share a command of 10 ms is further apart from the next than any stall.
LEAST_WITHOUT_STALLS = 10


def verdict_of(share, limits, figures):
    """None where the cell holds, else what is wrong."""
    use, wanted = figures["use"], min(share, figures["bare"])
    if use > share + limits.tolerance:
        return f"more than {share:g} + {limits.tolerance:g} %"
    if figures["bare"] >= BUSY and use < wanted - limits.tolerance:
        return f"less than {wanted:.1f} - {limits.tolerance:g} %"
    if figures["bare"] < BUSY and use < limits.keeps / 100 * wanted:
        return f"less than {limits.keeps:g} % of {wanted:.1f} %"
    # Where the share does not hold it back, it varies as the bare program does.
    own_sd = (figures.get("bare_sd") or 0) if figures["bare"] < share else 0
    if limits.sd is not None and (figures["sd"] or 0) > limits.sd + own_sd:
        return f"sd more than {limits.sd:g}" + (f" + {own_sd:.1f}" if own_sd else "")
    if limits.stall_ms is not None and share >= LEAST_WITHOUT_STALLS and \
            figures["stall_ms"] > limits.stall_ms:
        return f"a stall of more than {limits.stall_ms:g} ms"
    return None
