#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# Copyright the cuslice authors
#
# From a fresh clone to a slice that holds: makes the machine ready, builds, runs the examples bare
# and inside a slice, on the GPU if there is one and on a simulated one otherwise, and shows side by
# side what they saw. Exit status 0 if the slice held, 1 if anything did not.
set -euo pipefail

quota=1GiB
quota_bytes=$((1 << 30))
rest_bytes=$((32 << 20))
share=25
tolerance=3 # points; a busy machine disturbs a measurement of a few seconds
rounds=3
seconds=3

cd "$(dirname "${BASH_SOURCE[0]}")/.."
root=$PWD
bin=$root/build/bin
scratch=$(mktemp -d)
machine=

leave() {
	if [ -n "$machine" ]; then
		"$root/build/simgpu/simgpu" stop --dir "$machine" || true
	fi
	rm -rf "$scratch"
}
trap leave EXIT

# quietly COMMAND...: its output is shown only if it fails.
quietly() {
	if ! "$@" >"$scratch/log" 2>&1; then
		cat "$scratch/log" >&2
		echo "quickstart: failed: $*" >&2
		return 1
	fi
}

build() {
	PATH=$root/.deps/bin:$PATH
	if command -v ninja >/dev/null; then
		export CMAKE_GENERATOR=Ninja
	fi
	quietly cmake --preset release
	quietly cmake --build --preset release --parallel "$(nproc)"
}

# Loading the driver is what counts: a container may have its files without the device.
has_gpu() {
	{ nvidia-smi -L || ls -d /proc/driver/nvidia/gpus/*; } >/dev/null 2>&1 &&
		python3 -c 'import ctypes; raise SystemExit(ctypes.CDLL("libcuda.so.1").cuInit(0))' \
			2>/dev/null
}

start_simgpu() {
	"$root/build/simgpu/simgpu" start --dir "$scratch/machine" -s memory=16GiB \
		-s kernel.spin=1ms >/dev/null
	machine=$scratch/machine
	export SIMGPU_DIR=$machine
	export LD_LIBRARY_PATH=$root/build/simgpu${LD_LIBRARY_PATH:+:$LD_LIBRARY_PATH}
	# A kernel takes time on simgpu but computes nothing; this does it for saxpy.
	export SIMGPU_TWINS=$root/build/simgpu/twins.so
}

bare() {
	"$@"
}

sliced() {
	"$bin/cuslice" run -m "$quota" -c "$share%" -- "$@"
}

# Another program that was not made for cuslice: Python, which finds the driver by dlopen and dlsym.
# Prints the bytes that it sees in all, and what became of two allocations: of what is free of them,
# but for a rest that the driver may still take by itself, and of more than that rest.
ask_for_memory() {
	cat >"$scratch/ask.py" <<'PYTHON'
import ctypes
import sys

OUT_OF_MEMORY = 2
cuda = ctypes.CDLL("libcuda.so.1")


def call(name, *arguments, allowed=()):
    result = getattr(cuda, name)(*arguments)
    if result != 0 and result not in allowed:
        sys.exit(f"{name} failed with {result}")
    return result


def allocate(size):
    address = ctypes.c_uint64()
    result = call("cuMemAlloc_v2", ctypes.byref(address), ctypes.c_size_t(size),
                  allowed=(OUT_OF_MEMORY,))
    return "refused" if result == OUT_OF_MEMORY else "granted"


context, free, total = ctypes.c_void_p(), ctypes.c_size_t(), ctypes.c_size_t()
call("cuInit", 0)
call("cuDevicePrimaryCtxRetain", ctypes.byref(context), 0)
call("cuCtxSetCurrent", context)
call("cuMemGetInfo_v2", ctypes.byref(free), ctypes.byref(total))
quota, rest = int(sys.argv[1]), int(sys.argv[2])
print(total.value, allocate(min(quota, free.value) - rest), allocate(rest + 1))
PYTHON
	"$1" python3 "$scratch/ask.py" "$quota_bytes" "$rest_bytes"
}

result_of_saxpy() {
	if "$1" "$bin/saxpy" >"$scratch/saxpy" 2>&1; then
		echo right
	else
		cat "$scratch/saxpy" >&2
		echo wrong
	fi
}

measure_rate() {
	"$1" "$bin/busy" --seconds "$seconds" | sed -n 's/^rate=//p'
}

median() {
	sort -n "$1" | sed -n "$(((rounds + 1) / 2))p"
}

# Bare and sliced in turns, so that whatever else the machine does hits both.
measure_rates() {
	local i
	for ((i = 0; i < rounds; i++)); do
		measure_rate bare >>"$scratch/bare"
		measure_rate sliced >>"$scratch/sliced"
	done
	bare_rate=$(median "$scratch/bare")
	sliced_rate=$(median "$scratch/sliced")
	percent=$(awk -v a="$sliced_rate" -v b="$bare_rate" 'BEGIN { printf "%.1f", 100 * a / b }')
}

mebibytes() {
	echo "$(($1 >> 20)) MiB"
}

row() {
	printf '  %-34s %-18s %s\n' "$@"
}

show_table() {
	echo
	row "" "bare" "in a slice"
	row "device memory that it sees" "$(mebibytes "$bare_total")" "$(mebibytes "$sliced_total")"
	row "asks for $quota less what is taken" "$bare_first" "$sliced_first"
	row "then for more than is left" "$bare_second" "$sliced_second"
	row "saxpy's result" "$bare_saxpy" "$sliced_saxpy"
	row "busy, kernels a second" "$bare_rate" "$sliced_rate"
	row "" "100 %" "$percent %"
	echo
}

holds() {
	[ "$bare_first $bare_second $bare_saxpy" = "granted granted right" ] &&
		[ "$sliced_first $sliced_second $sliced_saxpy" = "granted refused right" ] &&
		[ "$sliced_total" -eq "$quota_bytes" ] &&
		awk -v p="$percent" -v s="$share" -v t="$tolerance" \
			'BEGIN { exit !(p >= s - t && p <= s + t) }'
}

tests/setup.sh --build
echo "quickstart: building"
build
if has_gpu; then
	echo "quickstart: on this machine's GPU"
else
	echo "quickstart: no GPU here, so on simgpu, a simulated one"
	start_simgpu
fi
echo "quickstart: measuring bare and in a slice of $quota and $share %, for about" \
	"$((2 * rounds * seconds)) s"
ask_for_memory bare >"$scratch/ask"
read -r bare_total bare_first bare_second <"$scratch/ask"
ask_for_memory sliced >"$scratch/ask"
read -r sliced_total sliced_first sliced_second <"$scratch/ask"
bare_saxpy=$(result_of_saxpy bare)
sliced_saxpy=$(result_of_saxpy sliced)
measure_rates
show_table
if ! holds; then
	echo "quickstart: the slice did not hold" >&2
	exit 1
fi
echo "The slice held. Yours: build/bin/cuslice run -m $quota -c $share% -- PROGRAM"
