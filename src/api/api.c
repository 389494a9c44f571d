/* SPDX-License-Identifier: Apache-2.0
 * Copyright the cuslice authors
 *
 * The public functions of cuslice.h.
 */
#include "base/compiler.h"
#include "base/units.h"
#include "cuslice/cuslice.h"
#include "entry/entry.h"
#include "governor/governor.h"
#include "hooks/pending_frees.h"
#include "hooks/refusals.h"
#include "ledger/ledger.h"
#include "slice/share.h"
#include "slice/slice.h"

#include <string.h>

#define TEXT_OF(number)              #number
#define VERSION(major, minor, patch) TEXT_OF(major) "." TEXT_OF(minor) "." TEXT_OF(patch)

_Static_assert(CUSLICE_WHOLE == PPM_WHOLE, "the public unit of a share is ours");
_Static_assert(sizeof(struct cuslice_slice) == 40, "struct cuslice_slice only grows at its end");

PUBLIC const char *cuslice_version(void)
{
	return VERSION(CUSLICE_VERSION_MAJOR, CUSLICE_VERSION_MINOR, CUSLICE_VERSION_PATCH);
}

PUBLIC const char *cuslice_error_text(int error)
{
	switch ((enum cuslice_error)error) {
	case CUSLICE_OK:
		return "no error";
	case CUSLICE_E_INVALID:
		return "an argument is out of its range";
	case CUSLICE_E_NO_DEVICE:
		return "no such device, or cuInit has not been called";
	case CUSLICE_E_LATE:
		return "the program already uses the driver without this kind of limit";
	}
	return "unknown error";
}

static int tightened(bool is_done, unsigned feature)
{
	if (is_done)
		return CUSLICE_OK;
	if (entry_is_started() && (entry_features() & feature) == 0)
		return CUSLICE_E_LATE;
	return CUSLICE_E_NO_DEVICE;
}

PUBLIC int cuslice_tighten_memory(int device, uint64_t bytes)
{
	if (device < 0 || bytes == 0)
		return CUSLICE_E_INVALID;
	return tightened(slice_tighten_memory((unsigned)device, bytes), FEATURE_MEMORY);
}

PUBLIC int cuslice_tighten_compute(int device, uint32_t share_ppm)
{
	if (device < 0 || share_ppm == 0 || share_ppm > CUSLICE_WHOLE)
		return CUSLICE_E_INVALID;
	return tightened(slice_tighten_share((unsigned)device, share_ppm), FEATURE_COMPUTE);
}

PUBLIC int cuslice_read(int device, struct cuslice_slice *ret_slice, size_t size)
{
	struct cuslice_slice slice = {0};

	if (device < 0 || ret_slice == NULL || size == 0)
		return CUSLICE_E_INVALID;
	if (!entry_is_started() || !slice_exists(device))
		return CUSLICE_E_NO_DEVICE;
	slice.quota_bytes = ledger_quota((unsigned)device);
	if (slice.quota_bytes == LEDGER_UNLIMITED)
		slice.quota_bytes = CUSLICE_UNLIMITED;
	pending_frees_collect((unsigned)device);
	slice.used_bytes = ledger_used((unsigned)device);
	slice.gpu_time_ns = governor_billed_ns((unsigned)device);
	slice.refused_count = refusals_count((unsigned)device);
	slice.share_ppm = share_in_force((unsigned)device);
	memcpy(ret_slice, &slice, size < sizeof(slice) ? size : sizeof(slice));
	return CUSLICE_OK;
}
