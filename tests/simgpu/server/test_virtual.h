/* SPDX-License-Identifier: Apache-2.0
 * Copyright the cuslice authors
 *
 * A machine in virtual time for the unit tests of the engine: one device unless said otherwise, and
 * a record of what ended when.
 */
#ifndef SIMGPU_TEST_VIRTUAL_H
#define SIMGPU_TEST_VIRTUAL_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "engine.h"

#define VIRTUAL_MAX_SEQ 4096

/* A process with one context on device 0, and the ends of its operations by seq. */
struct virtual_process {
	struct engine_process *engine_process;
	uint32_t context;
	uint64_t last_seq;
	size_t ended_count;
	uint64_t ended_order[VIRTUAL_MAX_SEQ]; /* seqs */
	bool has_ended[VIRTUAL_MAX_SEQ];
	struct wire_ring_entry ended[VIRTUAL_MAX_SEQ]; /* by seq */
	bool told_sms;                                 /* whether the last that ended told ... */
	struct sm_set sms;                             /* ... its SMs */
};

/* An engine with one device of `sm_count` SMs. Destroy it by engine_destroy. */
struct engine *virtual_engine(uint32_t sm_count);

/* A new process; it is freed by free() after its engine. */
struct virtual_process *virtual_process(struct engine *engine);

/* One operation that arrives at `now_ns` and depends on `dep` (0: on nothing). Returns its seq. */
uint64_t virtual_kernel(struct engine *engine, struct virtual_process *process, uint64_t now_ns,
	uint64_t blocks, uint64_t block_ns, uint64_t dep);
uint64_t virtual_submit(struct engine *engine, struct virtual_process *process, uint64_t now_ns,
	struct wire_op op, uint64_t dep);

/* Fails the test unless the operation has ended, and ran just from `start_ns` to `end_ns`. */
#define assert_ran(process, seq, start_ns_, end_ns_)                         \
	do {                                                                 \
		assert_true((process)->has_ended[seq]);                      \
		assert_int_equal((process)->ended[seq].start_ns, start_ns_); \
		assert_int_equal((process)->ended[seq].end_ns, end_ns_);     \
	} while (0)

#endif
