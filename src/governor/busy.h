/* SPDX-License-Identifier: Apache-2.0
 * Copyright the cuslice authors
 *
 * The union of the intervals in which commands ran. Commands of several streams overlap; the GPU
 * time that they used together is the time in which at least one ran, not the sum of theirs.
 * Pure arithmetic.
 */
#ifndef CUSLICE_GOVERNOR_BUSY_H
#define CUSLICE_GOVERNOR_BUSY_H

#include <stdint.h>

#define BUSY_MAX_SPANS 16

/* Disjoint spans in order of time. Everything before the first counts as billed once the list has
 * been full: commands that come so late are not billed for it, rather than twice. Zeroed is empty.
 */
struct busy {
	unsigned count;
	struct busy_span {
		int64_t start_ns, end_ns;
	} spans[BUSY_MAX_SPANS];
	int64_t settled_ns; /* all before is settled */
	_Bool is_settled;   /* settled_ns counts */
};

/* Adds a command's interval; returns the part of it that no earlier one covered, in ns.
 * An interval that ends before it starts counts as empty. */
uint64_t busy_add(struct busy *busy, int64_t start_ns, int64_t end_ns);

#endif
