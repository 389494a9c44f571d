/* SPDX-License-Identifier: Apache-2.0
 * Copyright the cuslice authors
 *
 * What pools of stream-ordered memory are charged: the bytes that each has taken from its device
 * (CU_MEMPOOL_ATTR_RESERVED_MEM_CURRENT), whatever of them is in use. Before the driver is asked
 * for memory of a pool, what the pool may grow by is reserved; afterwards the charge becomes what
 * the pool has. Pools shrink by themselves when the program synchronises: that is seen at the next
 * call here.
 *
 * The pools' lock is held around questions to the driver, never while it allocates.
 */
#ifndef CUSLICE_HOOKS_POOLS_H
#define CUSLICE_HOOKS_POOLS_H

#include "driver/cuda_api.h"
#include "hooks/charge.h"

#include <stdbool.h>
#include <stdint.h>

struct pool;

/* An allocation from a pool on its way. */
struct pool_call {
	struct pool *pool; /* NULL: not counted */
	struct charge charge;
	uint64_t bytes;         /* as asked for */
	uint64_t growth;        /* of the pool, if it has no room */
	uint64_t calls_before;  /* of the pool */
	uint64_t reserved_then; /* by the pool, as far as was known */
	uint64_t wait_until_ns; /* 0: it has not waited yet */
	bool is_alone;          /* nothing else was on its way in the pool */
	bool is_trying;
	bool is_late; /* the program has destroyed the pool: it lives on for its last allocations */
};

/* Makes the list, empty; a forked child finds its own empty. At the start, once. False without
 * memory. */
bool pools_init(void) MUST_CHECK;

/* The program has made a pool.
 * device  whose memory it holds; -1 for host memory, which is not counted
 * Threads: any, as for all that follow. */
void pools_add(CUmemoryPool handle, CUdevice device);

/* Begins an allocation of `bytes` from a pool.
 * stream_device  of the stream; where the pool is not known and is no device's default one, it is
 *                taken for one of this device
 * ret_call       always set, and to be ended
 */
void pool_call_begin(
	CUmemoryPool handle, CUdevice stream_device, uint64_t bytes, struct pool_call *ret_call);

/* Reserves what the pool may grow by, if there is room for it now.
 * Returns  true also where nothing is to be counted */
bool pool_call_reserve(struct pool_call *call) MUST_CHECK;

/* The same, after taking what pools only keep, and waiting as charge_begin() does, until
 * wait_until_ns where it has waited before. */
bool pool_call_reserve_patiently(struct pool_call *call) MUST_CHECK;

/* Whether the pool may have room for it in what it has already: then the driver is asked without a
 * reservation, in one such call of the process at a time. */
bool pool_call_try(struct pool_call *call) MUST_CHECK;

/* Ends it without an allocation. */
void pool_call_cancel(struct pool_call *call);

/* Ends it: the charge becomes what the pool has.
 * Returns  false where the pool has grown by more than was reserved and that does not fit: if the
 *          driver has granted the allocation, the caller frees it and calls pool_call_undone(),
 *          which waits for the stream for up to 10 ms
 */
bool pool_call_end(struct pool_call *call, CUresult res) MUST_CHECK;
void pool_call_undone(struct pool_call *call);

/* The pool may have shrunk. */
void pools_settle_one(CUmemoryPool handle);

/* The program destroys the pool; `destroy` is the driver's function. A pool that still holds memory
 * is destroyed later, when that is freed: only so what it holds can be followed. */
CUresult pools_destroy(CUmemoryPool handle, CUresult(CUDAAPI *destroy)(CUmemoryPool));

/* Makes all charges of the device what its pools have. */
void pools_settle(unsigned device);

/* The same, after they gave back what they only keep. Returns whether anything came back. */
bool pools_trim(unsigned device);

/* Something was freed in stream order that is not in the ledger: perhaps memory of a pool, which
 * may be had again on that stream although the driver counts it as used. */
void pools_note_free(void);

#endif
