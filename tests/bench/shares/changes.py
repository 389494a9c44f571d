# SPDX-License-Identifier: Apache-2.0
# Copyright the cuslice authors
#
# The suites of tenants of which some come, go, die, or are given other shares: `borrow`, `change`,
# `holder`, `kills`.
import random
import signal
import time

from cells import Load, Tenant
from checks import Check, at_least, at_most, within
from figures import NS_PER_MS, NS_PER_S, all_begun_ns, figures_of, lag_ns, late_ns, \
    longest_stall_ns, windows_sliding
from machine import Failed, TooLittle
from sharing import OFF_TOGETHER, name_of, names_of, queues

MS = NS_PER_MS
FINE = "1ms"
COARSE = "50ms"  # hundreds of processes are asked for, dead ones too

GIVEN_BACK_NS = 50 * MS   # and the longest command
LEAST_BORROWED = 95       # % of what a neighbour leaves idle
BURST_FOR_NS = 100 * MS   # in which one that was kept below its share spends its burst of 20 ms
SEEN_FOR_NS = 400 * MS    # how long after a change it is looked at

DISTURB_EVERY_S = 0.5
STOPPED_S = 0.3
KILLED_MS, STOPPED_MS = 20.0, 100.0
KILL_EVERY_S = 0.2
KILLS_S, QUICK_KILLS_S = 120.0, 5.0
SETTLED_S = 1.0           # after the last kill
AFTER_S, QUICK_AFTER_S = 10.0, 3.0
OFF_WHILE_KILLED = 5.0    # points, in any second


def use_between(trace, from_ns, to_ns):
    return trace.use(trace.since(from_ns), trace.since(to_ns))


def check_borrow(bench, options, borrower, other):
    """`other` works half of each period. What it leaves is the borrower's, and is given back when
    it begins again."""
    periods = 2 if options.quick else max(2, round(options.seconds * NS_PER_S /
                                                   other.load.period_ns))
    seconds = (periods + 0.5) * other.load.period_ns / NS_PER_S
    (trace, _), (its_trace, said) = bench.run(
        [(each.load, each.share, each.more) for each in (borrower, other)], seconds, FINE)
    idle = [(said[f"off_{i}_ns"], said[f"on_{i + 1}_ns"]) for i in range(periods - 1)]
    idle_ns = sum(end - begin for begin, end in idle)
    if ("CUSLICE_BORROW", "yes") not in borrower.more:
        use = max(use_between(trace, begin + BURST_FOR_NS, end) for begin, end in idle)
        return [at_most("use while the other is idle", use,
                        borrower.share + OFF_TOGETHER + options.room)]
    use = sum(use_between(trace, *span) * (span[1] - span[0]) for span in idle) / idle_ns
    borrowed = 100 * (use - borrower.share) / (100 - borrower.share)
    longest_ns = max(borrower.load.length_ns, other.load.length_ns)
    lag = max(lag_ns(its_trace, other.share, begin, SEEN_FOR_NS) for _, begin in idle)
    return [
        at_least("of the idle time used", borrowed, LEAST_BORROWED - options.room),
        at_most("given back after", lag / MS,
                (GIVEN_BACK_NS + longest_ns) / MS + options.room, "ms"),
    ]


def borrow(bench, options):
    other = Tenant(50, Load("phases", MS, options.blocks, period_ns=2 * NS_PER_S, on_ns=NS_PER_S))
    lengths = (MS,) if options.quick else (MS, 10 * MS)
    for length_ns in lengths:
        for lends in ("yes",) if options.quick else ("yes", "no"):
            borrower = Tenant(50, Load("queue", length_ns, options.blocks),
                              (("CUSLICE_BORROW", lends),))
            yield names_of([borrower, other]), \
                lambda borrower=borrower: check_borrow(bench, options, borrower, other)


