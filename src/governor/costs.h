/* SPDX-License-Identifier: Apache-2.0
 * Copyright the cuslice authors
 *
 * What commands cost so far, by kernel or graph, to predict the next. Used to decide how much to
 * let go at a time, never for a bill. Pure.
 */
#ifndef CUSLICE_GOVERNOR_COSTS_H
#define CUSLICE_GOVERNOR_COSTS_H

#include "base/clock.h"

#include <stdint.h>

#define COSTS_PLACES 512u /* a power of two; two keys of one place share it in turn */

/* Assumed for what never ran: small enough that a few may be in flight, large enough that not
 * many are. */
#define COSTS_UNKNOWN_NS (500 * NS_PER_US)

struct costs {
	struct {
		const void *key;
		uint64_t average_ns;
	} places[COSTS_PLACES];
};

/* Zeroed is empty. */
uint64_t costs_predict(const struct costs *costs, const void *key);
void costs_learn(struct costs *costs, const void *key, uint64_t measured_ns);

#endif
