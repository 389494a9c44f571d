/* SPDX-License-Identifier: Apache-2.0
 * Copyright the cuslice authors
 *
 * The tables of physical.c: what holds which memory, by handle and by address. No locks here; the
 * memory that a hold points to is the caller's to count.
 */
#ifndef CUSLICE_HOOKS_HOLDS_H
#define CUSLICE_HOOKS_HOLDS_H

#include "base/compiler.h"
#include "driver/driver.h"
#include "hooks/physical.h"
#include "ledger/ledger.h"

#include <stdbool.h>
#include <stdint.h>

struct physical {
	struct physical *same; /* that this turned out to be: counted there, and held by this */
	uint64_t serial;       /* handle in the ledger; 0: nothing is charged */
	uint64_t bytes;        /* as charged */
	uint64_t identity;     /* as the driver numbers it in this process; 0: unknown */
	uint64_t label;        /* on its exported descriptors; 0: none */
	unsigned holds;        /* references, mappings, and calls under way */
	CUdevice device;       /* of an import */
	enum ledger_kind kind;
	bool is_import, is_shared;
};

struct hold {
	struct hold *next; /* in its bucket, or in a list of those that end */
	struct physical *physical;
	uint64_t key;
	uint64_t bytes; /* of a mapping */
	enum hold_kind kind;
	unsigned count, ending;
	bool is_in_table;
};

/* Nothing of this is given back to the system; it is used again. */
union cell {
	union cell *next_unused;
	struct physical physical;
	struct hold hold;
};

/* All zeros is empty. */
struct holds {
	union cell *unused;
	struct hold_table {
		struct hold **buckets;
		uint32_t bucket_count, count;
	} tables[HOLD_KINDS];
};

/* Zeroed, or NULL without memory. */
union cell *holds_take_cell(struct holds *holds);
void holds_give_cell(struct holds *holds, void *used);

/* Before a hold is added. Without memory the buckets only grow longer; false where there are none
 * at all. */
bool holds_make_room(struct holds *holds, enum hold_kind kind) MUST_CHECK;
void holds_add(struct holds *holds, struct hold *hold);
void holds_remove(struct holds *holds, struct hold *hold);

/* NULL where there is none. */
struct hold *holds_find(const struct holds *holds, enum hold_kind kind, uint64_t key);

/* The first of a kind for which `is_it` is true. Looks at all: only for what is rare. */
struct hold *holds_search(const struct holds *holds, enum hold_kind kind,
	bool (*is_it)(const struct hold *, const void *), const void *data);

#endif
