/* SPDX-License-Identifier: Apache-2.0
 * Copyright the cuslice authors
 *
 * Calls of functions that simgpu does not have.
 */
#include "unsupported.h"

#include <stdatomic.h>
#include <stdio.h>

#include "client.h"
#include "entry.h"

int unsupported(const char *symbol, _Atomic uint32_t *calls)
{
	const CUresult refusal = entry_check(symbol);

	if (refusal != CUDA_SUCCESS)
		return (int)refusal;
	const uint32_t before = atomic_fetch_add_explicit(calls, 1, memory_order_relaxed);

	if (before == 0 && !entry_is_null()) {
		struct wire_request request = {.kind = WIRE_UNSUPPORTED};

		snprintf(request.name, sizeof(request.name), "%s", symbol);
		client_send(&request, sizeof(request));
	}
	return CUDA_ERROR_NOT_SUPPORTED;
}