def check_tighten(bench, options, load, before, after):
    """By the program itself, by cuslice.h."""
    (trace, said), = bench.run([(load, before)], 2 * options.warmup + 2, FINE)
    late = late_ns(trace, before, after, said["tightened_at_ns"], SEEN_FOR_NS)
    return [at_most("goes on at the old share for", late / MS,
                    (GIVEN_BACK_NS + load.length_ns) / MS + options.room, "ms")]


def check_joined(bench, options, load, before, after):
    """By another member of its group that brings a smaller one."""
    group = (("CUSLICE_GROUP", f"shares-{random.randrange(1 << 40):x}"),)
    with bench.stage([load], FINE) as stage:
        program = stage.start(options.warmup + 3, load, before, group)
        time.sleep(options.warmup + 1)
        member = stage.start(1.5, Load("idle", MS), after, group)
        said = stage.finish(member)
        stage.finish(program)
    late = late_ns(stage.trace(program), before, after, said["begun_ns"], SEEN_FOR_NS)
    return [at_most("goes on at the old share for", late / MS,
                    (GIVEN_BACK_NS + load.length_ns) / MS + options.room, "ms")]


def change(bench, options):
    before, after = 80, 20
    for length_ns in (MS,) if options.quick else (MS, 10 * MS):
        load = Load("queue", length_ns, options.blocks, tighten_ppm=after * 10000)
        yield f"{before} to {after} %, queue of {length_ns // MS} ms, by cuslice.h", \
            lambda load=load: check_tighten(bench, options, load, before, after)
    load = Load("queue", MS, options.blocks)
    yield f"{before} to {after} %, queue of 1 ms, by a new member of its group", \
        lambda: check_joined(bench, options, load, before, after)


def kill_for(stage, seconds, left_s, victims, dice):
    """Kills one of `victims`, pairs of a tenant and its process, and starts it anew, again and
    again. Returns when the last was killed, and how many were."""
    begun_s, kills = time.monotonic(), 0
    while time.monotonic() - begun_s < seconds:
        time.sleep(KILL_EVERY_S)
        i = dice.randrange(len(victims))
        tenant, process = victims[i]
        if not stage.kill(process):
            raise Failed(f"{name_of(tenant)}: ended before it was killed")
        kills += 1
        rest_s = left_s + seconds - (time.monotonic() - begun_s)
        victims[i] = tenant, stage.start(rest_s, tenant.load, tenant.share, tenant.more)
    return time.monotonic_ns(), kills


def judge_survivor(trace, tenant, number, begun_ns, killed_ns, after_s, room):
    first, last = trace.since(begun_ns + NS_PER_S), trace.since(killed_ns)
    least = min(windows_sliding(trace, first, last))
    after = figures_of(trace, SETTLED_S, after_s, tenant.share, killed_ns)
    if after is None:
        raise TooLittle("too little was seen after the last kill")
    return [
        at_least(f"least second of survivor {number}", least,
                 tenant.share - OFF_WHILE_KILLED - room),
        within(f"survivor {number}, {after_s:g} s after", after["use"], tenant.share,
               OFF_TOGETHER + room),
    ]


def check_kills(bench, options, survivors, victims):
    seconds = QUICK_KILLS_S if options.quick else KILLS_S
    after_s = QUICK_AFTER_S if options.quick else AFTER_S
    left_s = SETTLED_S + after_s + 2
    dice = random.Random(options.seed)
    with bench.stage([tenant.load for tenant in survivors + victims], COARSE) as stage:
        running = [stage.start(seconds + left_s, tenant.load, tenant.share, tenant.more)
                   for tenant in survivors]
        pairs = [(tenant, stage.start(seconds + left_s, tenant.load, tenant.share, tenant.more))
                 for tenant in victims]
        time.sleep(1)
        killed_ns, kills = kill_for(stage, seconds, left_s, pairs, dice)
        for process in [*running, *(process for _, process in pairs)]:
            stage.finish(process)
    traces = [stage.trace(process) for process in running]
    begun_ns = all_begun_ns(traces)
    if begun_ns is None:
        raise TooLittle("a survivor never used the GPU")
    found = [Check("killed", "all others ended by themselves", kills, "times", False)]
    for number, (trace, tenant) in enumerate(zip(traces, survivors), 1):
        found += judge_survivor(trace, tenant, number, begun_ns, killed_ns, after_s, options.room)
    return found


