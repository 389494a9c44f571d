# SPDX-License-Identifier: Apache-2.0
# Copyright the cuslice authors
#
# The suites of tenants side by side that all go on doing what they do: `together`, `latency`,
# `long`.
from cells import Load, Tenant, length_text
from checks import at_least, at_most, within
from figures import BUSY, NS_PER_MS, all_begun_ns, figures_of
from machine import TooLittle

MS = NS_PER_MS
US = 1000

# The programs start together; none is measured before the last has begun or after the first ends.
SPARE_S = 1.5
ALONE_S = 2.0

OFF_TOGETHER = 2.0     # points
OFF_LONG = 3.0
LEAST_SUM = 97         # % of what one alone uses
LEAST_OF_OWN = 95      # % of what a program that is bound by its host may have
KEPT_NS = 100 * US     # what others have in flight beyond one command (books.c)
DEVICE_SLICE_NS = MS   # as simgpu has it: slice_us
LONG_S = 5
# Until it is known how long they take, some commands may be let go one behind the other, as if the
# first had stalled (turns.c); that is repaid by then.
LONG_WARMUP_S = 3.0


def name_of(tenant):
    length = tenant.load.length_ns
    words = [f"{tenant.share:g} %", tenant.load.pattern]
    if length != MS:
        words.append(f"of {length // MS} ms" if length % MS == 0 else f"of {length // US} µs")
    if tenant.load.pattern == "thinks":
        words.append(f"and {length_text(tenant.load.period_ns)}")
    return " ".join(words + [f"{name}={value}" for name, value in
                             ((name.removeprefix("CUSLICE_").lower(), value)
                              for name, value in tenant.more if value is not None)])


def names_of(tenants):
    return ", ".join(map(name_of, tenants))


def run_alone(bench, options, load, share, more=(), seconds=ALONE_S):
    """(figures, what it said) of a program with nobody beside it; share None: bare."""
    (trace, said), = bench.run([(load, share, more)], options.warmup + seconds + 0.3)
    figures = figures_of(trace, options.warmup, seconds, share or 100)
    if figures is None:
        raise TooLittle(f"{load}: too little of a run was seen")
    return figures, said


def run_together(bench, options, tenants, seconds, warmup_s=None):
    """Figures and words of each, measured while all are at work."""
    warmup_s = warmup_s or options.warmup
    programs = [(tenant.load, tenant.share, tenant.more) for tenant in tenants]
    done = bench.run(programs, warmup_s + seconds + SPARE_S)
    begun_ns = all_begun_ns([trace for trace, _ in done])
    if begun_ns is None:
        raise TooLittle(f"{names_of(tenants)}: one of them never used the GPU")
    found = [(figures_of(trace, warmup_s, seconds, tenant.share, begun_ns), said)
             for (trace, said), tenant in zip(done, tenants)]
    if any(figures is None for figures, _ in found):
        raise TooLittle(f"{names_of(tenants)}: too little of a run was seen")
    return found


def may_have(tenant, alone, others):
    """Of one that is bound by its host, alone: what it uses then. If it thinks, each time that it
    comes back it finds at most one command of another, and what that keeps ready."""
    if tenant.load.pattern == "thinks":
        cycle_ns = 100 * tenant.load.length_ns / alone
        alone *= cycle_ns / (cycle_ns + KEPT_NS + max(other.load.kernel_ns for other in others))
    return min(tenant.share, alone)


def check_together(bench, options, tenants):
    """Those that keep the GPU busy by themselves get their shares; those that are bound by their
    host what they would use, or their share. Where all keep it busy none of its time is lost."""
    bare = {load: run_alone(bench, options, load, None)[0]["use"]
            for load in {tenant.load for tenant in tenants}}
    found = run_together(bench, options, tenants, options.seconds)
    checks, are_busy = [], all(use >= BUSY for use in bare.values())
    for tenant, (figures, _) in zip(tenants, found):
        use, alone = figures["use"], bare[tenant.load]
        name = f"use, {len(checks) + 1}: {tenant.load.pattern}"
        if alone < BUSY:
            others = [other for other in tenants if other is not tenant]
            wanted = LEAST_OF_OWN / 100 * may_have(tenant, alone, others) - options.room
            checks.append(at_least(name, use, wanted))
        elif are_busy:
            checks.append(within(name, use, tenant.share, OFF_TOGETHER + options.room))
        else:
            checks.append(at_most(name, use, tenant.share + OFF_TOGETHER + options.room))
    if are_busy and sum(tenant.share for tenant in tenants) == 100:
        total = sum(figures["use"] for figures, _ in found)
        least = LEAST_SUM / 100 * min(bare.values()) - options.room
        checks.append(at_least("sum", total, least))
    return checks


