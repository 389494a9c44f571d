/* SPDX-License-Identifier: Apache-2.0
 * Copyright the cuslice authors
 *
 * How every allocating hook charges: reserve, ask the driver, commit or cancel.
 *
 *	if (!charge_begin(LEDGER_ARRAY, bytes, &charge))
 *		return CUDA_ERROR_OUT_OF_MEMORY;  // no driver call, the outputs untouched
 *	do
 *		res = driver.cuArrayCreate_v2(&array, description);
 *	while (charge_again(&charge, res));   // a dead process's memory is still being taken down
 *	if (!charge_end(&charge, res, (uintptr_t)array, bytes)) {
 *		driver.cuArrayDestroy(array);     // it gave more than fits
 *		return CUDA_ERROR_OUT_OF_MEMORY;
 *	}
 */
#ifndef CUSLICE_HOOKS_CHARGE_H
#define CUSLICE_HOOKS_CHARGE_H

#include "driver/driver.h"
#include "ledger/ledger.h"

#include <stdbool.h>
#include <stdint.h>

/* An allocation on its way. Not counted where no device is current (the driver will say so), nor
 * on a device without limits. */
struct charge {
	bool is_counted;
	CUcontext context; /* with which the bytes die; NULL: they outlive contexts */
	struct reservation reservation;
	uint64_t flying_bytes;   /* others know that these may come back */
	uint64_t wait_until_ns;  /* for memory that may come back; 0: it has not waited yet */
	uint64_t again_until_ns; /* 0: the driver has been asked once */
};

/* Makes what charging keeps between calls: contexts that are charged, what the driver takes by
 * itself, refusals. At the start, once. False without memory. */
bool charge_init(void) MUST_CHECK;

/* Reserves `bytes`, rounded up to what the driver takes, on the current device for its current
 * context, or on `device` for none. Where the quota has no room, but memory that is being freed
 * would make some, or that others are asking the driver for and may not get, waits for it: for up
 * to 10 ms in all, from the first wait of this allocation on, also where it waits again below.
 * ret_charge  always set
 * Returns     false, and says so at info, where the quota has no room
 * Threads: any.
 */
bool charge_begin(enum ledger_kind kind, uint64_t bytes, struct charge *ret_charge) MUST_CHECK;
bool charge_begin_on(CUdevice device, enum ledger_kind kind, uint64_t bytes,
	struct charge *ret_charge) MUST_CHECK;

/* The same for a call of the program that has waited before: until when it may, of the charge or
 * what else made it wait; 0 if nothing has. */
bool charge_begin_within(CUdevice device, enum ledger_kind kind, uint64_t bytes,
	uint64_t wait_until_ns, struct charge *ret_charge) MUST_CHECK;

/* As charge_begin_on(), but does not wait, and says nothing. */
bool charge_try_on(CUdevice device, enum ledger_kind kind, uint64_t bytes,
	struct charge *ret_charge) MUST_CHECK;

/* Makes what was reserved at least `bytes`, before the driver is asked: more has become known of
 * what it will take. Waits as charge_begin().
 * Returns  false where the quota has no room; nothing is reserved then any more
 */
bool charge_extend(struct charge *charge, uint64_t bytes) MUST_CHECK;

/* The driver has answered with `res`. True, after a millisecond, where that is out of memory and it
 * is worth another try: a member of the group has died, its bytes are back, but the driver may not
 * have got to it. For 200 ms at most. */
bool charge_again(struct charge *charge, CUresult res) MUST_CHECK;

/* The driver has answered with `res`. Books what it gave, `bytes` under `handle` (with the
 * charge's kind; 0 is no handle), or cancels what was reserved.
 * Returns  false where the driver gave more than was reserved and that does not fit, after waiting
 *          as charge_begin() does, or the ledger is out of memory: the caller gives it back and
 *          answers CUDA_ERROR_OUT_OF_MEMORY
 */
bool charge_end(struct charge *charge, CUresult res, uint64_t handle, uint64_t bytes) MUST_CHECK;

/* Ends it otherwise: what was reserved is added to `into`, which is of the same device and kind and
 * made to fit by the caller. */
void charge_move(struct charge *charge, struct reservation *into);

#endif
