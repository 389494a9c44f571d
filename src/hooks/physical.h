/* SPDX-License-Identifier: Apache-2.0
 * Copyright the cuslice authors
 *
 * Memory that several things hold at a time: the references to a handle of cuMemCreate, what is
 * mapped of it, what a multicast object has bound, and opened memory of other processes. It is
 * charged once, and given back with the last that holds it, for that is when the driver frees it.
 *
 * A hold ends in two steps around the driver's call. It is out of the tables before, for afterwards
 * another thread may be given the same handle or address, and gives its bytes back after, if the
 * driver agreed. State is wiped at fork: a child holds nothing. Threads: any, for all.
 */
#ifndef CUSLICE_HOOKS_PHYSICAL_H
#define CUSLICE_HOOKS_PHYSICAL_H

#include "driver/driver.h"
#include "hooks/charge.h"

#include <stdbool.h>
#include <stdint.h>

/* What something is held by; each has its own keys. */
enum hold_kind {
	HOLD_HANDLE,  /* CUmemGenericAllocationHandle; may count several */
	HOLD_MAPPING, /* an address that cuMemMap mapped at */
	HOLD_OPENED,  /* an address that cuIpcOpenMemHandle gave; may count several */
	HOLD_KINDS
};

struct hold;
struct physical;

/* At the start, once. False without memory. */
bool physicals_init(void) MUST_CHECK;

/* The driver has answered with `res` and gave `bytes` under `key`. Ends the charge, and keeps what
 * is counted until its last hold ends.
 * Returns  false as charge_end()
 */
bool physical_commit(struct charge *charge, CUresult res, enum hold_kind kind, uint64_t key,
	uint64_t bytes) MUST_CHECK;

/* Something imported on `device`. By its label (fd_label.h; 0: it has none) it may be known as
 * memory that another member of the group pays for; otherwise its size is not known, and it is to
 * be charged when it is mapped. One more reference where the handle is known. */
void physical_import(uint64_t handle, CUdevice device, uint64_t label);

/* Memory of another process, of this name, was opened at `address` in the current context, with
 * which it dies. Charged, unless another member of the group pays for it. Returns  false where the
 * quota has no room
 */
bool physical_open(
	CUdeviceptr address, CUdevice device, const struct segment_name *name) MUST_CHECK;

/* Begins to hold what a handle stands for, or what is mapped at an address, on behalf of a call to
 * come. NULL: it is not known, and not ours to count. */
struct physical *physical_of_handle(uint64_t handle);
struct physical *physical_at(uint64_t address);

/* Ends that, for the driver refused. NULL is allowed. */
void physical_let_go(struct physical *physical);

/* The driver agreed: from now on `key` holds it. `physical` may be NULL for a mapping, so that a
 * range can be walked whatever is mapped in it.
 * Returns  false without memory, for mappings only: nothing is changed then
 */
bool physical_map(struct physical *physical, uint64_t address, uint64_t bytes) MUST_CHECK;
void physical_retain(struct physical *physical, uint64_t handle);

/* The handle was exported, or imported memory was mapped: from then on its identity is of interest.
 * Asks the driver which memory lies at the address, and counts what was counted twice once.
 * Returns  the label by which members of the group know what was exported; 0 where they do not */
uint64_t physical_export(uint64_t handle);
void physical_identify(struct physical *physical, uint64_t address);

/* Charges imported memory of which `bytes` are mapped, unless it is known to be counted.
 * Returns  false where the quota has no room
 */
bool physical_charge_import(struct physical *physical, uint64_t bytes) MUST_CHECK;

/* A hold begins to end: NULL where it is not known. Then the driver is asked, then it ends, or does
 * not. */
struct hold *hold_begin_end(enum hold_kind kind, uint64_t key);
void hold_end(struct hold *hold, CUresult res);

/* The same for all that is mapped in a range, in one list. */
struct hold *holds_begin_unmap(uint64_t address, uint64_t bytes);
void holds_unmap(struct hold *holds, CUresult res);

#endif
