# SPDX-License-Identifier: Apache-2.0
# Copyright the cuslice authors
#
# The rows of the report, the most valuable first: what does not fit into the budget is left out
# from the end.
from functools import partial

import driver_checks as driver
import family_checks as families
import group_checks as groups
import partition_checks as partitions
import partition_framework_checks as partition_frameworks
import partition_mps_checks as partition_mps
import partition_tenant_checks as partition_tenants
import program_checks as program
import share_checks as shares
import tenant_checks as tenants
from runner import Row

CLIENT_KINDS = (
    ("linked", "gpu-client-linked", "linked"),
    ("dlsym", "gpu-client-lookup", "dlsym"),
    ("procaddress", "gpu-client-lookup", "procaddress"),
    ("procaddress-v2", "gpu-client-lookup", "procaddress-v2"),
    ("procaddress-per-thread", "gpu-client-lookup", "procaddress-per-thread"),
    ("libcuda.so", "gpu-client-lookup", "libcuda.so"),
)

# Check of gpu-semantics, what libcuslice.so takes for granted, seconds.
SEMANTICS = (
    ("elapsed_negative", "a second event that came earlier gives a negative time", 3),
    ("capture_relaxed", "relaxed event calls do not spoil a global capture", 3),
    ("capture_legacy", "asking the legacy stream does not spoil a capture", 3),
    ("stream_context", "a stream tells its own context, and is sampled, in any other", 3),
    ("primary_state", "retain and release leave a primary context as it was", 3),
    ("primary_reset", "a reset of the primary context gives its memory back", 3),
    ("free_async_linear", "cuMemFreeAsync frees memory of cuMemAlloc", 3),
    ("empty_elapsed", "events around an empty launch bill at most 20 us", 3),
    ("event_cost", "cuEventRecord takes the host at most 10 us", 3),
    ("elapsed_step", "lengths are off by at most 1 us when their base is 5 s back", 8),
    ("old_allocation", "the 32-bit cuMemAlloc works, or refuses", 3),
)

# Script, seconds. The import alone takes up to 10 s, and each runs twice.
FRAMEWORKS = (("torch", "PyTorch", 45), ("cupy", "CuPy", 30), ("triton", "Triton", 40),
              ("jax", "JAX", 45))


def first_rows():
    yield Row("programs", "the programs of the build run here", 5, driver.check_programs)
    yield Row("identity", "symbol and cuGetProcAddress give one address for each hooked function",
              3, driver.check_identity)
    yield Row("routing", "with limits, each lookup of a hooked function leads to its hook, and no "
              "other", 3, driver.check_routing)
    for name, executable, kind in CLIENT_KINDS:
        yield Row(f"client.{name}", "quota seen, refusal beyond it, recovery; bare: untouched", 5,
                  partial(driver.check_client, executable, kind))


def program_rows():
    for kind in ("static", "shared"):
        yield Row(f"runtime.{kind}", "CUDA runtime: as a client, and results equal to a bare run",
                  6, partial(program.check_runtime, kind))
    yield Row("saxpy", "result right, bare and under `cuslice run`; quota seen and refused", 5,
              program.check_saxpy)
    for name, title, seconds in SEMANTICS:
        yield Row(f"semantics.{name}", title, seconds, partial(driver.check_semantics, name))


def framework_row(name, title, seconds):
    return Row(name, f"{title}: results equal to a bare run, quota seen, out of memory beyond it, "
               "recovery", seconds, partial(program.check_framework, name))


def measure_rows():
    yield Row("gpu_time", "who measures GPU time outside the library sees kernels of known length "
              "within a point", 12, shares.check_gpu_time)
    yield Row("clocks", "the time of events and of kernels is the host's within 500 ppm", 7,
              shares.check_clocks)
    yield Row("launch_cost", "a launch costs 2 ns more with a quota or 100 %, 30 ns with a "
              "share and tokens left", 8, shares.check_launch_cost)


def share_rows(wanted):
    """Those of one program follow one another: they share its processes, of which PyTorch's take
    long to start."""
    for workload, (its_program, _) in shares.WORKLOADS.items():
        if its_program != wanted:
            continue
        yield Row(f"share.{workload}", "at 10, 25, 50, 75 and 100 %: that part of the GPU's time, "
                  "within a point, and of the work", 45 if workload == "gemm" else 20,
                  partial(shares.check_share, workload))
        yield Row(f"overhead.{workload}", "with 100 %, and with a quota alone: at most 0.5 % "
                  "slower than bare", 17, partial(shares.check_overhead, workload))


def family_rows():
    for name in families.FAMILIES:
        yield Row(f"family.{name}", "what it takes of the device, as another process sees it, is "
                  "charged", 12 if name == "heap" else 5, partial(families.check_family, name))


