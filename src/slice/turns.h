/* SPDX-License-Identifier: Apache-2.0
 * Copyright the cuslice authors
 *
 * How a device is shared with others: what the settings say becomes what is asked for at the
 * device's segment (token/).
 */
#ifndef CUSLICE_SLICE_TURNS_H
#define CUSLICE_SLICE_TURNS_H

#include "config/config.h"
#include "governor/governor.h"

#include <stdbool.h>
#include <stdint.h>

/* What the settings agree on for a device of which they give that share. */
struct governor_terms turns_terms_of(
	const struct config *config, const struct config_device *identity, uint32_t share_ppm);

/* The terms that tighten both: who goes first, or borrows, does so only where both say it. */
struct governor_terms turns_stricter(struct governor_terms a, const struct governor_terms *b);

bool turns_are_same(const struct governor_terms *a, const struct governor_terms *b);

/* Before the first launch, and when the share is set. Where others at the device cannot be seen it
 * is said at info, and the share is kept as a cap alone. */
void turns_set(unsigned device, const struct governor_terms *terms);

/* Later on. True where the device has turns, and so terms that act. Threads: one caller. */
bool turns_may_change(unsigned device);
void turns_change(unsigned device, const struct governor_terms *terms);

#endif
