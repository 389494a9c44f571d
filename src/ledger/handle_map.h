/* SPDX-License-Identifier: Apache-2.0
 * Copyright the cuslice authors
 *
 * Key to holding, for millions of them and many threads: shards by hash, each a lock and an
 * open-addressed table that doubles. Constant time; the price of a lookup does not depend on how
 * many are held.
 */
#ifndef CUSLICE_LEDGER_HANDLE_MAP_H
#define CUSLICE_LEDGER_HANDLE_MAP_H

#include "base/lock.h"
#include "ledger/ledger.h"

#include <stdbool.h>
#include <stddef.h>

#define HANDLE_MAP_SHARDS 64

struct handle_map {
	struct handle_map_shard {
		struct lock lock;
		uint32_t capacity; /* a power of two; 0 before the first insert */
		uint32_t count;
		struct holding *table; /* key 0 is an empty place */
	} __attribute__((aligned(64))) shards[HANDLE_MAP_SHARDS];
};

/* A zeroed map is empty and ready. Keys are not 0. Threads: any, for all. */

/* Puts a holding in, or back in. One key holds one: where it is taken already, the new one
 * replaces the old one, and one that comes back gives way.
 * ret_displaced  what does not stand in the map for that; all zero where nothing stood in the way
 * Returns        false without memory; nothing is changed then
 */
bool handle_map_insert(struct handle_map *map, const struct holding *holding,
	struct holding *ret_displaced) MUST_CHECK;
bool handle_map_put_back(struct handle_map *map, const struct holding *holding,
	struct holding *ret_displaced) MUST_CHECK;

/* Changes the holding where it stands, all but its key, with its shard's lock held. False where
 * there is none. */
bool handle_map_change(struct handle_map *map, uint64_t key,
	void (*change)(struct holding *holding, void *data), void *data);

/* Takes the holding out. False where there is none. */
bool handle_map_remove(
	struct handle_map *map, uint64_t key, struct holding *ret_holding) MUST_CHECK;

/* Takes out all that belong to `context`, calling `gone` for each, which must not come back to the
 * map. */
void handle_map_remove_context(
	struct handle_map *map, const void *context, void (*gone)(const struct holding *holding));

#endif