def queues(*shares, length_ns=MS, blocks=0):
    return [Tenant(share, Load("queue", length_ns, blocks)) for share in shares]


def weighted(weight, share, blocks):
    """share: what the weight amounts to, beside the others."""
    return Tenant(share, Load("queue", MS, blocks),
                  (("CUSLICE_COMPUTE", None), ("CUSLICE_WEIGHT", str(weight))))


def host_bound(share, batch_share, pattern, length_ns, blocks):
    return [Tenant(batch_share, Load("queue", MS, blocks)),
            Tenant(share, Load(pattern, length_ns, blocks))]


def thinking(blocks):
    """Programs that do something else after each kernel that they waited for, beside a queue."""
    return [[Tenant(100 - share, Load("queue", batch_ns, blocks)),
             Tenant(share, Load("thinks", length_ns, blocks, think_ns))]
            for share in (50, 30) for length_ns, think_ns in ((100 * US, 900 * US),
                                                              (500 * US, 500 * US), (MS, MS))
            for batch_ns in (100 * US, MS)]


def together(bench, options):
    blocks = options.blocks
    lengths = (MS,) if options.quick else (100 * US, MS, 10 * MS)
    sets = [queues(*shares, length_ns=length_ns, blocks=blocks)
            for length_ns in lengths
            for shares in ((50, 50), (70, 30), (90, 10), (40, 30, 20, 10))]
    if options.quick:
        sets = [sets[3]]
    else:
        sets += [
            [Tenant(50, Load("graph", 10 * MS, blocks)), *queues(50, blocks=blocks)],
            [Tenant(50, Load("streams", MS, blocks)), *queues(50, blocks=blocks)],
            [weighted(3, 75, blocks), weighted(1, 25, blocks)],
            host_bound(30, 70, "requests", MS, blocks), host_bound(50, 50, "requests", MS, blocks),
            host_bound(25, 50, "sync", 10 * MS, blocks), host_bound(30, 70, "sync", MS, blocks),
            host_bound(10, 70, "sync", 100 * US, blocks),
        ]
        sets += thinking(blocks)
    for tenants in sets:
        yield names_of(tenants), lambda tenants=tenants: check_together(bench, options, tenants)


def check_latency(bench, options, request, batch):
    _, alone = run_alone(bench, options, request.load, request.share, request.more,
                         options.seconds)
    (figures, said), (batch_figures, _) = run_together(
        bench, options, [request, batch], options.seconds)
    most_ns = 1.1 * alone["p99_ns"] + batch.load.length_ns + DEVICE_SLICE_NS
    wanted = LEAST_OF_OWN / 100 * min(
        request.share, 100 * request.load.length_ns / request.load.period_ns)
    return [
        at_most(f"p99 of {said['requests']} requests; alone {alone['p99_ns'] / MS:.2f} ms",
                said["p99_ns"] / MS, most_ns / MS + options.room, "ms"),
        # Told beside the p99, and bound by it.
        at_most(f"p50; alone {alone['p50_ns'] / MS:.2f} ms", said["p50_ns"] / MS,
                most_ns / MS + options.room, "ms"),
        at_least("use of the requests", figures["use"], wanted - options.room),
        at_most("use of the batch", batch_figures["use"], batch.share + OFF_TOGETHER +
                options.room),
    ]


def latency(bench, options):
    """1 ms of work every 10 ms, with half of the GPU guaranteed."""
    blocks = options.blocks
    request = Tenant(50, Load("requests", MS, blocks), (("CUSLICE_CLASS", "latency"),))
    batch = Tenant(50, Load("queue", MS, blocks))
    pairs = [(request, batch)]
    if not options.quick:
        pairs.append((request, Tenant(50, Load("queue", 100 * US, blocks))))
    for pair in pairs:
        yield names_of(pair), lambda pair=pair: check_latency(bench, options, *pair)


def check_long(bench, options, tenants):
    found = run_together(bench, options, tenants, LONG_S, LONG_WARMUP_S)
    return [within(f"use over {LONG_S} s, {i}: {tenant.load.length_ns / MS:g} ms", figures["use"],
                   tenant.share, OFF_LONG + options.room)
            for i, (tenant, (figures, _)) in enumerate(zip(tenants, found), 1)]


def long(bench, options):
    tenants = [Tenant(50, Load("queue", length_ns, options.blocks))
               for length_ns in (200 * MS, 100 * US)]
    yield names_of(tenants), lambda: check_long(bench, options, tenants)
