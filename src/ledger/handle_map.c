/* SPDX-License-Identifier: Apache-2.0
 * Copyright the cuslice authors
 */
#include "ledger/handle_map.h"
#include "base/wipe.h"

#define FIRST_CAPACITY 128u

/* Fibonacci hashing. The upper bits choose the shard, the next ones the place. Addresses are
 * multiples of large powers of two, which a multiplication spreads into its upper bits only. */
static uint64_t hash_of(uint64_t key)
{
	return key * 0x9e3779b97f4a7c15ull;
}

static struct handle_map_shard *shard_of(struct handle_map *map, uint64_t hash)
{
	return &map->shards[hash >> 58];
}

static uint32_t place_of(const struct handle_map_shard *shard, uint64_t hash)
{
	return (uint32_t)(hash >> 26) & (shard->capacity - 1);
}

/* Where the key stands, or the empty place where it would. There always is one. */
static uint32_t find(const struct handle_map_shard *shard, uint64_t key)
{
	uint32_t i = place_of(shard, hash_of(key));

	while (shard->table[i].key != 0 && shard->table[i].key != key)
		i = (i + 1) & (shard->capacity - 1);
	return i;
}

static bool grow(struct handle_map_shard *shard)
{
	struct handle_map_shard larger = {
		.capacity = shard->capacity == 0 ? FIRST_CAPACITY : shard->capacity * 2,
	};

	larger.table = pages_alloc(larger.capacity * sizeof(*larger.table));
	if (larger.table == NULL)
		return false;
	for (uint32_t i = 0; i < shard->capacity; i++) {
		if (shard->table[i].key != 0)
			larger.table[find(&larger, shard->table[i].key)] = shard->table[i];
	}
	pages_free(shard->table, shard->capacity * sizeof(*shard->table));
	shard->table = larger.table;
	shard->capacity = larger.capacity;
	return true;
}

static bool put(struct handle_map *map, const struct holding *holding, bool gives_way,
	struct holding *ret_displaced)
{
	struct handle_map_shard *shard = shard_of(map, hash_of(holding->key));
	bool has_room = true;

	lock_take(&shard->lock);
	if (shard->count >= shard->capacity / 2)
		has_room = grow(shard);
	if (has_room) {
		struct holding *place = &shard->table[find(shard, holding->key)];
		bool is_taken = place->key != 0;
		*ret_displaced = is_taken && gives_way ? *holding : *place;
		if (!is_taken || !gives_way)
			*place = *holding;
		shard->count += !is_taken;
	}
	lock_drop(&shard->lock);
	return has_room;
}

bool handle_map_insert(
	struct handle_map *map, const struct holding *holding, struct holding *ret_displaced)
{
	return put(map, holding, false, ret_displaced);
}

bool handle_map_put_back(
	struct handle_map *map, const struct holding *holding, struct holding *ret_displaced)
{
	return put(map, holding, true, ret_displaced);
}

/* Closes the gap that taking `hole` out leaves: every later entry of the run that may stand at the
 * hole moves there. Without tombstones a table that lives for weeks stays as quick as a new one. */
static void close_gap(struct handle_map_shard *shard, uint32_t hole)
{
	uint32_t mask = shard->capacity - 1;

	for (uint32_t i = (hole + 1) & mask; shard->table[i].key != 0; i = (i + 1) & mask) {
		uint32_t home = place_of(shard, hash_of(shard->table[i].key));
		if (((i - home) & mask) >= ((i - hole) & mask)) {
			shard->table[hole] = shard->table[i];
			hole = i;
		}
	}
	shard->table[hole] = (struct holding){0};
	shard->count--;
}

bool handle_map_remove(struct handle_map *map, uint64_t key, struct holding *ret_holding)
{
	struct handle_map_shard *shard = shard_of(map, hash_of(key));
	bool is_found = false;

	lock_take(&shard->lock);
	if (shard->capacity != 0) {
		uint32_t i = find(shard, key);
		is_found = shard->table[i].key == key;
		if (is_found) {
			*ret_holding = shard->table[i];
			close_gap(shard, i);
		}
	}
	lock_drop(&shard->lock);
	return is_found;
}

bool handle_map_change(struct handle_map *map, uint64_t key,
	void (*change)(struct holding *holding, void *data), void *data)
{
	struct handle_map_shard *shard = shard_of(map, hash_of(key));
	bool is_found = false;

	lock_take(&shard->lock);
	if (shard->capacity != 0) {
		struct holding *place = &shard->table[find(shard, key)];
		is_found = place->key == key;
		if (is_found)
			change(place, data);
	}
	lock_drop(&shard->lock);
	return is_found;
}

void handle_map_remove_context(
	struct handle_map *map, const void *context, void (*gone)(const struct holding *holding))
{
	for (unsigned s = 0; s < HANDLE_MAP_SHARDS; s++) {
		struct handle_map_shard *shard = &map->shards[s];
		lock_take(&shard->lock);
		for (uint32_t i = 0; i < shard->capacity;) {
			struct holding holding = shard->table[i];
			if (holding.key == 0 || holding.context != context) {
				i++;
				continue;
			}
			/* Another entry may have moved here: look at this place again. */
			close_gap(shard, i);
			gone(&holding);
		}
		lock_drop(&shard->lock);
	}
}
