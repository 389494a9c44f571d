/* SPDX-License-Identifier: Apache-2.0
 * Copyright the cuslice authors
 *
 * A program that uses device memory at random, in all ways that there are, and knows for itself
 * what it holds. What it does at step i follows from its seed and i alone, so that any part of a
 * sequence can be played again.
 */
#ifndef CUSLICE_TESTS_PRELOAD_LEDGER_FUZZ_H
#define CUSLICE_TESTS_PRELOAD_LEDGER_FUZZ_H

#include "client.h"

#define KIB ((size_t)1 << 10)

#define STREAMS  2
#define CONTEXTS 3 /* that may be there; the first is the primary one */

/* What is drawn for one step. */
struct draw {
	uint64_t state;
};

/* 0 .. limit - 1. */
unsigned draw_below(struct draw *draw, unsigned limit);
/* 1 .. most; of each size of digits about as often as of others, and large ones more. */
size_t draw_bytes(struct draw *draw, size_t most);

/* What the program knows. */
struct fuzz {
	struct functions cu;
	uint64_t quota;
	bool takes_chunks; /* nothing is taken that only the driver knows the size of */
	CUcontext contexts[CONTEXTS];
	unsigned current;
	CUstream streams[STREAMS]; /* of the primary context */
	bool is_busy[STREAMS];
	CUfunction kernel;
	/* The model: bytes that are on the device, and of these those that were freed in the order
	 * of a stream that may not have got there. */
	uint64_t held_bytes, pending_bytes;
	uint64_t imported_bytes; /* that are charged here and were allocated elsewhere */
	uint64_t beyond_bytes;   /* that the quota may be exceeded by: libraries are not refused */
	/* Parts of pools that were destroyed, of which nobody can tell any more what they have; and
	 * whether one may still have something because a stream is busy. */
	unsigned unknown;
	bool is_unknown;
	unsigned granted, refused;
	uint64_t step;
	/* Faults of the test's own, to see that they are found: at this step. */
	uint64_t forget_at, behind_at;
};
extern struct fuzz fuzz;

/* One step of each family. */
void step_linear(struct draw *draw);
void step_array(struct draw *draw);
void step_external(struct draw *draw);
void step_opened(struct draw *draw);
void step_pool(struct draw *draw);
void step_pool_itself(struct draw *draw);
void step_graph(struct draw *draw);
void step_physical(struct draw *draw);
void step_imported(struct draw *draw);
void step_multicast(struct draw *draw);
void step_context(struct draw *draw);
void step_heap(struct draw *draw);
void step_module(struct draw *draw);
void step_library(struct draw *draw);
void step_stream(struct draw *draw);

/* At the start, in the primary context. */
void arrays_measure(void);
void pools_open(void);
void physical_open(void);
void modules_open(void);
void streams_open(void);

/* A context is about to die, or has died: what belongs to it is gone. */
void linear_lose(CUcontext context);
void arrays_lose(CUcontext context);
void external_lose(CUcontext context);
void opened_lose(CUcontext context);
void pools_lose(CUcontext context);
void heaps_lose(unsigned context);
void modules_lose(CUcontext context);

/* Everything that is left. */
void linear_end(void);
void arrays_end(void);
void external_end(void);
void opened_end(void);
void pools_end(void);
void graphs_end(void);
void physical_end(void);
void imported_end(void);
void modules_end(void);
void contexts_end(void);

/* The driver has answered to an allocation of `bytes`, which is counted as refused or granted; any
 * other answer ends the program.
 * was_touched  whether an output was changed that a refusal has to leave alone
 * Returns      true where it was granted */
bool answered(CUresult result, const char *what, bool was_touched);

/* Memory of so many bytes was refused: there must be no room for it. */
void refused_bytes(uint64_t bytes);

/* Frees linear memory in a way that the library does not see. */
void free_behind(CUdeviceptr address);

CUcontext current_context(void);

/* Says what a step does, where that is wanted, and what became of it. */
void tell(const char *format, ...) __attribute__((format(printf, 1, 2)));

/* Bytes that pools and graphs have, as the driver tells. */
uint64_t pools_bytes(void);
uint64_t graphs_bytes(void);

/* The partner: another process, without the library, whose memory is opened here. */
#define PARTNER_OPENED   3
#define PARTNER_EXPORTED 2
#define PARTNER_UNIT     (2 * MIB)
struct partner {
	CUipcMemHandle handles[PARTNER_OPENED];
	int fds[PARTNER_EXPORTED];
};
extern struct partner partner;
int partner_serve(const char *path);
void partner_meet(const char *path);
size_t partner_opened_bytes(unsigned i);
size_t partner_exported_bytes(unsigned i);

/* The account of the machine, by a connection of its own. */
void account_open(void);
uint64_t account_used(void);

#endif
