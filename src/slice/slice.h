/* SPDX-License-Identifier: Apache-2.0
 * Copyright the cuslice authors
 *
 * Turns what the settings ask for into the limits of each device that the driver shows, and hands
 * them to their keepers: the quota to ledger/, the share by way of slice/share.h, and how the
 * device is shared with others by slice/turns.h. It keeps no limit itself.
 */
#ifndef CUSLICE_SLICE_SLICE_H
#define CUSLICE_SLICE_SLICE_H

#include "config/config.h"
#include "driver/driver.h"

#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>

/* Makes the state that resolving needs. At the start, once. False without memory. */
bool slice_init(void) MUST_CHECK;

/* Reads the devices and sets every limit, once; later calls return at once. After the driver's
 * cuInit. False where the settings cannot be applied (the reason is logged) and on_error says
 * refuse; where it says warn, the devices stay without limits.
 * Threads: any.
 */
bool slice_resolve(void) MUST_CHECK;

/* True for a device that has limits to look at, and resolves at need, for programs whose cuInit
 * went past us. Threads: any. */
bool slice_exists_unknown(CUdevice device);
extern _Atomic unsigned slice_device_count __attribute__((visibility("hidden")));
static inline bool slice_exists(CUdevice device)
{
	/* acquire: pairs with the release that says that all limits are set */
	if (likely((unsigned)device <
		    atomic_load_explicit(&slice_device_count, memory_order_acquire)))
		return true;
	return slice_exists_unknown(device);
}

/* True where the driver shows device 0 and no other. */
static inline bool slice_is_only_device(void)
{
	return atomic_load_explicit(&slice_device_count, memory_order_acquire) == 1;
}

/* The device with that UUID, its own or its MIG instance's, that has limits to look at. False
 * before the driver tells its devices. Threads: any. */
bool slice_find(const uint8_t uuid[CONFIG_UUID_LEN], CUdevice *ret_device) MUST_CHECK;

/* Sets every limit and all terms of turns again, as other settings say, which only one thread does
 * at a time. What the program has asked for through cuslice.h stays.
 * may_loosen  false: nothing becomes looser
 * Returns what has come of it: SLICE_* together, 0 where nothing has changed.
 */
#define SLICE_CHANGED       1u
#define SLICE_HELD_BACK     2u /* something would have become looser, the rest is done */
#define SLICE_PART_OF_TIME  4u /* a partition keeps its size, and has less than all of the time */
#define SLICE_SHARE_TOO_BIG 8u /* a partition would have to grow */
unsigned slice_apply_again(const struct config *config, bool may_loosen);

/* False where the settings of the start named no devices by number, so none was found out. */
bool slice_knows_numbers(void);

/* The quota that settings alone give to a device of that size; LEDGER_UNLIMITED without one. */
uint64_t slice_quota_of(
	const struct config *config, const struct config_device *identity, uint64_t device_bytes);

/* Tighten from inside; device as cuDeviceGet() counts. Never loosens. Before the devices are known
 * the wish is kept, and its feature asked for. False where the device does not exist or the
 * feature was off at the start. Threads: any. */
bool slice_tighten_memory(unsigned device, uint64_t bytes) MUST_CHECK;
bool slice_tighten_share(unsigned device, uint32_t ppm) MUST_CHECK;

/* FEATURE_* that kept wishes need. */
unsigned slice_pending_features(void);

#endif
