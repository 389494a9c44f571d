/* SPDX-License-Identifier: Apache-2.0
 * Copyright the cuslice authors
 *
 * The gate in front of every exported function.
 */
#include "entry.h"

#include <string.h>

static const _Atomic uint32_t no_failures;

struct entry entry = {.failure_count = &no_failures};

void entry_open(enum entry_mode mode, struct wire_machine *machine)
{
	entry.machine = machine;
	entry.failure_count = &machine->failure_count;
	/* Pairs with the acquire in entry_check. */
	atomic_store_explicit(&entry.mode, (int)mode, memory_order_release);
}

void entry_close_after_fork(void)
{
	atomic_store_explicit(&entry.mode, ENTRY_FORKED, memory_order_relaxed);
}

static bool failure_takes_place(struct wire_failure *failure)
{
	int32_t remaining = atomic_load_explicit(&failure->remaining, memory_order_relaxed);

	/* Threads and processes count down together: each failure happens once. */
	while (remaining > 0) {
		if (atomic_compare_exchange_weak_explicit(&failure->remaining, &remaining,
			    remaining - 1, memory_order_relaxed, memory_order_relaxed))
			return true;
	}
	return false;
}

CUresult entry_injected_failure(struct wire_machine *machine, const char *symbol)
{
	if (atomic_load_explicit(&machine->failure_count, memory_order_relaxed) == 0)
		return CUDA_SUCCESS;
	for (int i = 0; i < WIRE_MAX_FAILURES; i++) {
		struct wire_failure *failure = &machine->failures[i];

		if (strncmp(failure->symbol, symbol, sizeof(failure->symbol)) == 0 &&
			failure_takes_place(failure))
			return (CUresult)failure->result;
	}
	return CUDA_SUCCESS;
}

CUresult entry_refusal(const char *symbol)
{
	const int mode = atomic_load_explicit(&entry.mode, memory_order_acquire);

	if (mode != ENTRY_LIVE && mode != ENTRY_NULL)
		return CUDA_ERROR_NOT_INITIALIZED;
	return entry_injected_failure(entry.machine, symbol);
}