def stall_after_ms(trace, at_ns):
    first, last = trace.since(at_ns), trace.since(at_ns + SEEN_FOR_NS)
    return longest_stall_ns(trace, max(first - 1, 0), last) / MS


def check_disturbed(bench, options, survivor, victim, times, disturb):
    """`disturb` does something to the victim and returns when it was done and the victim, or who
    takes its place. The survivor's longest time without the GPU after that."""
    seconds = 2.0 + times * (DISTURB_EVERY_S + STOPPED_S)
    with bench.stage([survivor.load, victim.load], FINE) as stage:
        running = stage.start(seconds + 1, survivor.load, survivor.share, survivor.more)
        process, done = None, []  # the survivor outlives them all
        for _ in range(times):
            if process is None:
                process = stage.start(seconds + 1, victim.load, victim.share, victim.more)
            time.sleep(DISTURB_EVERY_S)
            at_ns, process = disturb(stage, process)
            done.append(at_ns)
        if process is not None:
            stage.kill(process)
        stage.finish(running)
    trace = stage.trace(running)
    if trace.begin() is None:
        raise TooLittle("the survivor never used the GPU")
    return max(stall_after_ms(trace, at_ns) for at_ns in done)


def kill_it(stage, process):
    at_ns = time.monotonic_ns()
    if not stage.kill(process):
        raise Failed("ended before it was killed")
    return at_ns, None


def stop_it(stage, process):
    del stage
    at_ns = time.monotonic_ns()
    process.send_signal(signal.SIGSTOP)
    time.sleep(STOPPED_S)
    process.send_signal(signal.SIGCONT)
    return at_ns, process


def holder(bench, options):
    """Whoever has its turn is killed, is stopped, or has a command that takes much longer than was
    to be expected."""
    survivor = queues(50, blocks=options.blocks)[0]
    times = 3 if options.quick else 20
    for name, victim, disturb, most_ms in (
            ("killed", survivor, kill_it, KILLED_MS), ("stopped", survivor, stop_it, STOPPED_MS)):
        yield f"{names_of([survivor, victim])}, the other {name} {times} times", \
            lambda victim=victim, disturb=disturb, most_ms=most_ms: [at_most(
                "longest without the GPU", check_disturbed(
                    bench, options, survivor, victim, times, disturb),
                most_ms + survivor.load.length_ns / MS + options.room, "ms")]
    hanging = Tenant(50, Load("sync", 2 * NS_PER_S, options.blocks))
    yield f"{names_of([survivor, hanging])}, which is not known to take so long", \
        lambda: [at_most("longest without the GPU", check_hang(bench, options, survivor, hanging),
                         STOPPED_MS + survivor.load.length_ns / MS + options.room, "ms")]


def check_hang(bench, options, survivor, hanging):
    """The device gives the survivor time slices as soon as it asks for them."""
    with bench.stage([survivor.load, hanging.load], FINE) as stage:
        running = stage.start(3.5, survivor.load, survivor.share, survivor.more)
        time.sleep(1)
        at_ns = time.monotonic_ns()
        other = stage.start(0.5, hanging.load, hanging.share, hanging.more)
        stage.finish(other)
        stage.finish(running)
    trace = stage.trace(running)
    if trace.begin() is None or stage.trace(other).begin() is None:
        raise TooLittle("one of them never used the GPU")
    return longest_stall_ns(trace, trace.since(at_ns), trace.since(at_ns + 2 * NS_PER_S)) / MS


def kills(bench, options):
    survivors = queues(30, 20, blocks=options.blocks)
    victims = queues(20, 15, 15, blocks=options.blocks)
    yield f"survivors {names_of(survivors)}; victims {names_of(victims)}", \
        lambda: check_kills(bench, options, survivors, victims)
