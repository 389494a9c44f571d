/* SPDX-License-Identifier: Apache-2.0
 * Copyright the cuslice authors
 *
 * What every exported function does first: refuse before cuInit and after a fork, let an injected
 * failure happen, and in null mode answer at once.
 */
#ifndef SIMGPU_DRIVER_ENTRY_H
#define SIMGPU_DRIVER_ENTRY_H

#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>

#include <cuda.h>

#include "../wire.h"

enum entry_mode {
	ENTRY_CLOSED, /* before cuInit */
	ENTRY_LIVE,
	ENTRY_NULL,   /* SIMGPU_NULL: no machine, no time, no memory */
	ENTRY_FORKED, /* a child of an initialised process: CUDA does not work there */
};

struct entry {
	_Atomic int mode; /* enum entry_mode */
	/* Of the machine, or a constant 0; read only when mode is LIVE or NULL. */
	const _Atomic uint32_t *failure_count;
	struct wire_machine *machine;
};

extern struct entry entry;

/* Lets the functions work on `machine`. Everything that they need must be ready.
 * mode     ENTRY_LIVE or ENTRY_NULL
 * machine  lives as long as the process
 */
void entry_open(enum entry_mode mode, struct wire_machine *machine);

/* For the child of a fork: every function now returns NOT_INITIALIZED, for ever. */
void entry_close_after_fork(void);

/* Counts down and returns the failure that is injected for `symbol`, else CUDA_SUCCESS. */
CUresult entry_injected_failure(struct wire_machine *machine, const char *symbol);

/* The part of entry_check() that is seldom needed. */
CUresult entry_refusal(const char *symbol);

static inline bool entry_is_null(void)
{
	return atomic_load_explicit(&entry.mode, memory_order_relaxed) == ENTRY_NULL;
}

/* Returns what the exported function `symbol` has to return at once, or CUDA_SUCCESS. */
static inline CUresult entry_check(const char *symbol)
{
	/* Pairs with the release in entry_open. */
	const int mode = atomic_load_explicit(&entry.mode, memory_order_acquire);

	if (__builtin_expect(mode == ENTRY_LIVE || mode == ENTRY_NULL, 1) &&
		__builtin_expect(
			atomic_load_explicit(entry.failure_count, memory_order_relaxed) == 0, 1))
		return CUDA_SUCCESS;
	return entry_refusal(symbol);
}

/* The first statement of every exported function. */
#define ENTER(symbol)                                           \
	do {                                                    \
		const CUresult refusal_ = entry_check(#symbol); \
		if (refusal_ != CUDA_SUCCESS)                   \
			return refusal_;                        \
	} while (0)

/* The same for functions that older drivers do not have: simgpu exports them all the same. */
#define ENTER_SINCE(version, symbol)                           \
	do {                                                   \
		ENTER(symbol);                                 \
		if (entry.machine->driver_version < (version)) \
			return CUDA_ERROR_NOT_SUPPORTED;       \
	} while (0)

/* The same for functions with an answer of their own in null mode: one branch away. */
#define ENTER_OR_NULL(symbol, null_answer)  \
	do {                                \
		if (entry_is_null())        \
			return null_answer; \
		ENTER(symbol);              \
	} while (0)

#endif