def memory_rows():
    for name in program.TORCH_ALLOCATORS:
        yield Row(f"torch-memory.{name}", "PyTorch is refused at the quota, three times alike, and "
                  "goes on", 20, partial(program.check_torch_memory, name))


def group_rows():
    yield Row("kill", "what a killed process held comes back, to the driver and to its group", 10,
              groups.check_kill)
    yield Row("group.memory", "two processes of a group are granted one quota", 8,
              groups.check_group_memory)
    yield Row("group.share", f"two processes of a group with {groups.SHARE} % get that together, "
              "within two points", 15, groups.check_group_share)


def partition_rows():
    """What they are estimated to take is at most four minutes, so that nothing is left out."""
    yield Row("partition.sizes", "each partition that the driver gives runs on as many SMs as it "
              "says", 10, partitions.check_sizes)
    yield Row("partition.streams", "where a stream was made decides where its kernels run, and "
              "events order it with others", 5, partitions.check_streams)
    yield Row("partition.ways", f"mechanism sm, {partitions.SHARE}: no way to bring work leads out "
              "of the partition", 8, partitions.check_ways)
    yield Row("partition.nodes", "nodes that a program puts into graphs run where cuda.h says, and "
              "in a slice on what it is told of", 4, partitions.check_nodes)
    yield Row("partition.order", "streams of 16 threads keep their order and their partition for "
              f"{partitions.ORDER_S} s", 45, partitions.check_order)
    yield Row("partition.runtime", "nor do threads of the CUDA runtime", 5, partitions.check_runtime)
    yield Row("partition.launches", "cooperative launches, clusters and dependent launches run, or "
              "are refused cleanly", 6, partitions.check_launches)
    yield Row("partition.dynamic", f"dynamic parallelism gives at most {partitions.LEAK_SMS} SMs "
              "more", 8, partitions.check_dynamic)
    yield Row("partition.tenants", "two on different SMs do not overlap without MPS; by turns both "
              "do 95 % of what one does alone", 35, partition_tenants.check_tenants)
    yield Row("partition.mps", "50 % by MPS keeps to half of the SMs, and a partition under 100 % "
              "to its own", 15, partition_mps.check_mps)
    yield Row("partition.torch", "PyTorch in a partition: results of a bare run to the bit, no work "
              "outside", 60, partition_frameworks.check_torch)
    for name, title, seconds in (("cupy", "CuPy", 14), ("jax", "JAX", 18)):
        yield Row(f"partition.{name}", f"{title} in a partition: the same", seconds,
                  partial(partition_frameworks.check_framework, name))


def tenant_rows():
    yield Row("tenants.native", "how the driver divides the GPU between two bare processes could "
              "be measured", 15, tenants.check_native)
    for split in tenants.SPLITS:
        name = "-".join(map(str, split))
        yield Row(f"tenants.{name}", f"two at work get {split[0]} and {split[1]} % of it, within "
                  "two points, and together 97 % of what one does alone", 20,
                  partial(tenants.check_split, split))
    yield Row("tenants.latency", "1 ms of work every 10 ms beside a batch: p99 at most 1.1 times "
              "that alone, one kernel, and one slice of the device", 20, tenants.check_latency)
    yield Row("tenants.long", "kernels of 200 ms beside some of 0.1 ms, 50 % each, within three "
              "points", 26, tenants.check_long)
    yield Row("tenants.holder", "a tenant that is stopped costs the other 100 ms, one that is "
              "killed 20 ms", 18, tenants.check_holder)
    yield Row("tenants.quantum", "two at 50 %: 95 % of one alone, within two points; other lengths "
              "of a turn are told", 70, tenants.check_quantum)


def rows_of_evidence():
    yield Row("allocations", "what an allocation takes of the device could be measured", 10,
              driver.check_allocations)
    yield Row("charges", "the ledger charges at least what the driver takes", 20,
              driver.check_charges)
    for mode in ("queue", "graph", "sync"):
        yield Row(f"busy.{mode}", "at 50 % and 25 %: that part of the GPU, within 2 points", 18,
                  partial(program.check_busy, mode))
    yield Row("costs", "cuslice-bench runs; its figures", 40, program.check_costs)
    for what, title, seconds in (("client", "a client", 2), ("runtime", "the CUDA runtime", 4),
                                 ("torch", "PyTorch", 20)):
        yield Row(f"trace.{what}", f"lookups and calls of {title} are logged", seconds,
                  partial(program.check_trace, what))
    for framework in FRAMEWORKS[1:]:
        yield framework_row(*framework)


def all_rows():
    return [*first_rows(), *program_rows(), *measure_rows(), *family_rows(),
            *share_rows("gpu-load"), framework_row(*FRAMEWORKS[0]), *share_rows("torch"),
            *group_rows(), *partition_rows(), *tenant_rows(), *memory_rows(), *rows_of_evidence()]
